"""The pretrained checkpoints of an experiment, and the locations of those not trained here."""

from underspec.errors import ConfigError


def pretrained_checkpoints(config: dict) -> list[tuple[str, int]]:
    """(scale, pretraining seed) of each pretrained checkpoint: rankers', policy's, evaluator's."""
    rankers = [(scale, seed) for scale in config["scales"] for seed in config["pretrain_seeds"]]
    others = [
        (config[user]["scale"], config[user]["pretrain_seed"]) for user in ("policy", "evaluator")
    ]
    return [*rankers, *others]


def checkpoint_of(pretrain: dict, scale: str, seed: int) -> dict | None:
    """The location of a pretrained checkpoint (source, path, revision, trust_pickle), from the
    config's section `pretrain`; None if it is trained here.

    An entry scale/seed takes precedence over one of the scale; {seed} in a path or a revision is
    the pretraining seed. Raises ConfigError if an entry is missing, or does not say which format it
    has.
    """
    entries = pretrain["checkpoints"]
    entry = entries.get(f"{scale}/{seed}", entries.get(scale))
    if entry is None and pretrain["source"] == "scratch":
        return None
    if entry is None:
        raise ConfigError(
            f"pretrain.checkpoints: {scale}/{seed} is missing; give its path under "
            f"{scale}/{seed}, or under {scale} with {{seed}} in the path"
        )
    source = entry.get("source") or pretrain["source"]
    if source == "scratch":
        raise ConfigError(
            f"pretrain.checkpoints: the entry of {scale}/{seed} needs a source: released or hub"
        )
    return {
        "source": source,
        "path": entry["path"].replace("{seed}", str(seed)),
        "revision": (entry.get("revision") or "main").replace("{seed}", str(seed)),
        "trust_pickle": entry.get("trust_pickle", False),
    }
