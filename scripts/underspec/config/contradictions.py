"""What keys of several sections may not say together, so that no section can refuse it."""

import itertools
import re
from collections.abc import Iterator

from underspec.config.derived import aligned_rankers, can, every_ranker, need, recipe, trainings
from underspec.config.judge import GOLD_JUDGE
from underspec.config.machine import Need
from underspec.config.sections import Config, Recipe
from underspec.config.sources import (
    cells,
    checkpoint_of,
    finished_of,
    pretrained_checkpoints,
)
from underspec.data import gold_raters, judgements
from underspec.data.worlds import world_class
from underspec.schema import checked

# Stages that may use GPUs.
STAGES = ("pretrain", "policy", "sample", "reward_model", "score", "rlhf")
# What RLHF's training cannot do, whose policy also draws samples.
UNSHARED = ("sharded", "activation_checkpointing", "compiled")


def checks(settings: Config, config: dict) -> Iterator[tuple[str, object, str]]:
    """(key, whether it is invalid, message) of every check, of the config as validated section by
    section: `settings`, with defaults, and `config`, with the keys that were given.
    """
    of_training = (
        _unfit_labels,
        _unknown_scales,
        _unfit_architectures,
        _unfit_finished,
        _shared_checkpoints,
        _too_few_seeds,
    )
    for check in of_training if not settings.matrix else ():
        yield from check(settings)
    yield from _unfit_cells(settings)
    yield from _unknown_seeds(settings)
    yield from _no_dropout(config)
    yield from _unknown_rankers(settings)
    yield from _too_few_samples(settings)
    yield from _unfit_judge(settings)
    yield from _unfit_layouts(config)


def _unfit_labels(config: Config):
    """Labels that the world does not have, and what has no meaning where reward models learn from
    judgements of single statements.
    """
    if config.reward == "preference":
        labelled = world_class(config.world).has_preferences or gold_raters.exists(config.world)
        yield (
            "reward",
            not labelled,
            f"{config.world} has neither comparisons nor a gold rater to make them; set it to the "
            "kind of the world's judgements (pointwise or rating)",
        )
        return
    able = [world for world, reward in judgements.kinds().items() if reward == config.reward]
    yield (
        "reward",
        config.world not in able,
        f"{config.reward} rewards learn from judgements, and {config.world} has none of that kind; "
        f"worlds with such judgements are {', '.join(able)}",
    )
    yield "centering", config.centering, f"{config.reward} rewards are not centred; set it to 0"
    yield (
        "judgements.per_post",
        config.reward == "rating" and config.judgements.per_post != 1,
        "people rated each text once; set it to 1",
    )
    for key in ("noise", "length_bias"):
        yield (
            f"labels.{key}",
            getattr(config.labels, key),
            f"no rater compares samples where rewards are {config.reward}; set it to 0",
        )


def _unknown_scales(config: Config):
    compute, checkpoints = config.compute, config.pretrain.checkpoints
    allowed = ", ".join(config.models)
    for key, scale in [
        *(("scales", scale) for scale in config.scales),
        ("policy.scale", config.policy.scale),
        ("evaluator.scale", config.evaluator.scale),
        *((f"compute.{stage}", scale) for stage in STAGES for scale in getattr(compute, stage)),
        *((f"pretrain.checkpoints.{key}", key.split("/")[0]) for key in checkpoints),
        *((f"reward_models.{key}", key.split("/")[0]) for key in config.reward_models),
    ]:
        yield key, scale not in config.models, f"{scale} is unknown; allowed are {allowed}"


