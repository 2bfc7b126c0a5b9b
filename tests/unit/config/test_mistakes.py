"""Every mistake in the config is named in one line; what is written oddly is read as meant."""

import datetime

import pytest
from miniature import MINIATURE, changed, without

from underspec.config.layers import merged
from underspec.config.validation import validate
from underspec.errors import ConfigError

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
    (
        "world",
        "c4",
        "world",
        "c4 has no posts; worlds with posts are debian, helpful, micro_tldr, tldr, valence, xsum$",
    ),
    (
        "world",
        "tldr",
        "pretraining.world",
        "tldr has no .* text are c4, debian, micro_tldr, valence$",
    ),
    ("world", "valence", "reward", "valence has neither .* nor a gold rater .* or rating"),
    ("pretraining.world", "tldr", "pretraining.world", "tldr has no pretraining text"),
    ("pretraining.world", "atlantis", "pretraining.world", "'atlantis' is unknown.*c4, debian"),
    ("pretraining.shards", 0, "pretraining.shards", "greater than 0"),
    ("pretraining", {"world": "c4", "shards": 2}, "pretraining.shards", "2 .* the 1 files"),
    ("tokenizer.source.revision", None, "tokenizer.source.revision", "string"),
    ("worlds.atlantis", {}, "worlds", "atlantis.*debian, elsewhere, helpful, micro_tldr"),
    ("world", "atlantis", "world", "atlantis.*debian, elsewhere, helpful, micro_tldr"),
    ("aggregators", ["mean", "mode"], "aggregators", "'mode'.*'mean', 'median', 'min'"),
    ("aggregators", ["mean", "uwo"], "aggregators", "'uwo'.*'mean', 'median', 'min'"),
    ("newer_rankers.soft.temperature", 0, "newer_rankers.soft.temperature", "equal to 0.001"),
    ("newer_rankers.soft.beta", 1, "newer_rankers.soft.beta", "no such key"),
    ("newer_rankers.uwo.coefficient", -1, "newer_rankers.uwo.coefficient", "equal to 0"),
    ("newer_rankers.hard", {}, "newer_rankers.hard", "no such key"),
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
    ("judge.url", "localhost:8000", "judge.url", "must begin with http:// or https://"),
    ("judge.url", "http://me:secret@host/v1", "judge.url", "neither a password nor a query"),
    ("judge.url", "http://host/v1?key=secret", "judge.url", "neither a password nor a query"),
    ("judge.url", "http://host/v1", "judge.model", "missing"),
    ("judge", {"url": "gold", "model": "some"}, "judge.model", "set it to null"),
    ("judge", {"url": "gold", "seed": None}, "judge.seed", "missing"),
    ("judge", {"url": "gold", "api_key_variable": "sk-a"}, "judge.api_key_variable", "is no name"),
    ("judge.answers", 0, "judge.answers", "greater than or equal to 1"),
    ("judge.temprature", 1, "judge.temprature", "no such key"),
    ("grid", "diagonal", "grid", "'diagonal'.*'workshop' or 'full'"),
    ("pretrain_seeds", [0], "pretrain_seeds", "at least 2"),  # an ensemble of one
    ("finetune_seeds", [0], "finetune_seeds", "at least 2"),
    ("pretrain_seeds", [0, 1, 1], "pretrain_seeds", "duplicates"),
    ("finetune_seeds", [2, 2], "finetune_seeds", "duplicates"),
    ("pretrain_seeds", [0, -1], "pretrain_seeds.1", "greater than or equal to 0"),
    ("policy.pretrain_seed", 10, "policy.pretrain_seed", "of its own"),
    ("evaluator", {"scale": "xl", "pretrain_seed": 10}, "evaluator.pretrain_seed", "of its own"),
    ("evaluator", {"scale": "large", "pretrain_seed": 15}, "evaluator.pretrain_seed", "policy's"),
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
    ("grid", [[10, 10]], "grid", "at least 2"),
    ("grid", [[10, 10], [10]], "grid", "at least 2"),
    ("grid", [[10, 10], [11, 10], [10, 10]], "grid", "has duplicates; remove them"),
    ("grid", [[10, 10], [11, 11]], "pretrain_seeds", "12, 13, 14 in no cell of grid; leave out"),
    (
        "grid",
        [[10, 10], [11, 10], [12, 10], [13, 10], [14, 11]],
        "finetune_seeds",
        "12, 13, 14 in no cell of grid; leave out",
    ),
    ("grid", [[10, 10], [10, 7]], "grid", r"\[10, 7\] is not made of pretrain_seeds and finetune_"),
    ("matrix", {"has": ["tables"]}, "matrix.has", "evaluator"),
    ("words", {"group": "family"}, "words.member", "missing"),
    ("words", {"group": "<b>", "member": "run"}, "words.group", "<b>"),
    ("world", "elsewhere", "world", "elsewhere has no posts"),
    ("best_of_n", [1], "best_of_n", "at least 2"),
    ("models.base.shape.version", "v2", "models.base.shape.version", "'v1.0' or 'v1.1'"),
    ("pretrain.source", "bought", "pretrain.source", "'scratch', 'released' or 'hub'"),
    ("pretrain.source", "released", "pretrain.checkpoints", "base/10 is missing.*{seed}"),
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
    ("reward", "pairwise", "reward", "'preference', 'pointwise' or 'rating'"),
    ("reward", "pointwise", "centering", "pointwise rewards are not centred; set it to 0"),
    ("judgements.per_post", 0, "judgements.per_post", "greater than 0"),
    ("judgements.seed", -1, "judgements.seed", "greater than or equal to 0"),
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
    ("cheaper_ensembles.warm", [7, 10], "cheaper_ensembles.warm", "7 is not in pretrain_seeds"),
    ("cheaper_ensembles.multihead", [10, 10], "cheaper_ensembles.multihead", "duplicates"),
    ("cheaper_ensembles.warm", True, "cheaper_ensembles.warm", "list"),
    (
        *("cheaper_ensembles.mc_dropout.pretrain_seeds", [10]),
        *("models.base.reward_model.dropout", "cheaper_ensembles.mc_dropout needs.*0.1"),
    ),
    (
        *("cheaper_ensembles.mc_dropout.pretrain_seeds", [7]),
        *("cheaper_ensembles.mc_dropout.pretrain_seeds", "7 is not in pretrain_seeds"),
    ),
    (
        *("cheaper_ensembles.mc_dropout.members", [8, 1]),
        *("cheaper_ensembles.mc_dropout.members.1", "greater than or equal to 2"),
    ),
    (
        *("cheaper_ensembles.mc_dropout.members", []),
        *("cheaper_ensembles.mc_dropout.members", "at least 1"),
    ),
    ("rlhf.rankers", {"huge": ["a"]}, "rlhf.rankers.huge", "huge is unknown.*base, large, xl, xxl"),
    (
        *("rlhf.rankers", {"base": ["single-pretrain9-finetune10"]}, "rlhf.rankers.base"),
        "pretrain9-finetune10 is no ranker of this experiment; the first of each kind are "
        "single-pretrain10-finetune10, finetune-pretrain10-mean, pretrain-finetune10-mean$",
    ),
    ("rlhf.rankers.base", ["a", "a"], "rlhf.rankers.base", "duplicates"),
    ("rlhf.kl_coefficients", [0.1, 0], "rlhf.kl_coefficients.1", "greater than 0"),
    ("rlhf.kl_coefficients", [], "rlhf.kl_coefficients", "at least 1"),
    ("rlhf.samples", 1, "rlhf.samples", "greater than or equal to 2"),
    ("rlhf.recipe.dropout", 0.1, "rlhf.recipe", "has dropout"),
    ("rlhf.recipe.epochs", 1, "rlhf.recipe.epochs", "no such key"),
    ("compute.rlhf", {"base": {"gpus": 3}}, "rlhf.recipe.batch", "32.*the 3 GPUs of compute.rlhf"),
    ("compute.rlhf", {"base": {"sharded": True}}, "compute.rlhf.base.sharded", "micro_batch"),
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
    ("labels.length_bias", -0.1, "labels.length_bias", "to 0 and .* to 1000.0"),
    ("styles.posts", 1, "styles.posts", "one post says nothing about others"),
    ("judge.posts", 1, "judge.posts", "greater than or equal to 2"),
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
    ("protect_pretrained", "yes", "protect_pretrained", "'yes' is not allowed: .*boolean"),
    ("protect_pretrained", 1, "protect_pretrained", "1 is not allowed: .*boolean"),
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


