"""Reads the config from its layers and validates it, including contradictions between keys."""

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

from underspec.architectures import architecture_class
from underspec.cheaper_ensembles import cheaper_ensembles
from underspec.cheaper_ensembles import rankers as cheaper_rankers
from underspec.config.machine import Need
from underspec.config.sections import Config, Recipe
from underspec.config.sources import (
    cells,
    checkpoint_of,
    finished_of,
    pretrained_checkpoints,
)
from underspec.data import gold_raters, judgements
from underspec.data.worlds import names, world_class
from underspec.errors import ConfigError
from underspec.grid import Ranker, rankers, reward_models
from underspec.provenance.bundle import bundled_config
from underspec.schema import Text, checked, one_line, or_null
from underspec.yaml_map import read_map

# Keys about this machine, or a judge's server, which a bundle does not set. protect_pretrains:
# protect_pretrained as it was called before.
NOT_BUNDLED = ("compute", "estimate", "judge", "protect_pretrained", "protect_pretrains")
# Stages that may use GPUs.
STAGES = ("pretrain", "policy", "sample", "reward_model", "score", "rlhf")
GOLD_JUDGE = "gold"  # in place of the URL of a judge's server: the gold rater answers


# What RLHF's training cannot do, whose policy also draws samples.
UNSHARED = ("sharded", "activation_checkpointing", "compiled")


def merged(base: dict, overlay: dict) -> dict:
    """`base` updated by `overlay` as in Snakemake: maps merge, anything else replaces."""
    both = dict(base)
    for key, value in overlay.items():
        nested = isinstance(value, dict) and isinstance(both.get(key), dict)
        both[key] = merged(both[key], value) if nested else value
    return both


def read_config(root: Path, *overlays: Path, given: Mapping | None = None) -> dict:
    """The config of the repository `root`, before validation.

    Its layers, from the bottom: config.yaml; the config in the bundle, if one is named; the files
    that overlays extend; the overlays; the values `given` on the command line.

    Raises ConfigError, naming the file, if a file cannot be read, if overlays extend each other in
    a circle, or if the last overlay has no `experiment` of its own; ArtifactError if the bundle is
    damaged.
    """
    above = _layers(root, overlays, given or {})
    config = read_map(root / "config.yaml")
    if bundle := _file(above, "bundle") or _file(config, "bundle"):
        bundled = {
            key: value for key, value in bundled_config(bundle).items() if key not in NOT_BUNDLED
        }
        if "rlhf" not in bundled:  # it is from before there was any
            config["rlhf"]["rankers"] = {}
        if "styles" not in bundled:
            config["styles"]["posts"] = 0
        config = merged(config, bundled | {"bundle": str(bundle)})
    return merged(config, above)


def _layers(root: Path, overlays: Sequence[Path], given: Mapping) -> dict:
    """The layers above config.yaml, merged into one map."""
    own = {path: read_map(path) for path in overlays}
    if overlays and "experiment" not in {**own[overlays[-1]], **given}:
        raise ConfigError(
            f"{overlays[-1]}: has no `experiment:` of its own; name one, or it overwrites the "
            "results of another experiment"
        )
    extended: dict[Path, dict] = {}
    for path, layer in own.items():
        extended |= _extended(root, layer, [path])
    extended |= _extended(root, given, [])
    config: dict = {}
    for layer in (*extended.values(), *own.values(), given):
        config = merged(config, layer)
    return config


def _extended(root: Path, layer: Mapping, above: list[Path]) -> dict[Path, dict]:
    """The content of every file that `layer` extends, the bottom layer first. `above` are the files
    that lead to `layer`, each of which extends the next.
    """
    extends = _file(layer, "extends")
    if extends is None:
        return {}
    path = root / extends
    chain = [*above, path]
    if path.resolve() in (each.resolve() for each in above):
        circle = " extends ".join(map(str, chain))
        raise ConfigError(f"{path}: extends itself ({circle}); remove one `extends:`")
    base = read_map(path)
    return {**_extended(root, base, chain), path: base}


def _file(layer: Mapping, key: str) -> Path | None:
    """The file named under `key` in a layer of the config, before the whole config is validated."""
    name = TypeAdapter(or_null(Text))
    try:
        checked = name.validate_python(layer.get(key), strict=True)
    except ValidationError as error:
        raise ConfigError(one_line(error, key)) from None
    return Path(checked) if checked else None


def recipe(config: dict, *keys: str) -> dict:
    """The recipe under `keys` of the config (such as "policy", "recipe"), with the defaults."""
    own = config
    for key in keys:
        own = own[key]
    return {**config["recipe"], **own}


