"""The config's schema: what is shipped passes, every mistake is named in one line."""

import copy
import datetime
import json
import re
from pathlib import Path
from typing import get_args, get_origin

import pytest
from pydantic import BaseModel

from underspec.analysis.ensembles import AGGREGATORS
from underspec.config.config import Config, Recipe, merged, read_config, text_world, validate
from underspec.config.sources import checkpoint_of
from underspec.data.worlds import names, world_class
from underspec.errors import ConfigError
from underspec.schema import NAME
from underspec.training.optimizers import OPTIMIZERS, SCHEDULES

ROOT = Path(__file__).parents[3]
MINIATURE = read_config(ROOT)
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.yaml"))


def changed(key, value):
    overlay = value
    for part in reversed(key.split(".") if isinstance(key, str) else [key]):
        overlay = {part: overlay}
    return copy.deepcopy(merged(MINIATURE, overlay))


def without(key):
    config = copy.deepcopy(MINIATURE)
    *parents, last = key.split(".")
    section = config
    for part in parents:
        section = section[part]
    del section[last]
    return config


def test_the_miniature_is_valid():
    validate(MINIATURE)


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiments_are_valid_and_named_after_their_file(path):
    config = read_config(ROOT, path)
    validate(config)
    assert config["experiment"] == path.stem


def test_an_overlay_lies_over_what_it_extends():
    paper, released = (
        read_config(ROOT, ROOT / f"experiments/{name}.yaml") for name in ("paper", "released")
    )
    assert released["models"] == paper["models"] != MINIATURE["models"]
    assert released["pretrain"]["source"] == "released"
    kept = paper["pretrain"]["checkpoints"]
    assert kept.items() <= released["pretrain"]["checkpoints"].items()


def missing_keys(model, section, place=""):
    """Fields of the schema `model` that the config section does not list."""
    for name, field in model.model_fields.items():
        if name not in section:
            if field.is_required():
                yield f"{place}{name}"
            continue
        kind, value = field.annotation, section[name]
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from missing_keys(kind, value, f"{place}{name}.")
        elif get_origin(kind) is dict and issubclass(get_args(kind)[1], BaseModel):
            for key, inner in value.items():
                yield from missing_keys(get_args(kind)[1], inner, f"{place}{name}.{key}.")


def test_config_yaml_lists_every_key_there_is():
    assert list(missing_keys(Config, MINIATURE)) == []
    for world in names():
        assert list(missing_keys(world_class(world).Options, MINIATURE["worlds"][world])) == []


def test_the_drift_test_sees_what_is_missing():
    config = without("models.base.shape.d_ff")
    assert list(missing_keys(Config, config)) == ["models.base.shape.d_ff"]


