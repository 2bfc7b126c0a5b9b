"""The config's schema: what is shipped passes, and keys fit each other."""

import itertools
import json
import re
from typing import get_args, get_origin

import pytest
from miniature import MINIATURE, ROOT, changed, without
from pydantic import BaseModel

from underspec.analysis.ensembles import AGGREGATORS
from underspec.config.derived import text_world
from underspec.config.layers import merged, read_config
from underspec.config.sections import Config, Recipe
from underspec.config.sources import cells, checkpoint_of, finished_of, pretrained_checkpoints
from underspec.config.validation import validate
from underspec.data.worlds import names, world_class
from underspec.errors import ConfigError
from underspec.schema import NAME
from underspec.training.optimizers import OPTIMIZERS, SCHEDULES

EXPERIMENTS = sorted((ROOT / "experiments").glob("*.yaml"))


def test_the_miniature_is_valid():
    validate(MINIATURE)


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiments_are_valid_and_named_after_their_file(path):
    config = read_config(ROOT, path)
    validate(config)
    assert config["experiment"] == path.stem


SAME_SEEDS = {"bias", "smoke"}  # as the miniature, on purpose
SAME_SEEDS |= {"released", "budget", "multiberts"}  # as paper, or as pythia
CONFIGS = [MINIATURE, *(read_config(ROOT, path) for path in EXPERIMENTS)]
OWN_SEEDS = {each["experiment"]: each for each in CONFIGS if each["experiment"] not in SAME_SEEDS}
SHARED_WORLD = [
    (one, other)
    for one, other in itertools.combinations(OWN_SEEDS, 2)
    if OWN_SEEDS[one]["world"] == OWN_SEEDS[other]["world"]
]


def seeds(config):
    """Of what is trained here; the seeds of others' models are names."""
    pretrain, finished = config["pretrain"], config["reward_models"]
    pretrained = pretrained_checkpoints(config)
    trained = [cell for scale, cell in cells(config) if not finished_of(finished, scale, cell)]
    return {
        "world": {config["worlds"][config["world"]]["seed"]},
        "labels": {config["labels" if config["reward"] == "preference" else "judgements"]["seed"]},
        "sampling": {config["sampling"]["seed"]},
        "pretraining": {seed for at, seed in pretrained if not checkpoint_of(pretrain, at, seed)},
        "finetuning": {config["policy"]["seed"], *(cell.finetune_seed for cell in trained)},
    }


@pytest.mark.parametrize(("one", "other"), SHARED_WORLD)
def test_no_seed_is_used_by_two_experiments(one, other):
    first, second = seeds(OWN_SEEDS[one]), seeds(OWN_SEEDS[other])
    assert {kind: first[kind] & second[kind] for kind in first} == dict.fromkeys(first, set())


def test_an_overlay_lies_over_what_it_extends():
    paper, released = (
        read_config(ROOT, ROOT / f"experiments/{name}.yaml") for name in ("paper", "released")
    )
    assert released["models"] == paper["models"] != MINIATURE["models"]
    assert released["pretrain"]["source"] == "released"
    kept = paper["pretrain"]["checkpoints"]
    assert kept.items() <= released["pretrain"]["checkpoints"].items()


def is_section(kind):
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def missing_keys(model, section, prefix=""):
    """Fields of the schema `model` that the config section does not list."""
    for name, field in model.model_fields.items():
        if name not in section:
            if field.is_required():
                yield f"{prefix}{name}"
            continue
        kind, value = field.annotation, section[name]
        sections = [each for each in (kind, *get_args(kind)) if is_section(each)]
        if get_origin(kind) is not dict and sections and value is not None:
            yield from missing_keys(sections[0], value, f"{prefix}{name}.")
        elif get_origin(kind) is dict and is_section(get_args(kind)[1]):
            for key, inner in value.items():
                yield from missing_keys(get_args(kind)[1], inner, f"{prefix}{name}.{key}.")


def test_config_yaml_lists_every_key_there_is():
    assert list(missing_keys(Config, MINIATURE)) == []
    for world in names():
        assert list(missing_keys(world_class(world).Options, MINIATURE["worlds"][world])) == []


def test_the_drift_test_sees_what_is_missing():
    config = without("models.base.shape.d_ff")
    assert list(missing_keys(Config, config)) == ["models.base.shape.d_ff"]


