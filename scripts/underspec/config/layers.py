"""Reads the config from its layers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from underspec.errors import ConfigError
from underspec.provenance.bundle import bundled_config
from underspec.schema import Text, one_line, or_null
from underspec.yaml_map import read_map

# Keys about this machine, or a judge's server, which a bundle does not set.
NOT_BUNDLED = ("compute", "estimate", "judge", "protect_pretrained")
# Keys that choose from what a bundle holds, or say what is done with it. The others say how it was
# made, which is over.
CHOOSING = (
    *("extends", "bundle", "experiment", "words", "checkpoint_seconds", *NOT_BUNDLED),
    *("scales", "grid", "pretrain_seeds", "finetune_seeds", "cheaper_ensembles"),
    *("aggregators", "ensemble_size", "best_of_n", "newer_rankers", "resamples"),
    *("rlhf.rankers", "rlhf.kl_coefficients", "rlhf.seeds"),
)


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
    a circle, if the last overlay has no `experiment` of its own, or if a layer above a bundle
    changes how its content was made; ArtifactError if the bundle is damaged.
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
        _refuse_changes(config, above, bundle)
    return merged(config, above)


def _refuse_changes(bundled: dict, above: dict, bundle: Path, within: str = "") -> None:
    for key, value in above.items():
        path, made_with = within + key, bundled.get(key)
        if path in CHOOSING or value == made_with or (path, value) == ("styles.posts", 0):
            continue
        if isinstance(value, dict) and isinstance(made_with, dict):
            _refuse_changes(made_with, value, bundle, f"{path}.")
        elif key in bundled:  # a key that there is not is named when the config is validated
            raise ConfigError(
                f"{path}: {bundle} was made with {made_with!r}, which cannot be {value!r} "
                "afterwards; leave the key out, or run the experiment without the bundle"
            )


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