def _unfit_architectures(config: Config):
    """Settings of a scale that its architecture does not have, and what only T5s can do."""
    models = config.model_dump()["models"]
    for scale, model in models.items():
        key, name = f"models.{scale}", model["architecture"]
        for setting, flag in (("shape", "has_shape"), ("template", "has_template")):
            given, needed = model[setting] is not None, can(model, flag)
            yield (
                f"{key}.{setting}",
                given and not needed,
                f"scales of the architecture {name} have none; set it to null",
            )
            yield (
                f"{key}.{setting}",
                needed and not given,
                f"missing; scales of the architecture {name} need one",
            )
        yield (
            f"{key}.pretrain",
            can(model, "has_shape") and model["pretrain"] is None,
            "missing; see config.yaml for every key there is",
        )
    name = models[config.policy.scale]["architecture"]
    yield (
        "policy.scale",
        not can(models[config.policy.scale], "has_shape"),
        f"{config.policy.scale} is of the architecture {name}, and the policy is a T5; name "
        "another scale, which need not be one of the rankers'",
    )
    dropout = config.cheaper_ensembles.mc_dropout.pretrain_seeds
    for scale in config.scales:
        name = models[scale]["architecture"]
        for key, asked, flag in (
            (f"rlhf.rankers.{scale}", config.rlhf.rankers.get(scale), "aligns"),
            ("cheaper_ensembles.mc_dropout.pretrain_seeds", dropout, "has_mc_dropout"),
        ):
            yield (
                key,
                asked and not can(models[scale], flag),
                f"not possible with reward models of the architecture {name}, which {scale} has; "
                "set it to []",
            )
    trained = {
        scale
        for scale, cell in cells(config.model_dump())
        if finished_of(config.model_dump()["reward_models"], scale, cell) is None
    }
    for scale in trained:
        yield (
            f"models.{scale}.reward_model",
            models[scale]["reward_model"] is None,
            "missing; reward models are trained at this scale",
        )
    plain = config.pretrain.model_dump()
    for scale, seed in pretrained_checkpoints(config.model_dump()):
        if not can(models[scale], "has_shape"):
            source = checkpoint_of(plain, scale, seed)
            name = models[scale]["architecture"]
            yield (
                "pretrain.checkpoints",
                source is None or source["source"] != "hub",
                f"{scale}/{seed} needs an entry with source: hub (a folder or an id on the Hub); "
                f"only T5s are pretrained here or read from T5X, and {scale} is of the "
                f"architecture {name}",
            )


def _unfit_finished(config: Config):
    """Finished reward models that are none of the grid, or of which something is to be trained."""
    plain = config.model_dump()
    names = {f"{scale}/{cell.name}" for scale, cell in cells(plain)}
    scales = {scale for scale, _ in cells(plain)}
    for key in config.reward_models:
        yield (
            f"reward_models.{key}",
            key not in names | scales,
            "is neither a reward model of the grid nor the evaluator; see grid, pretrain_seeds and "
            "finetune_seeds",
        )
    cheaper = config.cheaper_ensembles
    asked = {*cheaper.warm, *cheaper.multihead, *cheaper.mc_dropout.pretrain_seeds}
    first: dict[tuple, str] = {}
    for scale, cell in cells(plain):
        found = finished_of(plain["reward_models"], scale, cell)
        if found is None:
            continue
        yield (
            "cheaper_ensembles",
            scale in config.scales and cell.pretrain_seed in asked,
            f"{scale}/{cell.name} is finished, and these ensembles are trained or know how their "
            "reward models were; leave out its pretraining seed",
        )
        place = found["path"].rstrip("/"), found["revision"]
        name, same = f"{scale}/{cell.name}", first.get(place)
        first[place] = name
        yield (
            "reward_models",
            same,
            f"{same} and {name} are both {found['path']}; each needs a model of its own (with "
            "{pretrain_seed} and {finetune_seed} in the path)",
        )


def _unknown_seeds(config: Config):
    allowed = config.pretrain_seeds
    cheaper = config.cheaper_ensembles
    for kind, seeds in (
        ("warm", cheaper.warm),
        ("multihead", cheaper.multihead),
        ("mc_dropout.pretrain_seeds", cheaper.mc_dropout.pretrain_seeds),
    ):
        for seed in seeds:
            key = f"cheaper_ensembles.{kind}"
            yield key, seed not in allowed, f"{seed} is not in pretrain_seeds, {allowed}"


def _no_dropout(config: dict):
    """MC dropout of reward models that are trained without."""
    asked = config["cheaper_ensembles"]["mc_dropout"]["pretrain_seeds"]
    for scale in config["scales"] if asked else []:
        keys = ("models", scale, "reward_model")
        yield (
            f"{'.'.join(keys)}.dropout",
            not recipe(config, *keys)["dropout"],
            "is 0 (recipe.dropout if not set here), and cheaper_ensembles.mc_dropout needs reward "
            "models that are trained with dropout; set it above 0 (the paper's policy: 0.1)",
        )


def _unknown_rankers(config: Config):
    allowed = every_ranker(config.model_dump())
    of_kinds: dict[str, str] = {}
    for each in allowed.values():
        of_kinds.setdefault(each.ensemble, each.name)
    some = ", ".join(of_kinds.values())
    for scale, asked in config.rlhf.rankers.items():
        key, scales = f"rlhf.rankers.{scale}", ", ".join(config.models)
        yield key, scale not in config.models, f"{scale} is unknown; allowed are {scales}"
        for name in asked if scale in config.scales else []:
            yield (
                key,
                name not in allowed,
                f"{name} is no ranker of this experiment; the first of each kind are {some}",
            )


