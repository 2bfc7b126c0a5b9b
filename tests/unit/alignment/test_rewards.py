"""The reward in RLHF is the ranker's, of the text that reward models read in training."""

import numpy as np
import pytest
import tokenizers
import torch
from toy import policy

from underspec.alignment import rollouts
from underspec.alignment.rewards import RankerReward, bounded, load_members
from underspec.analysis.ensembles import AGGREGATORS
from underspec.architectures import architecture_of
from underspec.data.tokenization import EOS, PAD
from underspec.errors import ArtifactError
from underspec.inference.scoring import Scorer, score
from underspec.models import mc_dropout
from underspec.models.reward_model import RewardModel
from underspec.models.t5 import save, t5_config

SHAPE = {"d_model": 8, "d_ff": 16, "d_kv": 4, "num_heads": 2, "num_layers": 1}
WORDS = ["<pad>", "</s>", "<unk>", "one", "two", "three"]
LONGEST = 4


@pytest.fixture(scope="module")
def tokenizer():
    vocabulary = {word: id for id, word in enumerate(WORDS)}
    found = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    found.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    found.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", EOS)]
    )
    found.add_special_tokens(WORDS[:2])
    return found


@pytest.fixture(scope="module")
def models():
    found = []
    for seed in range(3):
        torch.manual_seed(seed)
        found.append(RewardModel(t5_config(SHAPE, len(WORDS))).eval())
    return found


POSTS = [np.array([3, 4, EOS]), np.array([5, EOS])]
SAMPLES = [
    [np.array([3, 4, EOS]), np.array([4, EOS]), np.array([EOS])],
    [np.array([3, 3, 3]), np.array([5, PAD, 4, EOS]), np.array([5, 4, EOS])],
]
# With eos where a sample was truncated, and without the padding that a policy chose.
READ = [SAMPLES[0], [np.array([3, 3, 3, EOS]), np.array([5, 4, EOS]), np.array([5, 4, EOS])]]


def reward_of(models, tokenizer, aggregator="mean"):
    scorers = [Scorer(model, (8, LONGEST)) for model in models]
    return RankerReward(scorers, AGGREGATORS[aggregator], tokenizer, LONGEST)


def test_reward_models_read_texts_with_eos(models, tokenizer):
    found = reward_of(models[:1], tokenizer)(POSTS, SAMPLES)
    expected = np.stack(score(models[0], POSTS, READ))[..., 0]
    np.testing.assert_array_equal(found, expected)
    assert found[1, 1] == found[1, 2]  # the same text
    assert np.ptp(found) > 0.01


@pytest.mark.parametrize("aggregator", sorted(AGGREGATORS.keys() - {"uwo"}))
def test_members_are_centred_before_they_are_aggregated(models, tokenizer, aggregator):
    """By one constant each, over all samples: unlike centring by post, which best-of-n does."""
    reward = reward_of(models, tokenizer, aggregator)
    raw = np.array([np.stack(score(model, POSTS, READ))[..., 0] for model in models])
    centred = raw - raw.mean(axis=(1, 2), keepdims=True)
    found = reward.centred(POSTS, SAMPLES)(POSTS, SAMPLES)
    np.testing.assert_allclose(found, AGGREGATORS[aggregator](centred), atol=1e-6)
    shifted = [*models[:2], RewardModel(models[2].config).eval()]
    shifted[2].load_state_dict(models[2].state_dict())
    with torch.no_grad():
        shifted[2].head.bias += 3
    again = reward_of(shifted, tokenizer, aggregator).centred(POSTS, SAMPLES)(POSTS, SAMPLES)
    np.testing.assert_allclose(again, found, atol=1e-5)