MISTAKES = [
    # key, value, what the message must name, what it must say
    ("pretrain_sedes", [0, 1], "pretrain_sedes", "no such key"),
    ("models.base.pretrain.step", 5, "models.base.pretrain.step", "no such key"),
    ("models.base.shape.width", 5, "models.base.shape.width", "no such key"),
    ("sampling.samples.test", 2, "sampling.samples.test", "no such key"),
    ("worlds.micro_tldr.colour", 1, "worlds.micro_tldr.colour", "no such key"),
    ("worlds.micro_tldr.posts.test", 1, "worlds.micro_tldr.posts.test", "no such key"),
    ("worlds.micro_tldr.seed", -1, "worlds.micro_tldr.seed", "greater than or equal to 0"),
    ("worlds.micro_tldr.posts.policy", -3, "worlds.micro_tldr.posts.policy", "greater than 0"),
    ("world", "c4", "world", "c4 has no posts; worlds with posts are debian, micro_tldr, tldr$"),
    ("world", "tldr", "pretraining.world", "tldr has no .* text are c4, debian, micro_tldr$"),
    ("pretraining.world", "tldr", "pretraining.world", "tldr has no pretraining text"),
    ("pretraining.world", "atlantis", "pretraining.world", "'atlantis' is unknown.*c4, debian"),
    ("pretraining.shards", 0, "pretraining.shards", "greater than 0"),
    ("pretraining", {"world": "c4", "shards": 2}, "pretraining.shards", "2 .* the 1 files"),
    ("tokenizer.source.revision", None, "tokenizer.source.revision", "string"),
    ("worlds.atlantis", {}, "worlds", "atlantis.*debian, micro_tldr"),
    ("world", "atlantis", "world", "atlantis.*debian, micro_tldr"),
    ("aggregators", ["mean", "mode"], "aggregators", "'mode'.*'mean', 'median', 'min'"),
    ("aggregators", [], "aggregators", "at least 1"),
    ("aggregators", ["mean", "mean"], "aggregators", "duplicates"),
    ("scales", ["base", "huge"], "scales", "huge.*base, large, xl, xxl"),
    ("scales", ["base", "base"], "scales", "duplicates"),
    ("policy.scale", "huge", "policy.scale", "huge.*base, large, xl, xxl"),
    ("evaluator.scale", "huge", "evaluator.scale", "huge.*base, large, xl, xxl"),
    ("recipe.speed", 1, "recipe.speed", "no such key"),
    ("recipe.batch", 0, "recipe.batch", "greater than 0"),
    ("recipe.optimizer", "sgd", "recipe.optimizer", "'sgd'.*'adamw' or 'adafactor'"),
    ("models.xl.pretrain.precision", "fp16", "models.xl.pretrain.precision", "'fp32' or 'bf16'"),
    ("models.xl.pretrain.steps", None, "models.xl.pretrain.steps", "None is not allowed"),
    ("compute.default.gpus", -1, "compute.default.gpus", "greater than or equal to 0"),
    ("compute.pretrain", {"xl": {"gpu": 2}}, "compute.pretrain.xl.gpu", "no such key"),
    ("compute.pretrain", {"huge": {}}, "compute.pretrain", "huge.*base, large, xl, xxl"),
    ("compute.pretrain", {"xl": {"gpus": 5}}, "models.xl.pretrain.batch", "32.*the 5 GPUs"),
    ("compute.policy", {"large": {"nodes": 3}}, "policy.recipe.batch", "32.*the 3 GPUs"),
    ("grid", "diagonal", "grid", "'diagonal'.*'workshop' or 'full'"),
    ("pretrain_seeds", [0], "pretrain_seeds", "at least 2"),  # an ensemble of one
    ("finetune_seeds", [0], "finetune_seeds", "at least 2"),
    ("pretrain_seeds", [0, 1, 1], "pretrain_seeds", "duplicates"),
    ("finetune_seeds", [2, 2], "finetune_seeds", "duplicates"),
    ("pretrain_seeds", [0, -1], "pretrain_seeds.1", "greater than or equal to 0"),
    ("policy.pretrain_seed", 0, "policy.pretrain_seed", "of its own"),
    ("evaluator", {"scale": "xl", "pretrain_seed": 0}, "evaluator.pretrain_seed", "of its own"),
    ("evaluator", {"scale": "large", "pretrain_seed": 5}, "evaluator.pretrain_seed", "policy's"),
    ("labels.noise", 0.5, "labels.noise", "less than 0.5"),
    ("labels.temperature", 0, "labels.temperature", "equal to 0.001 and .* equal to 1000"),
    ("sampling.temperature", 0.0, "sampling.temperature", "equal to 0.01 and .* equal to 100"),
    ("sampling.top_k", 0, "sampling.top_k", "greater than 0"),
    ("sampling.top_p", 1.5, "sampling.top_p", "less than or equal to 1"),
    ("sampling.samples.preferences", 3, "sampling.samples.preferences", "multiple of 2"),
    ("sampling.samples.best_of_n", 32, "best_of_n", "64.*sampling.samples.best_of_n: 32"),
    ("best_of_n", [1, 128], "best_of_n", "128.*sampling.samples.best_of_n: 64"),
    ("best_of_n", [1, 4, 2], "best_of_n", "rise"),
    ("best_of_n", [2, 4], "best_of_n", "begin with 1"),
    ("best_of_n", [1, 2, 2], "best_of_n", "duplicates"),
    ("best_of_n", [1], "best_of_n", "at least 2"),
    ("models.base.shape.version", "v2", "models.base.shape.version", "'v1.0' or 'v1.1'"),
    ("pretrain.source", "bought", "pretrain.source", "'scratch', 'released' or 'hub'"),
    ("pretrain.source", "released", "pretrain.checkpoints", "base/0 is missing.*{seed}"),
    ("pretrain.checkpoints", {"huge": {"path": "/x"}}, "pretrain.checkpoints.huge", "allowed are"),
    (
        "pretrain.checkpoints",
        {"base/x": {"path": "/x"}},
        "pretrain.checkpoints.base/x",
        "scale/seed",
    ),
    ("pretrain.checkpoints", {"base": {"at": "/x"}}, "pretrain.checkpoints.base.path", "missing"),
    (
        "pretrain.checkpoints",
        {"base": {"path": "/x", "seed": 1}},
        "pretrain.checkpoints.base.seed",
        "no such key",
    ),
    ("centering", -0.1, "centering", "greater than or equal to 0"),
    ("models.base.pretrain.dropout", 1.0, "models.base.pretrain.dropout", "less than 1"),
    ("models.base.pretrain.steps", 0, "models.base.pretrain.steps", "greater than 0"),
    ("models.base.pretrain.steps", "many", "models.base.pretrain.steps", "'many'.*integer"),
    ("models.base.pretrain.steps", True, "models.base.pretrain.steps", "integer"),
    ("tokenizer.kind", "letters", "tokenizer.kind", "'word', 'unigram' or 't5'"),
    ("tokenizer.vocabulary", 100, "tokenizer.vocabulary", "greater than 110"),
    ("corruption.noise_density", 1.0, "corruption.noise_density", "less than or equal to 0.9"),
    ("experiment", "../elsewhere", "experiment", "'../elsewhere'"),
    ("experiment", "two\nlines", "experiment", "not allowed"),
    ("policy", None, "policy", "None"),
    # what would be left aside, or lost, without a word
    (
        "pretrain.checkpoints",
        {"base/00": {"path": "/x"}},
        "pretrain.checkpoints.base/00",
        "large/5",
    ),
    ("pretrain.checkpoints", {"base": {"path": " "}}, "pretrain.checkpoints.base.path", "blank"),
    ("models.evaluator", MINIATURE["models"]["base"], "models", "'evaluator' .* name a scale"),
    ("models.gold", MINIATURE["models"]["base"], "models", "'gold' .* name a scale"),
    ("tokenizer.source.name", "a\nb", "tokenizer.source.name", "one line of text"),
    ("estimate.tflops", 1e-300, "estimate.tflops", "greater than or equal to 0.001"),
    ("estimate.training", 1e-300, "estimate.training", "greater than or equal to 1e-06"),
    # what a stage would refuse, or break on, hours later
    ("pretrain_seeds", [0, 2**32], "pretrain_seeds.1", "to 0 and less than 4294967296$"),
    ("finetune_seeds", [0, 2**63], "finetune_seeds.1", "less than 4294967296"),
    ("policy.seed", 2**64, "policy.seed", "less than 4294967296"),
    ("sampling.seed", -1, "sampling.seed", "to 0 and less than 4294967296"),
    ("worlds.micro_tldr.seed", 2**32, "worlds.micro_tldr.seed", "less than 4294967296"),
    ("lengths.summary", 1, "lengths.summary", "greater than or equal to 2 and .* 131072"),
    ("worlds.micro_tldr.posts.best_of_n", 1, "worlds.micro_tldr.posts.best_of_n", "equal to 2"),
    ("pretraining.shards", 20001, "pretraining.shards", "20001 .* 20000 pretraining documents"),
    ("lengths.post", 1, "lengths.post", "greater than or equal to 2"),
    ("sampling.temperature", 1e-30, "sampling.temperature", "equal to 0.01 and .* equal to 100$"),
    ("sampling.temperature", 1e30, "sampling.temperature", "equal to 0.01 and .* equal to 100$"),
    ("labels.temperature", 1e-300, "labels.temperature", "equal to 0.001"),
    ("labels.length_bias", -1e300, "labels.length_bias", "to -1000.0 and .* to 1000.0"),
    ("models.base.pretrain.learning_rate", 1e9, "models.base.pretrain.learning_rate", "to 10"),
    ("models.base.pretrain.learning_rate", float("inf"), "models.base.pretrain", "finite"),
    ("sampling.temperature", float("nan"), "sampling.temperature", "finite"),
    ("models.base.shape.d_kv", 2**17 + 1, "models.base.shape.d_kv", "0 and .* equal to 131072"),
    ("tokenizer.vocabulary", 10**9, "tokenizer.vocabulary", "equal to 1000000"),
    ("sampling.samples.best_of_n", 10**6, "sampling.samples.best_of_n", "equal to 131072"),
    ("compute.default.growth_minutes", 1e6, "compute.default.growth_minutes", "equal to 10"),
    ("compute.default.max_minutes", 30, "compute.default", "60 minutes, more than"),
    ("compute.policy", {"large": {"max_minutes": 30}}, "compute.policy.large", "60 minutes, more"),
    ("compute.score", {"base": {"mem_mb": 9, "max_mem_mb": 8}}, "compute.score", "9 mem_mb, more"),
    (
        "compute.default",
        MINIATURE["compute"]["default"] | {"compiled": True, "activation_checkpointing": True},
        "compute.default",
        "is compiled and has activation_checkpointing",
    ),
    ("compute.default.mem_mb", 2**31, "compute.default.mem_mb", "equal to 2147483647"),
    ("resamples", 10**9, "resamples", "equal to 1000000"),
    ("corruption.noise_density", 0.99999999, "corruption.noise_density", "equal to 0.9"),
    ("corruption", {"input_length": 2048}, "corruption", "spans per chunk .* 100 sentinels"),
    # types that YAML gives and nobody means
    ("experiment", 7, "experiment", "7 .*; in a file, write it in quotes$"),
    ("experiment", 2024.5, "experiment", "2024.5 .*; in a file, write it in quotes$"),
    ("experiment", True, "experiment", "True .*; in a file, write it in quotes$"),
    ("experiment", datetime.date(2024, 1, 5), "experiment", "; in a file, write it in quotes$"),
    ("scales", ["base", False], "scales.1", "False .*; in a file, write it in quotes$"),
    ("models", {7: {}}, "models.7", "; in a file, write it in quotes"),
    ("models", {"two words": MINIATURE["models"]["base"]}, "models.two words", "a name has"),
    (7, 1, "7", "string"),
    ("resamples", True, "resamples", "True is not allowed: .*integer"),
    ("resamples", "yes", "resamples", "'yes' is not allowed: .*integer"),
    ("resamples", "1e3", "resamples", "'1e3' is not allowed: .*integer"),
    ("centering", False, "centering", "False is not allowed: .*number"),
    ("centering", "off", "centering", "'off' is not allowed: .*number"),
    ("centering", "nan", "centering", "'nan' is not allowed: .*number"),
    ("best_of_n", ["1", "four"], "best_of_n.1", "'four' is not allowed: .*integer"),
    ("best_of_n", "1,4", "best_of_n", "'1,4' is not allowed: .*list"),
    ("protect_pretrains", "yes", "protect_pretrains", "'yes' is not allowed: .*boolean"),
    ("protect_pretrains", 1, "protect_pretrains", "1 is not allowed: .*boolean"),
]