@pytest.mark.parametrize(
    "judge",
    [
        {"url": "http://me:sk-secret@host/v1"},
        {"url": "gold", "api_key_variable": "sk-secret"},
    ],
)
def test_what_may_hold_a_key_is_not_shown(judge):
    with pytest.raises(ConfigError) as caught:
        validate(changed("judge", judge))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "named", "said"),
    [
        ("world", "debian", "reward", "debian has none .*; worlds .* are micro_tldr, xsum$"),
        ("labels.length_bias", 0.1, "labels.length_bias", "set it to 0"),
        ("labels.noise", 0.1, "labels.noise", "no rater compares samples"),
    ],
)
def test_what_has_no_meaning_for_pointwise_rewards(key, value, named, said):
    pointwise = {"reward": "pointwise", "centering": 0}
    validate(MINIATURE | pointwise)
    with pytest.raises(ConfigError, match=f"^{named}: .*{said}"):
        validate(changed(key, value) | pointwise)


@pytest.mark.parametrize(
    ("change", "named", "said"),
    [
        ({"world": "micro_tldr"}, "reward", "rating .* micro_tldr has none .* are valence$"),
        ({"judgements": {"per_post": 2}}, "judgements.per_post", "text once; set it to 1"),
        ({"labels": {"noise": 0.1}}, "labels.noise", "where rewards are rating"),
        ({"worlds": {"valence": {"policy_domain": "poems"}}}, "worlds.valence", "'films'"),
    ],
)
def test_what_has_no_meaning_for_ratings(change, named, said):
    """Nor has the world of ratings for other rewards."""
    rating = {"reward": "rating", "centering": 0, "world": "valence"}
    rating["judgements"] = {"seed": 0, "per_post": 1}
    validate(MINIATURE | rating)
    with pytest.raises(ConfigError, match=f"^{named}.*: .*{said}"):
        validate(merged(MINIATURE | rating, change))


