"""Where each pretrain comes from that is not trained here: the config's `pretrain.checkpoints`."""

from underspec.errors import ConfigError


def checkpoint_of(pretrain: dict, scale: str, seed: int) -> dict:
    """Source, path and revision of a pretrain, as the config's section `pretrain` says.

    The entry scale/seed comes before that of the scale; {seed} in a path is the pretrain seed.
    Raises ConfigError if there is neither.
    """
    entries = pretrain["checkpoints"]
    entry = entries.get(f"{scale}/{seed}", entries.get(scale))
    if entry is None:
        raise ConfigError(
            f"pretrain.checkpoints: {scale}/{seed} is missing; say where it is under "
            f"{scale}/{seed}, or under {scale} with {{seed}} in the path"
        )
    return {
        "source": entry.get("source") or pretrain["source"],
        "path": entry["path"].replace("{seed}", str(seed)),
        "revision": entry.get("revision") or "main",
    }