@pytest.fixture
def architecture(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(str(folder / "tokenizer.json"))
    return architecture_of(folder, {"name": "t5", "shape": SHAPE})


TRAINING = {"pretrain_seed": 3, "finetune_seed": 4, "recipe": {"dropout": 0.2}}


@pytest.mark.parametrize("aggregator", ["mean", "min"])
def test_a_ranker_of_mc_dropout_has_the_members_that_score_for_best_of_n(
    models, tokenizer, aggregator, architecture, tmp_path
):
    """To the last bit, member by member: so a policy's own reward is that of its training."""
    save(models[0], tmp_path, [], TRAINING)
    members = list(load_members(architecture, tmp_path, "fp32", 3))
    scored = mc_dropout.members(models[0], tmp_path, TRAINING, 3)
    raw = np.array([np.stack(score(member, POSTS, READ))[..., 0] for member in scored])
    assert len({each.tobytes() for each in raw}) == 3
    reward = reward_of(members, tokenizer, aggregator)
    np.testing.assert_array_equal(reward(POSTS, SAMPLES), AGGREGATORS[aggregator](raw))
    centred = raw - raw.mean(axis=(1, 2), keepdims=True)
    found = reward.centred(POSTS, SAMPLES)(POSTS, SAMPLES)
    np.testing.assert_allclose(found, AGGREGATORS[aggregator](centred), atol=1e-6)
    (plain,) = load_members(architecture, tmp_path, "fp32", 0)
    expected = reward_of(models[:1], tokenizer)(POSTS, SAMPLES)
    np.testing.assert_array_equal(reward_of([plain], tokenizer)(POSTS, SAMPLES), expected)


def test_mc_dropout_of_a_reward_model_without_dropout_is_refused(models, architecture, tmp_path):
    save(models[0], tmp_path, [], TRAINING | {"recipe": {"dropout": 0.0}})
    with pytest.raises(ArtifactError, match=f"^{tmp_path}: was trained without dropout"):
        list(load_members(architecture, tmp_path, "fp32", 3))


def test_every_head_is_a_member(models, tokenizer):
    config = t5_config(SHAPE, len(WORDS))
    config.reward_heads = 3
    torch.manual_seed(5)
    several = RewardModel(config).eval()
    raw = np.stack(score(several, POSTS, READ))  # (posts, samples, heads)
    assert np.ptp(raw, axis=-1).min() > 0
    found = reward_of([several, models[0]], tokenizer, "min")(POSTS, SAMPLES)
    other = np.stack(score(models[0], POSTS, READ))
    np.testing.assert_array_equal(found, np.concatenate([raw, other], axis=-1).min(axis=-1))


def test_a_damaged_reward_model_is_reported(models, tokenizer):
    damaged = RewardModel(models[0].config).eval()
    damaged.load_state_dict(models[0].state_dict())
    with torch.no_grad():
        damaged.head.weight[0, 0] = float("nan")
    with pytest.raises(ArtifactError, match="rewards are not finite"):
        reward_of([damaged], tokenizer)(POSTS, SAMPLES)


def test_a_policy_that_diverged_is_reported():
    broken = policy()
    with torch.no_grad():
        broken.t5.shared.weight[3] = float("nan")
    with pytest.raises(ArtifactError, match="not finite.*lower the learning rate"):
        rollouts.draw(broken.t5, ["0"], [np.array([3, EOS])], 2, broken.longest, 0)


def test_bounded_rewards_compare_with_a_sample_of_the_sft_policy():
    """Half for a sample as good as that; the sample depends on the post alone."""
    sft = policy(longest=3)
    posts = [np.array([3, 4, EOS]), np.array([4, EOS])]

    def lengths(posts, samples):
        return np.array([[float(len(ids)) for ids in own] for own in samples])

    reward = bounded(lengths, sft, seed=0)
    samples = [[np.full(1, EOS), np.full(2, EOS), np.full(3, EOS), np.full(9, EOS)]] * 2
    found = reward(posts, samples)
    assert np.all((found > 0) & (found < 1)) and np.all(np.diff(found, axis=1) > 0)
    assert np.all((found[:, :3] == 0.5).sum(axis=1) == 1)
    np.testing.assert_array_equal(reward(posts[::-1], samples), found[::-1])