def need(config: dict, stage: str, scale: str) -> dict:
    """The resources and the device layout of a job of `stage` at `scale`, with the keys of Need."""
    return {**config["compute"]["default"], **config["compute"][stage].get(scale, {})}


def can(model: Mapping, flag: str) -> bool:
    """Whether the architecture of a scale's section in `models` has something."""
    return getattr(architecture_class(model.get("architecture", "t5")), flag)


def every_ranker(config: dict) -> dict[str, Ranker]:
    """The rankers of one scale by name: those of the grid, then cheaper ensembles."""
    cells = reward_models(config["grid"], config["pretrain_seeds"], config["finetune_seeds"])
    aggregators, size = config["aggregators"], config["ensemble_size"]
    cheaper = cheaper_ensembles(config["cheaper_ensembles"], config["finetune_seeds"], size)
    found = rankers(cells, aggregators, size) + cheaper_rankers(cheaper, aggregators)
    return {ranker.name: ranker for ranker in found}


def aligned_rankers(config: dict) -> dict[str, list[str]]:
    """The rankers to which policies are aligned, at the scales that are in use."""
    asked = config["rlhf"]["rankers"]
    return {scale: asked[scale] for scale in config["scales"] if asked.get(scale)}


def trainings(config: dict) -> list[tuple[tuple[str, ...], str, str]]:
    """The config keys under which each training's recipe is, with its stage and scale."""
    of_scales = [
        (("models", scale, stage), stage, scale)
        for scale, model in config["models"].items()
        for stage in ("pretrain", "reward_model")
        if model.get(stage) is not None and (stage != "pretrain" or can(model, "has_shape"))
    ]
    policy = (("policy", "recipe"), "policy", config["policy"]["scale"])
    aligned = [(("rlhf", "recipe"), "rlhf", scale) for scale in aligned_rankers(config)]
    return [*of_scales, policy, *aligned]


def text_world(config: dict) -> str:
    """The world of the pretraining text."""
    return config["pretraining"]["world"] or config["world"]


def validate(config: dict) -> dict:
    """The config, with every value converted to the type in the schema (1e-3 may be text).

    Raises ConfigError in one line that names the key and says what is allowed.
    """
    settings = checked(Config, config)
    config = _typed(config, settings)
    if unknown := ", ".join(sorted(settings.worlds.keys() - set(names()))):
        raise ConfigError(f"worlds: {unknown} is unknown; allowed are {', '.join(names())}")
    text = text_world(config)
    if not settings.matrix:
        _require(settings.world, "world", "has_posts", "posts")
        _require(text, "pretraining.world", "has_pretraining_text", "pretraining text")
    for world in (settings.world, text):
        given = config["worlds"].get(world, {})
        options = checked(world_class(world).Options, given, "worlds", world)
        config = merged(config, {"worlds": {world: _typed(given, options)}})
    key, asked = options.most_shards, settings.pretraining.shards
    if key and asked > (most := getattr(options, key)):
        raise ConfigError(
            f"pretraining.shards: {asked} is more than the {most} {key.replace('_', ' ')} of the "
            f"world {text} (worlds.{text}.{key})"
        )
    of_training = (
        _unfit_labels,
        _unknown_scales,
        _unfit_architectures,
        _unfit_finished,
        _shared_checkpoints,
        _too_few_seeds,
    )
    for key, broken, message in itertools.chain(
        *(check(settings) for check in of_training if not settings.matrix),
        _unknown_cells(settings),
        _unknown_seeds(settings),
        _no_dropout(config),
        _unknown_rankers(settings),
        _too_few_samples(settings),
        _unfit_judge(settings),
        _unfit_layouts(config),
    ):
        if broken:
            raise ConfigError(f"{key}: {message}")
    return config


def _typed(section: dict, values: BaseModel) -> dict:
    """A section with validated values; its keys and their order stay the same."""
    return merged(section, values.model_dump(exclude_unset=True))


def _require(world: str, key: str, flag: str, part: str) -> None:
    """Raises ConfigError if the world named under `key` lacks a part."""
    if not getattr(world_class(world, key), flag):
        able = ", ".join(name for name in names() if getattr(world_class(name), flag))
        raise ConfigError(f"{key}: {world} has no {part}; worlds with {part} are {able}")


# The checks below are of keys in several sections, so that no section can make them. Each yields
# (key, whether it is invalid, message).


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


def _unknown_cells(config: Config):
    cells = [] if isinstance(config.grid, str) else config.grid
    for pretrain_seed, finetune_seed in cells:
        yield (
            "grid",
            pretrain_seed not in config.pretrain_seeds
            or finetune_seed not in config.finetune_seeds,
            f"{[pretrain_seed, finetune_seed]} is not made of pretrain_seeds and finetune_seeds",
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
