"""The config: how its files lie over each other, and what in it contradicts what."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

from underspec.config.sections import Config, Recipe
from underspec.config.sources import checkpoint_of, pretrains
from underspec.data.span_corruption import corrupted_spans, tokens_for
from underspec.data.special_tokens import SENTINELS
from underspec.data.worlds import names, world_class
from underspec.errors import ConfigError
from underspec.provenance.bundle import bundled_config
from underspec.schema import Text, checked, one_line, or_null
from underspec.yaml_map import read_map

OF_THE_MACHINE = ("compute", "estimate")  # no bundle says how jobs are run here
OF_NO_SCALE = {"evaluator", "gold"}  # what else scores samples, with logs beside those of scales
STAGES = ("pretrain", "policy", "sample", "reward_model", "score")  # whose jobs may want GPUs


def merged(base: dict, overlay: dict) -> dict:
    """`base` with `overlay` over it as Snakemake lays it: maps merge, anything else replaces."""
    both = dict(base)
    for key, value in overlay.items():
        nested = isinstance(value, dict) and isinstance(both.get(key), dict)
        both[key] = merged(both[key], value) if nested else value
    return both


def read_config(root: Path, *overlays: Path, given: Mapping | None = None) -> dict:
    """The config of the repository `root`, not yet checked.

    Its layers, the undermost first: config.yaml; the config in the bundle, if one is named; the
    files that overlays extend; the overlays; what the command line has `given`.

    Raises ConfigError, naming the file, if one cannot be read, if overlays extend each other in a
    circle, or if the last overlay has no `experiment` of its own; ArtifactError if the bundle is
    damaged.
    """
    above = _layers(root, overlays, given or {})
    config = read_map(root / "config.yaml")
    if bundle := _file(above, "bundle") or _file(config, "bundle"):
        bundled = {
            key: value for key, value in bundled_config(bundle).items() if key not in OF_THE_MACHINE
        }
        config = merged(config, bundled | {"bundle": str(bundle)})
    return merged(config, above)


def _layers(root: Path, overlays: Sequence[Path], given: Mapping) -> dict:
    """What lies over config.yaml, as one map."""
    own = {path: read_map(path) for path in overlays}
    if overlays and "experiment" not in {**own[overlays[-1]], **given}:
        raise ConfigError(
            f"{overlays[-1]}: has no `experiment:` of its own; name one, or it writes over the "
            "results of another"
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
    """The content of every file that `layer` extends, the undermost first; above: the files that
    led to it, each extending the next."""
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
    """The file that a layer of the config names under `key`, before the schema is asked."""
    name = TypeAdapter(or_null(Text))
    try:
        checked = name.validate_python(layer.get(key), strict=True)
    except ValidationError as error:
        raise ConfigError(one_line(error, key)) from None
    return Path(checked) if checked else None


def recipe(config: dict, *place: str) -> dict:
    """The recipe at `place` of the config (as "policy", "recipe"), with what all have in common."""
    own = config
    for key in place:
        own = own[key]
    return {**config["recipe"], **own}


def need(config: dict, stage: str, scale: str) -> dict:
    """What a job of `stage` asks for at `scale`, with the keys of Need."""
    return {**config["compute"]["default"], **config["compute"][stage].get(scale, {})}


def recipe_places(config: dict) -> list[tuple[str, ...]]:
    """Where the recipes of all trainings stand."""
    of_scales = [
        ("models", scale, stage)
        for scale in config["models"]
        for stage in ("pretrain", "reward_model")
    ]
    return [*of_scales, ("policy", "recipe")]


def text_world(config: dict) -> str:
    """The world that gives the pretraining text."""
    return config["pretraining"]["world"] or config["world"]


def validate(config: dict) -> dict:
    """The config with every value in the type of the schema: 1e-3 is a number, also as text.

    Raises ConfigError with one line that names the key and says what is allowed.
    """
    settings = checked(Config, config)
    config = _typed(config, settings)
    text = text_world(config)
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
    recipes = {
        place: checked(Recipe, recipe(config, *place), *place) for place in recipe_places(config)
    }
    for key, broken, allowed in (*_contradictions(settings), *_impossible_needs(config, recipes)):
        if broken:
            raise ConfigError(f"{key}: {allowed}")
    return config


def _typed(section: dict, values: BaseModel) -> dict:
    """A section with the values of its check; keys stay those of the section, and in its order."""
    return merged(section, values.model_dump(exclude_unset=True))


def _require(world: str, key: str, flag: str, part: str) -> None:
    """Raises ConfigError if the world that `key` names lacks a part."""
    if not getattr(world_class(world, key), flag):
        able = ", ".join(name for name in names() if getattr(world_class(name), flag))
        raise ConfigError(f"{key}: {world} has no {part}; worlds that have are {able}")


def _impossible_needs(config: dict, recipes: dict[tuple[str, ...], Recipe]):
    """As _contradictions: jobs that ask for more than there is, trainings that their processes
    cannot share.
    """
    for stage in STAGES:
        for scale in config["compute"][stage]:
            yield (
                f"compute.{stage}",
                scale not in config["models"],
                f"{scale} is unknown; allowed are {', '.join(config['models'])}",
            )
    for stage, scale in itertools.product(STAGES, config["models"]):
        asked = need(config, stage, scale)
        for key in ("mem_mb", "minutes"):
            most = asked[f"max_{key}"]
            yield (
                f"compute.{stage}",
                most and asked[key] > most,
                f"{scale} asks for {asked[key]} {key}, more than max_{key} ({most}); lower it, or "
                f"raise max_{key}",
            )
        yield (
            f"compute.{stage}",
            asked["compiled"] and asked["activation_checkpointing"],
            f"{scale} is compiled and has activation_checkpointing; set one of them to false",
        )
    for place, its_recipe in recipes.items():
        stage, scale = place[::-1][:2] if place[0] == "models" else ("policy", None)
        asked = need(config, stage, scale or config["policy"]["scale"])
        processes = max(1, asked["gpus"]) * asked["nodes"]
        yield (
            f"{'.'.join(place)}.batch",
            its_recipe.batch % processes,
            f"{its_recipe.batch} rows cannot be shared by the {processes} GPUs of compute.{stage}",
        )
        yield (
            f"{'.'.join(place)}.optimizer",
            its_recipe.optimizer == "adafactor" and asked["sharded"],
            f"adafactor cannot be sharded (compute.{stage}); take adamw, or do not shard",
        )


def _contradictions(config: Config):
    """(key, whether it is broken, what is allowed), in the order a reader meets the keys."""
    scales = ", ".join(config.models)
    rankers = {(scale, seed) for scale in config.scales for seed in config.pretrain_seeds}
    policy = (config.policy.scale, config.policy.pretrain_seed)
    evaluator = (config.evaluator.scale, config.evaluator.pretrain_seed)
    unknown_worlds = set(config.worlds) - set(names())
    drawn = config.sampling.samples.best_of_n
    yield (
        "worlds",
        unknown_worlds,
        f"{', '.join(sorted(unknown_worlds))} is unknown; allowed are {', '.join(names())}",
    )
    own = sorted(OF_NO_SCALE & config.models.keys())
    yield "models", own, f"{', '.join(own)} cannot name a scale, as it names logs; choose another"
    for key, scale in [
        *(("scales", scale) for scale in config.scales),
        ("policy.scale", config.policy.scale),
        ("evaluator.scale", config.evaluator.scale),
    ]:
        yield key, scale not in config.models, f"{scale} is unknown; allowed are {scales}"
    for key in ("scales", "pretrain_seeds", "finetune_seeds", "aggregators", "best_of_n"):
        values = getattr(config, key)
        yield key, len(set(values)) < len(values), f"{values} names something twice"
    yield (
        "policy.pretrain_seed",
        policy in rankers,
        f"{policy[1]} is the pretrain of a reward model; the policy needs one that none shares",
    )
    yield (
        "evaluator.pretrain_seed",
        evaluator in rankers,
        f"{evaluator[1]} is the pretrain of a ranker; the evaluator needs one that none shares",
    )
    yield (
        "evaluator.pretrain_seed",
        evaluator == policy,
        f"{evaluator[1]} is the policy's pretrain; the evaluator needs one that it does not share",
    )
    yield from _imported_pretrains(config)
    length, *noise = config.corruption.model_dump().values()
    spans = corrupted_spans(tokens_for(length, *noise), *noise)
    yield (
        "corruption",
        spans > SENTINELS,
        f"{spans} spans a chunk are more than the {SENTINELS} sentinels; lower input_length or "
        "noise_density, or raise mean_span_length",
    )
    yield (
        "best_of_n",
        max(config.best_of_n) > drawn,
        f"{max(config.best_of_n)} is more than the samples drawn "
        f"(sampling.samples.best_of_n: {drawn})",
    )


def _imported_pretrains(config: Config):
    """As `_contradictions`, of where pretrains come from."""
    scales = ", ".join(config.models)
    for key in config.pretrain.checkpoints:
        scale = key.split("/")[0]
        unknown = f"{scale} is unknown; allowed are {scales}"
        yield f"pretrain.checkpoints.{key}", scale not in config.models, unknown
    first: dict[tuple, str] = {}
    plain = config.model_dump()
    for scale, seed in pretrains(plain):
        where = checkpoint_of(plain["pretrain"], scale, seed)
        if where is None:
            continue
        place = tuple((where | {"path": where["path"].rstrip("/")}).values())
        name, same = f"{scale}/{seed}", first.get(place)
        first[place] = name
        yield (
            "pretrain.checkpoints",
            same,
            f"{same} and {name} are both {where['path']}; each needs a pretrain of its own",
        )
