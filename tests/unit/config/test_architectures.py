"""The config of reward models of other families: what it says, and what is refused by name."""

import copy
import re
from pathlib import Path

import pytest

from underspec.architectures import BaseArchitecture, architecture_class, names
from underspec.config.derived import trainings
from underspec.config.layers import merged, read_config
from underspec.config.sources import cells, finished_of, pretrained_checkpoints
from underspec.config.validation import validate
from underspec.errors import ConfigError

ROOT = Path(__file__).parents[3]
OWN = {
    "scales": ["own"],
    "models": {
        "own": {"architecture": "decoder", "template": "{post} {sample}", "reward_model": {}},
        "bert": {"architecture": "encoder", "reward_model": {}},
    },
    "pretrain": {
        "checkpoints": {"own": {"source": "hub", "path": "/o{seed}", "revision": "r{seed}"}}
    },
    "rlhf": {"rankers": {}},
}
for model in OWN["models"].values():
    model["reward_model"] |= {"steps": 2, "learning_rate": 1e-3, "warmup": 0}
DONE = {"reward_models": {"own": {"path": "/{pretrain_seed}/{finetune_seed}"}}}


def config(*changes):
    found = read_config(ROOT)
    for change in (OWN, *changes):
        found = merged(found, copy.deepcopy(change))
    return found


def test_every_architecture_is_a_module_with_a_class():
    assert names() == ["decoder", "encoder", "t5"]
    assert all(issubclass(architecture_class(name), BaseArchitecture) for name in names())
    with pytest.raises(ConfigError, match="'mamba' is unknown; allowed are decoder, encoder, t5"):
        architecture_class("mamba")


def test_a_scale_of_another_family_is_finetuned_and_not_pretrained():
    found = validate(config())
    stages = {(stage, scale) for _, stage, scale in trainings(found)}
    assert ("reward_model", "own") in stages and ("pretrain", "own") not in stages
    assert ("own", 10) in pretrained_checkpoints(found)


def test_an_evaluator_may_be_of_another_family():
    evaluator = {"scale": "bert", "pretrain_seed": 16, "finetune_seed": 0}
    checkpoints = {"bert": {"source": "hub", "path": "/b{seed}"}}
    validate(config({"evaluator": evaluator, "pretrain": {"checkpoints": checkpoints}}))


def test_finished_reward_models_need_neither_recipe_nor_checkpoint():
    found = config(DONE)
    del found["pretrain"]["checkpoints"]["own"], found["models"]["own"]["reward_model"]
    found = validate(found)
    assert ("own", 10) not in pretrained_checkpoints(found)
    assert {scale for scale, _ in pretrained_checkpoints(found)} == {"large", "xxl"}
    one = {"reward_models": {"own/pretrain10-finetune10": {"path": "/first", "revision": "v"}}}
    found = validate(merged(found, one))
    paths = [finished_of(found["reward_models"], *cell) for cell in cells(found)]
    assert paths[0] == {"path": "/first", "revision": "v", "trust_pickle": False}
    assert paths[1] == {"path": "/10/11", "revision": "main", "trust_pickle": False}
    assert paths[-1] is None  # the evaluator


def test_what_is_not_finished_is_trained():
    one = {"reward_models": {"own/pretrain11-finetune10": {"path": "/first"}}}
    found = validate(config(one))
    checkpoints = pretrained_checkpoints(found)
    assert ("own", 10) in checkpoints and ("own", 11) not in checkpoints


SHAPE = read_config(ROOT)["models"]["base"]["shape"]
MISTAKES = {
    "no template": ({"models": {"own": {"template": None}}}, "models.own.template: missing"),
    "a template in which the post comes last": (
        {"models": {"own": {"template": "{sample} {post}"}}},
        "models.own.template: .* must be chat, or a text with {post} and, after it, {sample}",
    ),
    "a template of an encoder": (
        {"models": {"bert": {"template": "chat"}}},
        "models.bert.template: scales of the architecture encoder have none; set it to null",
    ),
    "an unknown architecture": (
        {"models": {"own": {"architecture": "mamba"}}},
        "models.own.architecture: 'mamba' is not allowed",
    ),
    "a T5 without a shape": ({"models": {"base": {"shape": None}}}, "models.base.shape: missing"),
    "a shape of a decoder": ({"models": {"own": {"shape": SHAPE}}}, "models.own.shape: scales"),
    "a policy of another family": ({"policy": {"scale": "own"}}, "policy.scale: own is of the"),
    "RLHF": (
        {"rlhf": {"rankers": {"own": ["single-pretrain10-finetune10"]}}},
        "rlhf.rankers.own: not possible with reward models of the architecture decoder",
    ),
    "MC dropout": (
        {"cheaper_ensembles": {"mc_dropout": {"pretrain_seeds": [10]}}},
        "mc_dropout.pretrain_seeds: not possible with reward models of the architecture decoder",
    ),
    "a T5X checkpoint": (
        {"pretrain": {"checkpoints": {"own": {"source": "released"}}}},
        "pretrain.checkpoints: own/10 needs an entry with source: hub",
    ),
    "an entry without its source": (
        {"pretrain": {"checkpoints": {"own": {"source": None}}}},
        "own/10 needs a source",
    ),
    "one checkpoint for two seeds": (
        {"pretrain": {"checkpoints": {"own": {"path": "/o", "revision": "r"}}}},
        "own/10 and own/11 are both /o",
    ),
    "no recipe": (
        {"models": {"own": {"reward_model": None}}},
        "models.own.reward_model: missing; reward models are trained at this scale",
    ),
    "a finished model of no cell": (
        {"reward_models": {"own/pretrain11-finetune11": {"path": "/x"}}},
        "reward_models.own/pretrain11-finetune11: is neither a reward model of the grid nor",
    ),
    "a finished model of an odd name": (
        {"reward_models": {"own/first": {"path": "/x"}}},
        "reward_models.own/first: .* must be a scale or a reward model's name",
    ),
    "one finished model for all": (
        {"reward_models": {"own": {"path": "/x"}}},
        "reward_models: own/pretrain10-finetune10 and own/pretrain10-finetune11 are both /x",
    ),
    "a cheaper ensemble of finished models": (
        {**DONE, "cheaper_ensembles": {"warm": [10]}},
        "cheaper_ensembles: own/pretrain10-finetune10 is finished",
    ),
}


@pytest.mark.parametrize("change, said", MISTAKES.values(), ids=MISTAKES)
def test_what_cannot_be_is_refused_by_name(change, said):
    with pytest.raises(ConfigError, match=re.sub(r"([{}])", r"\\\1", said)):
        validate(config(change))