@pytest.mark.parametrize(
    "key, value, named, said", MISTAKES, ids=[f"{key}={value!r}" for key, value, *_ in MISTAKES]
)
def test_a_mistake_is_named_in_one_line(key, value, named, said):
    with pytest.raises(ConfigError, match=said) as caught:
        validate(changed(key, value))
    message = str(caught.value)
    assert message.startswith(named)
    assert "\n" not in message


BAD_NAMES = [
    "two words",
    "a/b",
    "..",
    ".hidden",
    "-x",
    "_x",
    "a*",
    "a|b",
    "a$",
    "$(id)",
    "a;b",
    "a&b",
]
BAD_NAMES += ["", "é", "a\n", "a\nb", "<b>", "a%", "a{b}", "a'b", 'a"b', "a" * 101]
GOOD_NAMES = ["miniature-bundle", "debian", "007", "1e3", "2024_01", "NA", "null", "a.b", "a" * 100]


def named(experiment, scale):
    """The miniature under a name, with its smallest scale under another."""
    config = changed("experiment", experiment)
    config["models"][scale] = config["models"].pop("base")
    return config | {"scales": [scale, "large"]}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_breaks_a_path_or_a_command_is_refused(name):
    for key, config in {
        "experiment": named(name, "base"),
        "models": changed("models", {name: MINIATURE["models"]["base"]}),
        "scales": changed("scales", ["base", name]),
        "policy.scale": changed("policy.scale", name),
        "compute.score": changed("compute.score", {name: {}}),
        "world": changed("world", name),
        "pretrain.checkpoints": changed("pretrain.checkpoints", {f"{name}/1": {"path": "/x"}}),
    }.items():
        with pytest.raises(ConfigError) as caught:
            validate(config)
        assert str(caught.value).startswith(key) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_names_keep_their_letters(name):
    checked = validate(named(name, name))
    assert checked["experiment"] == name
    assert checked["scales"] == [name, "large"]