def test_every_world_and_aggregator_has_a_name_of_that_pattern():
    assert all(re.fullmatch(NAME, name) for name in (*names(), *AGGREGATORS))


@pytest.mark.parametrize("path", [None, *EXPERIMENTS], ids=lambda path: path and path.stem)
def test_the_checked_config_has_the_keys_of_the_files_and_in_their_order(path):
    config = read_config(ROOT, *[path] if path else [])
    assert json.dumps(validate(config)) == json.dumps(config)


def test_adafactor_is_not_sharded():
    config = changed("compute.pretrain", {"xl": {"sharded": True}})
    validate(config)
    config["models"]["xl"]["pretrain"]["optimizer"] = "adafactor"
    with pytest.raises(ConfigError, match="^models.xl.pretrain.optimizer: adafactor"):
        validate(config)


def test_the_config_knows_the_optimizers_and_schedules_that_exist():
    """It names them itself, for Snakemake reads it and shall not import torch."""
    fields = Recipe.model_fields
    assert set(get_args(fields["optimizer"].annotation)) == set(OPTIMIZERS)
    assert set(get_args(fields["schedule"].annotation)) == set(SCHEDULES)


PAPER = {
    "world": "tldr",
    "pretraining": {"world": "c4", "shards": 2},
    "worlds": {"c4": {"files": 3}},
}


def test_posts_and_pretraining_text_of_different_worlds():
    config = merged(MINIATURE, PAPER)
    validate(config)
    assert text_world(config) == "c4"
    assert text_world(MINIATURE) == "micro_tldr"


@pytest.mark.parametrize("world, key", [("tldr", "best_of_n"), ("c4", "files")])
def test_the_options_of_both_worlds_are_checked(world, key):
    with pytest.raises(ConfigError, match=rf"^worlds\.{world}\.{key}: 0 is not allowed"):
        validate(merged(merged(MINIATURE, PAPER), {"worlds": {world: {key: 0}}}))


EVERYWHERE = {scale: {"path": f"/models/{scale}-{{seed}}"} for scale in MINIATURE["models"]}


def imported(checkpoints):
    return merged(MINIATURE, {"pretrain": {"source": "released", "checkpoints": checkpoints}})


def test_checkpoints_from_elsewhere():
    validate(imported(EVERYWHERE))
    validate(imported({**EVERYWHERE, "large/15": {"source": "hub", "path": "google-t5/t5-large"}}))


@pytest.mark.parametrize(
    ("missing", "named"), [("xl", "xl/10"), ("large", "large/10"), ("xxl", "xxl/16")]
)
def test_every_pretrained_checkpoint_needs_a_path(missing, named):
    others = {scale: where for scale, where in EVERYWHERE.items() if scale != missing}
    with pytest.raises(ConfigError, match=f"^pretrain.checkpoints: {named} is missing"):
        validate(imported(others))


def test_the_policy_needs_a_place_too():
    large = {f"large/{seed}": {"path": f"/models/{seed}"} for seed in MINIATURE["pretrain_seeds"]}
    others = {scale: where for scale, where in EVERYWHERE.items() if scale != "large"}
    with pytest.raises(ConfigError, match="^pretrain.checkpoints: large/15 is missing"):
        validate(imported({**others, **large}))


@pytest.mark.parametrize(
    ("key", "path", "first", "second"),
    [
        ("base", "/models/base", "base/10", "base/11"),
        ("large/15", "/models/xl-13", "xl/13", "large/15"),
        ("large/15", "/models/xl-13/", "xl/13", "large/15"),
    ],
)
def test_two_pretrained_checkpoints_cannot_be_one(key, path, first, second):
    cause = f"^pretrain.checkpoints: {first} and {second} are both {path}"
    with pytest.raises(ConfigError, match=cause):
        validate(imported({**EVERYWHERE, key: {"path": path}}))


def test_the_entry_of_a_seed_comes_before_that_of_the_scale():
    section = {"source": "released", "checkpoints": {"base": {"path": "/{seed}/{seed}"}}}
    section["checkpoints"]["base/3"] = {"path": "t5", "source": "hub", "revision": "v2"}
    found = [checkpoint_of(section, "base", seed) for seed in (2, 3)]
    safe = {"trust_pickle": False}
    assert found[0] == {"source": "released", "path": "/2/2", "revision": "main"} | safe
    assert found[1] == {"source": "hub", "path": "t5", "revision": "v2"} | safe
