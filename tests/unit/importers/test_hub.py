"""Pretrained checkpoints in Hugging Face's format: taken as they are, or refused in one line."""

import json
import shutil

import huggingface_hub.constants
import pytest
import torch
from published import write_t5
from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration

from import_checkpoint import import_checkpoint
from underspec.data.tokenization import import_t5, save_tokenizer, train_tokenizer
from underspec.errors import ArtifactError
from underspec.importers.convert import digest, t5_of
from underspec.models.t5 import load, new_t5

SHAPE = {"d_model": 12, "d_ff": 20, "d_kv": 4, "num_heads": 2, "num_layers": 2}
VOCABULARY = 120


def tokenizer(folder, word="w"):
    words = [" ".join(f"{word}{i}" for i in range(VOCABULARY - 103))]
    folder.mkdir(exist_ok=True)
    trained = train_tokenizer(words, "word", VOCABULARY)
    assert trained.get_vocab_size() == VOCABULARY
    trained.save(str(folder / "tokenizer.json"))
    return folder


def run(tmp_path, path, version="v1.0", **shape):
    import_checkpoint(
        checkpoint={"source": "hub", "path": str(path), "revision": "main", "trust_pickle": False},
        tokenizer=tokenizer(tmp_path / "tokenizer"),
        architecture={"name": "t5", "shape": {**SHAPE, "version": version, **shape}},
        output=tmp_path / "pretrain" / "seed0",
    )
    return tmp_path / "pretrain" / "seed0"


@torch.inference_mode()
def logits(model, rows=VOCABULARY):
    inputs = torch.arange(3, 15).view(2, 6)
    return model.eval()(input_ids=inputs, decoder_input_ids=inputs).logits[..., :rows]


@pytest.mark.parametrize("version", ["v1.0", "v1.1"])
@pytest.mark.parametrize("rows", [VOCABULARY, 128])
def test_a_folder_is_imported_as_it_is(tmp_path, version, rows):
    """Single precision: products over fewer columns of the head differ by up to 1e-6."""
    shape = {**SHAPE, "version": version}
    model = new_t5(shape, rows, 3)
    model.save_pretrained(tokenizer(tmp_path / "given"))
    output = run(tmp_path, tmp_path / "given", version)
    imported = load(T5ForConditionalGeneration, output, shape, VOCABULARY)
    torch.testing.assert_close(logits(imported), logits(model), atol=1e-6, rtol=0)
    provenance = json.loads((output / "provenance.json").read_text())
    assert provenance["sha256"] == digest(imported)
    assert provenance["folder"] == str(tmp_path / "given")
    assert not (output / "training.csv").exists()


def test_half_precision_becomes_single(tmp_path):
    new_t5(SHAPE, VOCABULARY, 3).bfloat16().save_pretrained(tmp_path / "given")
    config = json.loads((run(tmp_path, tmp_path / "given") / "config.json").read_text())
    assert config["dtype"] == "float32"


def refused(tmp_path, cause, path, **shape):
    with pytest.raises(ArtifactError, match=cause) as caught:
        run(tmp_path, path, **shape)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "pretrain").exists()


def test_a_model_of_another_scale(tmp_path):
    new_t5(SHAPE, VOCABULARY, 3).save_pretrained(tmp_path / "given")
    refused(tmp_path, "given: .*another scale: d_ff is 20, not 24", tmp_path / "given", d_ff=24)
    cause = "feed_forward_proj is relu, not gated-gelu"
    refused(tmp_path, cause, tmp_path / "given", version="v1.1")


def test_a_model_of_another_vocabulary(tmp_path):
    new_t5(SHAPE, VOCABULARY + 1, 3).save_pretrained(tmp_path / "given")
    refused(tmp_path, "given: .*vocab_size is 121, not 120", tmp_path / "given")


def test_a_model_with_other_position_buckets_is_another_function(tmp_path):
    model = new_t5(SHAPE, VOCABULARY, 3)
    model.config.relative_attention_max_distance = 64
    model.save_pretrained(tmp_path / "given")
    refused(tmp_path, "relative_attention_max_distance is 64, not 128", tmp_path / "given")


def test_a_model_with_another_tokenizer(tmp_path):
    new_t5(SHAPE, VOCABULARY, 3).save_pretrained(tokenizer(tmp_path / "given", "v"))
    refused(tmp_path, "given: pretrained with another tokenizer", tmp_path / "given")