def test_every_world_and_aggregator_has_a_name_of_that_pattern():
    assert all(re.fullmatch(NAME, name) for name in (*names(), *AGGREGATORS))


WRITTEN = [
    # key, as YAML 1.1 or --config gives it, as meant
    ("models.base.pretrain.learning_rate", "1e-3", 0.001),
    ("models.base.pretrain.learning_rate", "2E-3", 0.002),
    ("centering", ".5", 0.5),
    ("centering", 1, 1.0),
    ("labels.length_bias", "-0.25", -0.25),
    ("resamples", "500", 500),
    ("pretrain_seeds", ["0", "1", "2"], [0, 1, 2]),
    ("best_of_n", ["1", "4", "16"], [1, 4, 16]),
    ("protect_pretrains", "true", True),
    ("protect_pretrains", "False", False),
    ("sampling.top_k", "50", 50),
    ("sampling.top_k", "null", None),
    ("sampling.top_k", "", None),
    ("bundle", "null", None),
    ("worlds.micro_tldr.posts.policy", "64", 64),
    (
        "compute.pretrain",
        {"xl": {"gpus": "2", "sharded": "true"}},
        {"xl": {"gpus": 2, "sharded": True}},
    ),
]


@pytest.mark.parametrize(("key", "value", "meant"), WRITTEN)
def test_what_is_written_as_text_is_read_as_meant(key, value, meant):
    found = validate(changed(key, value))
    for part in key.split("."):
        found = found[part]
    assert found == meant and type(found) is type(meant)


