"""Reward models: what a seed sets, what a folder keeps, and that padding changes nothing."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSeq2SeqLM
from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration

from underspec.data.tokenization import EOS, pad
from underspec.errors import ArtifactError
from underspec.models.reward_model import RewardModel, new_reward_model
from underspec.models.t5 import load, new_t5, parameters, save

SHAPE = {"d_model": 8, "d_ff": 16, "d_kv": 4, "num_heads": 2, "num_layers": 1}
NEWER = {**SHAPE, "version": "v1.1"}
VOCABULARY = 120


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrain") / "base" / "seed0"
    save(new_t5(SHAPE, VOCABULARY, 0), folder, [{"step": 1, "loss": 2.0}], {"stage": "pretrain"})
    return folder


@pytest.fixture(scope="module")
def reward_models(pretrained):
    """Two finetuning seeds of one checkpoint."""
    return [new_reward_model(pretrained, SHAPE, VOCABULARY, seed).eval() for seed in (0, 1)]


@pytest.fixture
def saved(reward_models, tmp_path):
    save(reward_models[0], tmp_path / "model", [], {}, {"accuracy": 0.5})
    return tmp_path / "model"


def texts(seed, lengths):
    rng = np.random.default_rng(seed)
    return [np.array([*rng.integers(3, VOCABULARY, length), EOS]) for length in lengths]


def rewards(model, posts, candidates):
    with torch.inference_mode():
        return model(torch.from_numpy(pad(posts)), torch.from_numpy(pad(candidates)))


def test_the_pretraining_seed_sets_the_weights():
    first, again, other = (new_t5(SHAPE, VOCABULARY, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["shared.weight"], other["shared.weight"])


def test_the_finetuning_seed_sets_the_head_and_nothing_else(pretrained, reward_models):
    first, second = (model.state_dict() for model in reward_models)
    differing = {name for name in first if not torch.equal(first[name], second[name])}
    assert differing == {"head.weight"}
    start = load(T5ForConditionalGeneration, pretrained, SHAPE, VOCABULARY).state_dict()
    for name, value in start.items():
        if name != "lm_head.weight":
            assert torch.equal(first[f"transformer.{name}"], value), name
    again = new_reward_model(pretrained, SHAPE, VOCABULARY, 0).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_saved_model_comes_back_exactly(reward_models, saved):
    model = load(RewardModel, saved, SHAPE, VOCABULARY).eval()
    before, after = reward_models[0].state_dict(), model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    post, candidates = texts(0, [6]), texts(1, [4, 2])
    assert torch.equal(
        rewards(model, post, candidates),
        rewards(reward_models[0], post, candidates),
    )


def test_the_folder_tells_what_is_in_it(saved, reward_models):
    assert json.loads((saved / "metrics.json").read_text()) == {"accuracy": 0.5}
    provenance = json.loads((saved / "provenance.json").read_text())
    assert provenance["parameters"] == parameters(reward_models[0])
    assert provenance["torch"] == torch.__version__
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_the_folder_tells_what_trained_it(reward_models, tmp_path):
    def written(folder, rows):
        save(reward_models[0], folder, rows, {})
        return json.loads((folder / "provenance.json").read_text())

    trained_on = written(tmp_path / "trained", [{"step": 1, "loss": 2.0}])["trained_on"]
    assert trained_on["name"] and trained_on["cpus"] >= 1
    assert trained_on["instructions"] == torch.backends.cpu.get_cpu_capability()
    assert "trained_on" not in written(tmp_path / "imported", [])


def test_saving_again_replaces_the_folder(reward_models, saved):
    save(reward_models[1], saved, [], {})
    assert not (saved / "metrics.json").exists()
    loaded = load(RewardModel, saved, SHAPE, VOCABULARY)
    assert torch.equal(loaded.head.weight, reward_models[1].head.weight)


def test_padding_changes_no_reward(reward_models):
    """Single precision: 1e-5, where rewards spread by more than a hundred times that."""
    posts, candidates = texts(0, [3, 9, 1]), texts(1, [1, 7, 4, 2, 9, 3])
    post_of = [0, 0, 1, 1, 2, 2]
    together = rewards(reward_models[0], posts, candidates)
    alone = torch.cat(
        [
            rewards(reward_models[0], [posts[post]], [candidate])
            for post, candidate in zip(post_of, candidates, strict=True)
        ]
    )
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert together.std() > 1e-3


def test_the_reward_depends_on_post_and_candidate(reward_models):
    posts, candidates = texts(0, [5, 5]), texts(1, [4, 4])
    values = rewards(reward_models[0], posts, candidates * 2)
    assert len(set(values.flatten().tolist())) == 4


def test_tied_parameters_count_once(pretrained, reward_models):
    model = load(T5ForConditionalGeneration, pretrained, SHAPE, VOCABULARY)
    width, inner = SHAPE["d_model"], SHAPE["d_kv"] * SHAPE["num_heads"]
    attention, feed_forward = 4 * width * inner, 2 * width * SHAPE["d_ff"]
    norms = (2 + 3 + 2) * width  # encoder's and decoder's sublayers, and one at the end of each
    positions = 2 * 32 * SHAPE["num_heads"]
    expected = VOCABULARY * width + 3 * attention + 2 * feed_forward + norms + positions
    assert parameters(model) == expected
    assert parameters(reward_models[0]) == expected + width + 1


@pytest.fixture(scope="module")
def newer():
    """T5 v1.1, not trained."""
    return new_t5(NEWER, VOCABULARY, 0).eval()


def test_an_untrained_model_of_the_newer_version_guesses():
    """Its loss is log(vocabulary), and half a nat for logits of variance one."""
    model = new_t5({**NEWER, "d_model": 64, "num_heads": 16}, VOCABULARY, 0).eval()
    tokens = torch.from_numpy(np.random.default_rng(0).integers(3, VOCABULARY, (2, 32, 20)))
    with torch.inference_mode():
        loss = model(input_ids=tokens[0], labels=tokens[1]).loss
    assert abs(loss.item() - np.log(VOCABULARY)) < 0.8


def test_the_newer_version_has_a_head_of_its_own_and_shared_embeddings(newer, pretrained, tmp_path):
    save(newer, tmp_path / "newer", [], {})
    for model in (newer, load(T5ForConditionalGeneration, tmp_path / "newer", NEWER, VOCABULARY)):
        model.tie_weights()  # as Accelerate does on the way
        assert model.lm_head.weight is not model.shared.weight
        assert model.encoder.embed_tokens.weight is model.shared.weight
        assert model.decoder.embed_tokens.weight is model.shared.weight
        assert torch.equal(model.lm_head.weight, newer.lm_head.weight)
        assert model.config.scale_decoder_outputs is False
    older = load(T5ForConditionalGeneration, pretrained, SHAPE, VOCABULARY)
    assert older.lm_head.weight is older.shared.weight


def test_the_plain_library_opens_the_newer_version_as_it_is(newer, tmp_path):
    save(newer, tmp_path / "newer", [], {})
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "newer").eval()
    ids = torch.arange(3, 9)[None]
    with torch.inference_mode():
        ours, theirs = (
            each(input_ids=ids, decoder_input_ids=ids).logits for each in (newer, model)
        )
    torch.testing.assert_close(ours, theirs)


def test_a_reward_model_on_the_newer_version(newer, tmp_path):
    save(newer, tmp_path / "newer", [], {})
    model = new_reward_model(tmp_path / "newer", NEWER, VOCABULARY, 0).eval()
    save(model, tmp_path / "model", [], {})
    again = load(RewardModel, tmp_path / "model", NEWER, VOCABULARY).eval()
    judged = rewards(model, texts(0, [6]), texts(1, [4, 2]))
    assert torch.equal(judged, rewards(again, texts(0, [6]), texts(1, [4, 2])))
    assert model.transformer.decoder.embed_tokens.weight is model.transformer.shared.weight


def test_a_checkpoint_of_another_version(saved):
    assert_refused(RewardModel, saved, NEWER, "feed_forward_proj is relu, not gated-gelu")


def truncate(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def lose_weights(folder):
    (folder / "model.safetensors").unlink()


def break_config(folder):
    file = folder / "config.json"
    file.write_bytes(file.read_bytes()[:-100])


def swap_weights(folder):
    """The weights of a wider model under this one's config."""
    new_t5({**SHAPE, "d_model": 16}, VOCABULARY, 0).save_pretrained(folder / "other")
    (folder / "other" / "model.safetensors").replace(folder / "model.safetensors")
    shutil.rmtree(folder / "other")


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def assert_refused(kind, folder, shape=SHAPE, cause=None):
    before = digests(folder) if folder.exists() else None
    with pytest.raises(ArtifactError, match=cause) as caught:
        load(kind, folder, shape, VOCABULARY)
    message = str(caught.value)
    assert message.startswith(f"{folder}: ")
    assert "\n" not in message
    assert before == (digests(folder) if folder.exists() else None)