@pytest.mark.parametrize("line_breaks", [False, True])
def test_t5_as_published_goes_with_its_tokenizer_filled_up(tmp_path, line_breaks):
    """The published model has more rows than the published tokenizer has tokens."""
    write_t5(tmp_path / "given")
    ours = import_t5(tmp_path / "given" / "tokenizer.json", 192, line_breaks)
    save_tokenizer(ours, tmp_path / "tokenizer")
    model = new_t5(SHAPE, 192, 3)
    model.save_pretrained(tmp_path / "given")
    import_checkpoint(
        checkpoint={
            "source": "hub",
            "path": str(tmp_path / "given"),
            "revision": "main",
            "trust_pickle": False,
        },
        tokenizer=tmp_path / "tokenizer",
        architecture={"name": "t5", "shape": {**SHAPE, "version": "v1.0"}},
        output=tmp_path / "seed0",
    )
    imported = load(T5ForConditionalGeneration, tmp_path / "seed0", SHAPE, 192)
    assert digest(imported) == digest(model)


def test_a_model_whose_head_is_scaled_otherwise(tmp_path):
    model = new_t5({**SHAPE, "version": "v1.1"}, VOCABULARY, 3)
    model.config.update({"scale_decoder_outputs": True})
    model.save_pretrained(tmp_path / "given")
    cause = "scale_decoder_outputs is True, not False"
    refused(tmp_path, cause, tmp_path / "given", version="v1.1")


def test_a_damaged_folder(tmp_path):
    new_t5(SHAPE, VOCABULARY, 3).save_pretrained(tmp_path / "given")
    file = tmp_path / "given" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    refused(tmp_path, "given: not a whole checkpoint", tmp_path / "given")


def sharded(tmp_path):
    folder = tmp_path / "given"
    new_t5(SHAPE, VOCABULARY, 3).save_pretrained(folder, max_shard_size="5KB")
    (run(tmp_path, folder) / "model.safetensors").rename(tmp_path / "imported.safetensors")
    shutil.rmtree(tmp_path / "pretrain")
    return folder, sorted(path.name for path in folder.glob("model-*"))


@pytest.mark.parametrize("lost", [0, 1, -1])
def test_a_shard_of_the_weights_that_is_missing_is_named(tmp_path, lost):
    folder, shards = sharded(tmp_path)
    (folder / shards[lost]).unlink()
    refused(tmp_path, f"given: only a part of the weights is there: {shards[lost]}", folder)


def test_without_an_index_the_names_of_the_shards_say_what_is_missing(tmp_path):
    folder, shards = sharded(tmp_path)
    (folder / "model.safetensors.index.json").unlink()
    (folder / shards[1]).unlink()
    name = shards[1].removesuffix(".safetensors")
    refused(tmp_path, f"given: only a part of the weights is there: {name} missing", folder)


def test_an_index_of_a_format_that_is_not_used_names_nothing_missing(tmp_path):
    """Of a model in two formats the Hub's *.json come whole, and the weights in one format."""
    new_t5(SHAPE, VOCABULARY, 3).save_pretrained(tmp_path / "given")
    index = {"weight_map": {"shared.weight": "pytorch_model-00001-of-00002.bin"}}
    (tmp_path / "given/pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert (run(tmp_path, tmp_path / "given") / "config.json").is_file()


def test_a_folder_that_holds_no_model(tmp_path):
    (tmp_path / "given").mkdir()
    refused(tmp_path, "given/config.json: no such file", tmp_path / "given")


@pytest.mark.parametrize("path", ["google-t5/t5-small", "/nowhere/at/all", "no id"])
def test_a_hub_out_of_reach_or_no_id(tmp_path, monkeypatch, path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    cause = f"^{path}: not a local folder, .* revision main .*check pretrain.checkpoints"
    refused(tmp_path, cause, path)


def test_weights_of_other_names_or_shapes_are_refused():
    weights = dict(new_t5(SHAPE, VOCABULARY, 3).state_dict())
    with pytest.raises(ArtifactError, match="^here: .*not those of this T5: .*embed_tokens"):
        t5_of("here", weights, SHAPE, VOCABULARY)
    own = dict(new_t5(SHAPE, VOCABULARY, 3).named_parameters())
    own["shared.weight"] = own["shared.weight"][:-1]
    with pytest.raises(ArtifactError, match="^here: .*another shape: shared.weight"):
        t5_of("here", own, SHAPE, VOCABULARY)