@pytest.mark.parametrize("path", [None, *EXPERIMENTS], ids=lambda path: path and path.stem)
def test_the_checked_config_has_the_keys_of_the_files_and_in_their_order(path):
    config = read_config(ROOT, *[path] if path else [])
    assert json.dumps(validate(config)) == json.dumps(config)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sampling.temperature", 0.01),
        ("sampling.temperature", 100),
        ("lengths.summary", 2),
        ("sampling.top_k", 10**9),  # more than the vocabulary: all
        ("policy.seed", 2**32 - 1),
        ("corruption.noise_density", 0.9),
        ("corruption.noise_density", 0.01),
    ],
)
def test_what_is_at_the_bound_is_allowed(key, value):
    validate(changed(key, value))


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


@pytest.mark.parametrize(
    "key",
    ["world", "models.base.shape.d_ff", "models.xl.pretrain.steps", "worlds.micro_tldr.posts"],
)
def test_a_missing_key_is_named(key):
    with pytest.raises(ConfigError, match=f"^{key}: missing"):
        validate(without(key))


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


def test_the_number_of_other_mistakes_is_told():
    with pytest.raises(ConfigError, match="and 1 more"):
        validate(changed("models.base.pretrain", {"steps": 0, "batch": 0}))


EVERYWHERE = {scale: {"path": f"/models/{scale}-{{seed}}"} for scale in MINIATURE["models"]}


def imported(checkpoints):
    return merged(MINIATURE, {"pretrain": {"source": "released", "checkpoints": checkpoints}})


def test_pretrains_from_elsewhere():
    validate(imported(EVERYWHERE))
    validate(imported({**EVERYWHERE, "large/5": {"source": "hub", "path": "google-t5/t5-large"}}))


@pytest.mark.parametrize(
    ("missing", "named"), [("xl", "xl/0"), ("large", "large/0"), ("xxl", "xxl/6")]
)
def test_every_pretrain_needs_a_place(missing, named):
    others = {scale: where for scale, where in EVERYWHERE.items() if scale != missing}
    with pytest.raises(ConfigError, match=f"^pretrain.checkpoints: {named} is missing"):
        validate(imported(others))


def test_the_policy_needs_a_place_too():
    large = {f"large/{seed}": {"path": f"/models/{seed}"} for seed in range(5)}
    others = {scale: where for scale, where in EVERYWHERE.items() if scale != "large"}
    with pytest.raises(ConfigError, match="^pretrain.checkpoints: large/5 is missing"):
        validate(imported({**others, **large}))


@pytest.mark.parametrize(
    ("key", "path", "first", "second"),
    [
        ("base", "/models/base", "base/0", "base/1"),
        ("large/5", "/models/xl-3", "xl/3", "large/5"),
        ("large/5", "/models/xl-3/", "xl/3", "large/5"),
    ],
)
def test_two_pretrains_cannot_be_one(key, path, first, second):
    cause = f"^pretrain.checkpoints: {first} and {second} are both {path}"
    with pytest.raises(ConfigError, match=cause):
        validate(imported({**EVERYWHERE, key: {"path": path}}))


def test_the_entry_of_a_seed_comes_before_that_of_the_scale():
    section = {"source": "released", "checkpoints": {"base": {"path": "/{seed}/{seed}"}}}
    section["checkpoints"]["base/3"] = {"path": "t5", "source": "hub", "revision": "v2"}
    found = [checkpoint_of(section, "base", seed) for seed in (2, 3)]
    assert found[0] == {"source": "released", "path": "/2/2", "revision": "main"}
    assert found[1] == {"source": "hub", "path": "t5", "revision": "v2"}


def test_a_key_with_a_dot_is_told_how_to_nest():
    said = r"^labels\.seed: no such key; a key within another is written labels: \{seed: \.\.\.\}$"
    with pytest.raises(ConfigError, match=said):
        validate(MINIATURE | {"labels.seed": 5})