def _shared_checkpoints(config: Config):
    """The policy and the evaluator need pretrained checkpoints that no other model has, and no two
    pretrained checkpoints may be imported from one.
    """
    rankers = {(scale, seed) for scale in config.scales for seed in config.pretrain_seeds}
    policy = (config.policy.scale, config.policy.pretrain_seed)
    evaluator = (config.evaluator.scale, config.evaluator.pretrain_seed)
    for key, (_, seed), other, shared in (
        ("policy", policy, "a reward model's", policy in rankers),
        ("evaluator", evaluator, "a ranker's", evaluator in rankers),
        ("evaluator", evaluator, "the policy's", evaluator == policy),
    ):
        yield (
            f"{key}.pretrain_seed",
            shared,
            f"{seed} is also {other}; it needs a pretrained checkpoint of its own",
        )
    first: dict[tuple, str] = {}
    plain = config.model_dump()
    for scale, seed in pretrained_checkpoints(plain):
        source = checkpoint_of(plain["pretrain"], scale, seed)
        if source is None:
            continue
        identity = tuple((source | {"path": source["path"].rstrip("/")}).values())
        name, same = f"{scale}/{seed}", first.get(identity)
        first[identity] = name
        yield (
            "pretrain.checkpoints",
            same,
            f"{same} and {name} are both {source['path']}; each needs a checkpoint of its own",
        )


def _too_few_seeds(config: Config):
    for key in ("pretrain_seeds", "finetune_seeds"):
        yield key, len(getattr(config, key)) < 2, "at least 2 seeds are needed for an ensemble"


def _unfit_cells(config: Config):
    cells = [] if isinstance(config.grid, str) else config.grid
    for pretrain_seed, finetune_seed in cells:
        yield (
            "grid",
            pretrain_seed not in config.pretrain_seeds
            or finetune_seed not in config.finetune_seeds,
            f"{[pretrain_seed, finetune_seed]} is not made of pretrain_seeds and finetune_seeds",
        )
    for position, key in enumerate(("pretrain_seeds", "finetune_seeds")):
        used = {cell[position] for cell in cells}
        unused = [seed for seed in getattr(config, key) if cells and seed not in used]
        yield (
            key,
            unused,
            f"{', '.join(map(str, unused))} in no cell of grid; leave out what no reward model "
            "has, because intervals count the seeds",
        )


def _too_few_samples(config: Config):
    drawn, most = config.sampling.samples.best_of_n, max(config.best_of_n)
    yield (
        "best_of_n",
        most > drawn,
        f"{most} is more than the samples drawn (sampling.samples.best_of_n: {drawn})",
    )


def _unfit_judge(config: Config):
    """The values are not shown: a key may be among them."""
    judge, rater = config.judge, gold_raters.rater_of(config.world, config.reward)
    if judge.url is None:
        return
    gold = judge.url == GOLD_JUDGE
    yield (
        "judge.url",
        not gold and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#@]*)?", judge.url),
        "must begin with http:// or https:// and have neither a password nor a query; or be gold",
    )
    yield (
        "judge.url",
        gold and not gold_raters.exists(rater),
        f"there is no gold rater {rater} to ask; name a server",
    )
    yield "judge.model", not gold and not judge.model, "missing; name a model of the server"
    yield "judge.model", gold and judge.model, "the local judge has no model; set it to null"
    yield "judge.seed", gold and judge.seed is None, "missing; the local judge needs one"
    yield (
        "judge.api_key_variable",
        not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", judge.api_key_variable or "none"),
        "is no name of an environment variable; put the key into one, and its name here",
    )


def _unfit_layouts(config: dict):
    """Jobs whose resources are impossible, or whose device layout does not fit the recipe."""
    for stage, scale in itertools.product(STAGES, config["models"]):
        checked(Need, need(config, stage, scale), "compute", stage, scale)
    for keys, stage, scale in trainings(config):
        its_recipe = checked(Recipe, recipe(config, *keys), *keys)
        asked = need(config, stage, scale)
        processes = max(1, asked["gpus"]) * asked["nodes"]
        yield (
            f"{'.'.join(keys)}.batch",
            its_recipe.batch % processes,
            f"{its_recipe.batch} rows cannot be shared equally by the {processes} GPUs of "
            f"compute.{stage}",
        )
        yield (
            f"{'.'.join(keys)}.optimizer",
            its_recipe.optimizer == "adafactor" and asked["sharded"],
            f"adafactor cannot be sharded (compute.{stage}); use adamw, or do not shard",
        )
    for scale, key in itertools.product(aligned_rankers(config), UNSHARED):
        unfit = need(config, "rlhf", scale)[key]
        yield (
            f"compute.rlhf.{scale}.{key}",
            unfit,
            "not possible where samples are drawn in training; set it to false, and use a "
            "smaller micro_batch to save memory",
        )