def no_map(folder):
    (folder / "config.json").write_text("[]")


def no_object(folder):
    (folder / "config.json").write_text("7")


def text_for_a_number(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"d_model": "eight"}))


def empty_weights(folder):
    (folder / "model.safetensors").write_bytes(b"")


def quantise(folder):
    """As integers, which the library takes for weights."""
    weights = load_file(folder / "model.safetensors")
    weights = {name: (100 * value).to(torch.int8) for name, value in weights.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


DAMAGES = [truncate, lose_weights, break_config, swap_weights, no_map, no_object]
DAMAGES += [text_for_a_number, empty_weights, quantise]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_named_and_left_alone(saved, damage, capfd):
    damage(saved)
    assert_refused(RewardModel, saved, cause="not a .*; delete it and run Snakemake again")
    assert "mismatch" not in "".join(capfd.readouterr()).lower()  # the library's own report


def test_a_checkpoint_of_another_scale(saved):
    other = {**SHAPE, "d_model": 16, "num_layers": 2}
    cause = "another scale: d_model is 8, not 16, num_layers is 1, not 2"
    assert_refused(RewardModel, saved, other, cause)


def test_a_checkpoint_of_another_vocabulary(saved):
    with pytest.raises(ArtifactError, match="vocab_size is 120, not 121"):
        load(RewardModel, saved, SHAPE, VOCABULARY + 1)


@pytest.mark.parametrize("folder", ["nowhere", "results/nowhere", "results/smoke/nowhere"])
def test_a_missing_folder_is_not_looked_for_on_the_network(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactError, match=f"^{folder}: ") as caught:
        load(RewardModel, Path(folder), SHAPE, VOCABULARY)
    assert "huggingface" not in str(caught.value)
    assert "repo" not in str(caught.value).lower()


def test_a_pretrained_checkpoint_is_no_reward_model(pretrained):
    assert_refused(RewardModel, pretrained, cause="not a RewardModel: .*head")


def test_a_reward_model_is_no_pretrained_checkpoint(saved):
    assert_refused(T5ForConditionalGeneration, saved, cause="not a T5ForConditionalGeneration")
