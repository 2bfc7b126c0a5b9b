"""Reads the config from its layers and validates it, including contradictions between keys."""

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

NOT_BUNDLED = ("compute", "estimate")  # keys about this machine, which a bundle does not set
RESERVED_NAMES = {"evaluator", "gold"}  # their logs are in the same folder as those of scales
STAGES = ("pretrain", "policy", "sample", "reward_model", "score")  # stages that may use GPUs


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


def recipe_keys(config: dict) -> list[tuple[str, ...]]:
    """The config keys under which each training's recipe is."""
    of_scales = [
        ("models", scale, stage)
        for scale in config["models"]
        for stage in ("pretrain", "reward_model")
    ]
    return [*of_scales, ("policy", "recipe")]


def text_world(config: dict) -> str:
    """The world of the pretraining text."""
    return config["pretraining"]["world"] or config["world"]


def validate(config: dict) -> dict:
    """The config, with every value converted to the type in the schema (1e-3 may be text).

    Raises ConfigError in one line that names the key and says what is allowed.
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
    recipes = {keys: checked(Recipe, recipe(config, *keys), *keys) for keys in recipe_keys(config)}
    for key, broken, allowed in (*_contradictions(settings), *_impossible_needs(config, recipes)):
        if broken:
            raise ConfigError(f"{key}: {allowed}")
    return config


def _typed(section: dict, values: BaseModel) -> dict:
    """A section with validated values; its keys and their order stay the same."""
    return merged(section, values.model_dump(exclude_unset=True))


def _require(world: str, key: str, flag: str, part: str) -> None:
    """Raises ConfigError if the world named under `key` lacks a part."""
    if not getattr(world_class(world, key), flag):
        able = ", ".join(name for name in names() if getattr(world_class(name), flag))
        raise ConfigError(f"{key}: {world} has no {part}; worlds with {part} are {able}")


def _impossible_needs(config: dict, recipes: dict[tuple[str, ...], Recipe]):
    """As `_contradictions`, for jobs that ask for more than the maximum and for device layouts that
    do not fit the recipe.
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
    for keys, its_recipe in recipes.items():
        stage, scale = keys[::-1][:2] if keys[0] == "models" else ("policy", None)
        asked = need(config, stage, scale or config["policy"]["scale"])
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


def _contradictions(config: Config):
    """(key, whether it is invalid, message) of checks across keys, in the order of config.yaml."""
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
    reserved = sorted(RESERVED_NAMES & config.models.keys())
    yield "models", reserved, f"{', '.join(reserved)} cannot name a scale; choose another name"
    for key, scale in [
        *(("scales", scale) for scale in config.scales),
        ("policy.scale", config.policy.scale),
        ("evaluator.scale", config.evaluator.scale),
    ]:
        yield key, scale not in config.models, f"{scale} is unknown; allowed are {scales}"
    for key in ("scales", "pretrain_seeds", "finetune_seeds", "aggregators", "best_of_n"):
        values = getattr(config, key)
        yield key, len(set(values)) < len(values), f"{values} has duplicates; remove them"
    yield (
        "policy.pretrain_seed",
        policy in rankers,
        f"{policy[1]} is also a reward model's; it needs a pretrained checkpoint of its own",
    )
    yield (
        "evaluator.pretrain_seed",
        evaluator in rankers,
        f"{evaluator[1]} is also a ranker's; it needs a pretrained checkpoint of its own",
    )
    yield (
        "evaluator.pretrain_seed",
        evaluator == policy,
        f"{evaluator[1]} is also the policy's; it needs a pretrained checkpoint of its own",
    )
    yield from _imported_pretrains(config)
    length, *noise = config.corruption.model_dump().values()
    spans = corrupted_spans(tokens_for(length, *noise), *noise)
    yield (
        "corruption",
        spans > SENTINELS,
        f"{spans} spans per chunk are more than the {SENTINELS} sentinels; lower input_length or "
        "noise_density, or raise mean_span_length",
    )
    yield (
        "best_of_n",
        max(config.best_of_n) > drawn,
        f"{max(config.best_of_n)} is more than the samples drawn "
        f"(sampling.samples.best_of_n: {drawn})",
    )


def _imported_pretrains(config: Config):
    """As `_contradictions`, for imported checkpoints."""
    scales = ", ".join(config.models)
    for key in config.pretrain.checkpoints:
        scale = key.split("/")[0]
        unknown = f"{scale} is unknown; allowed are {scales}"
        yield f"pretrain.checkpoints.{key}", scale not in config.models, unknown
    first: dict[tuple, str] = {}
    plain = config.model_dump()
    for scale, seed in pretrains(plain):
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
