"""What follows from a validated config."""

from collections.abc import Mapping

from underspec.architectures import architecture_class
from underspec.cheaper_ensembles import cheaper_ensembles
from underspec.cheaper_ensembles import rankers as cheaper_rankers
from underspec.grid import Ranker, rankers, reward_models


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