@pytest.mark.parametrize(
    "key",
    ["world", "models.base.shape.d_ff", "models.xl.pretrain.steps", "worlds.micro_tldr.posts"],
)
def test_a_missing_key_is_named(key):
    with pytest.raises(ConfigError, match=f"^{key}: missing"):
        validate(without(key))


def test_the_number_of_other_mistakes_is_given():
    with pytest.raises(ConfigError, match="and 1 more"):
        validate(changed("models.base.pretrain", {"steps": 0, "batch": 0}))


def test_a_key_with_a_dot_is_refused_with_how_to_nest_it():
    said = r"^labels\.seed: no such key; a key within another is written labels: \{seed: \.\.\.\}$"
    with pytest.raises(ConfigError, match=said):
        validate(MINIATURE | {"labels.seed": 5})


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
    rankers = {scale: config["rlhf"]["rankers"].pop("base")}
    return config | {"scales": [scale, "large"], "rlhf": config["rlhf"] | {"rankers": rankers}}


def test_policies_may_be_aligned_to_the_cheaper_ensembles_that_there_are():
    config = changed("recipe.dropout", 0.1)
    config["cheaper_ensembles"] |= {"warm": [11], "multihead": [10]}
    config["cheaper_ensembles"]["mc_dropout"] = {"pretrain_seeds": [10], "members": [4, 8]}
    names = ["mc_dropout8-pretrain10-mean", "mc_dropout4-pretrain10-mean", "warm-pretrain11"]
    config["rlhf"]["rankers"] = {"base": [*names, "multihead-pretrain10-mean"]}
    validate(config)
    for name in ("mc_dropout8-pretrain11-mean", "mc_dropout9-pretrain10-mean", "warm-pretrain10"):
        config["rlhf"]["rankers"] = {"base": [name]}
        with pytest.raises(ConfigError) as caught:
            validate(config)
        message = str(caught.value)
        assert message.startswith(f"rlhf.rankers.base: {name} is no ranker of this experiment")
        said = "warm-pretrain11, multihead-pretrain10-mean, mc_dropout4-pretrain10-mean, "
        assert message.endswith(said + names[0])


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


WRITTEN = [
    # key, as YAML 1.1 or --config gives it, as meant
    ("models.base.pretrain.learning_rate", "1e-3", 0.001),
    ("models.base.pretrain.learning_rate", "2E-3", 0.002),
    ("centering", ".5", 0.5),
    ("centering", 1, 1.0),
    ("labels.length_bias", "0.25", 0.25),
    ("resamples", "500", 500),
    ("pretrain_seeds", ["10", "11", "12"], [10, 11, 12]),
    ("best_of_n", ["1", "4", "16"], [1, 4, 16]),
    ("protect_pretrained", "true", True),
    ("protect_pretrained", "False", False),
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
