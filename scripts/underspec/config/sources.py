"""Which pretrains an experiment uses, and where those are that are not trained here."""

from underspec.errors import ConfigError


def pretrains(config: dict) -> list[tuple[str, int]]:
    """(scale, pretrain seed) of each: the rankers', the policy's, the evaluator's."""
    rankers = [(scale, seed) for scale in config["scales"] for seed in config["pretrain_seeds"]]
    others = [
        (config[user]["scale"], config[user]["pretrain_seed"]) for user in ("policy", "evaluator")
    ]
    return [*rankers, *others]


def checkpoint_of(pretrain: dict, scale: str, seed: int) -> dict | None:
    """Source, path and revision of a pretrain, as the config's section `pretrain` says; None if
    it is to be trained here.

    The entry scale/seed comes before that of the scale; {seed} in a path is the pretrain seed.
    Raises ConfigError if there is neither and pretrains are not trained here, or an entry does
    not say in which format the pretrain is.
    """
    entries = pretrain["checkpoints"]
    entry = entries.get(f"{scale}/{seed}", entries.get(scale))
    if entry is None and pretrain["source"] == "scratch":
        return None
    if entry is None:
        raise ConfigError(
            f"pretrain.checkpoints: {scale}/{seed} is missing; say where it is under "
            f"{scale}/{seed}, or under {scale} with {{seed}} in the path"
        )
    source = entry.get("source") or pretrain["source"]
    if source == "scratch":
        raise ConfigError(
            f"pretrain.checkpoints: that of {scale}/{seed} needs a source, released or hub"
        )
    return {
        "source": source,
        "path": entry["path"].replace("{seed}", str(seed)),
        "revision": entry.get("revision") or "main",
    }
