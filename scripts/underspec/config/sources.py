"""The pretrained checkpoints of an experiment, and the locations of those not trained here; and of
finished reward models.
"""

from underspec.errors import ConfigError
from underspec.grid import RewardModel, reward_models


def cells(config: dict) -> list[tuple[str, RewardModel]]:
    """The scale and the seeds of each reward model, of which the evaluator is the last."""
    grid = reward_models(config["grid"], config["pretrain_seeds"], config["finetune_seeds"])
    judge = config["evaluator"]
    evaluator = RewardModel(judge["pretrain_seed"], judge["finetune_seed"])
    return [*((scale, cell) for scale in config["scales"] for cell in grid)] + [
        (judge["scale"], evaluator)
    ]


def finished_of(entries: dict, scale: str, cell: RewardModel) -> dict | None:
    """The location of a finished reward model (path, revision, trust_pickle), from the config's
    section `reward_models`; None if it is trained here.

    An entry of the reward model takes precedence over one of its scale; {pretrain_seed} and
    {finetune_seed} in a path or a revision are its seeds.
    """
    entry = entries.get(f"{scale}/{cell.name}", entries.get(scale))
    if entry is None:
        return None

    def filled(text: str) -> str:
        for name in ("pretrain_seed", "finetune_seed"):
            text = text.replace(f"{{{name}}}", str(getattr(cell, name)))
        return text

    return {
        "path": filled(entry["path"]),
        "revision": filled(entry.get("revision") or "main"),
        "trust_pickle": entry.get("trust_pickle", False),
    }


def pretrained_checkpoints(config: dict) -> list[tuple[str, int]]:
    """(scale, pretraining seed) of each pretrained checkpoint: rankers', policy's, evaluator's.

    Finished reward models need none.
    """
    finished: dict[tuple[str, int], bool] = {}
    for scale, cell in cells(config):
        key = scale, cell.pretrain_seed
        here = finished_of(config["reward_models"], scale, cell) is None
        finished[key] = finished.get(key, True) and not here
    rankers = [(scale, seed) for scale in config["scales"] for seed in config["pretrain_seeds"]]
    others = [
        (config[user]["scale"], config[user]["pretrain_seed"]) for user in ("policy", "evaluator")
    ]
    policy = others[0]
    return [key for key in [*rankers, *others] if key == policy or not finished.get(key, False)]


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
