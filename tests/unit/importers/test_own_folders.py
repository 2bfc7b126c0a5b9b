"""Folders of other families: taken whole, or refused in one line that names what is wrong."""

import json
import shutil

import pytest
import torch
from own_models import ARCHITECTURES, CHAT, WRITE, write_bert, write_llama, write_neox
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaForSequenceClassification,
)

from import_checkpoint import import_checkpoint
from underspec.architectures import architecture_of
from underspec.errors import ArtifactError


def run(folder, family, output, **changes):
    checkpoint = {"source": "hub", "path": str(folder), "revision": "main", "trust_pickle": False}
    import_checkpoint(
        checkpoint=checkpoint | changes,
        tokenizer=folder,
        architecture=ARCHITECTURES[family],
        output=output,
    )
    return output


def refused(folder, family, cause, tmp_path, **changes):
    with pytest.raises(ArtifactError, match=cause) as caught:
        run(folder, family, tmp_path / "output", **changes)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)
    assert not (tmp_path / "output").exists() and not list(tmp_path.glob("*.unfinished"))


@pytest.mark.parametrize("family", list(WRITE))
def test_a_folder_is_copied_whole(family, tmp_path):
    given = WRITE[family](tmp_path / "given")
    output = run(given, family, tmp_path / "output")
    for path in given.iterdir():
        assert (output / path.name).read_bytes() == path.read_bytes()
    provenance = json.loads((output / "provenance.json").read_text())
    assert (provenance["stage"], provenance["folder"]) == ("import", str(given))


def test_pickled_weights_are_refused_unless_they_are_trusted(tmp_path):
    given = write_bert(tmp_path / "given")
    weights = load_file(given / "model.safetensors")
    torch.save(weights, given / "pytorch_model.bin")
    (given / "model.safetensors").unlink()
    refused(given, "bert", "no .*safetensors, and pickled weights .* trust_pickle: true", tmp_path)
    output = run(given, "bert", tmp_path / "output", trust_pickle=True)
    assert not list(output.glob("*.bin"))
    (file,) = output.glob("*.safetensors")
    converted = load_file(file)
    assert all(torch.equal(converted[name], values) for name, values in weights.items())
    architecture_of(tmp_path, ARCHITECTURES["bert"]).new(output, 0, 1)


def test_a_trusted_pickle_still_runs_no_code(tmp_path):
    given = write_bert(tmp_path / "given")
    (given / "model.safetensors").unlink()

    class Code:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    torch.save({"weight": Code()}, given / "pytorch_model.bin")
    refused(given, "bert", "pytorch_model.bin: no file of weights", tmp_path, trust_pickle=True)
    assert not (tmp_path / "written").exists()


def test_several_pickled_files_with_an_index_become_readable(tmp_path):
    given = write_neox(tmp_path / "given")
    weights = load_file(given / "model.safetensors")
    names = sorted(weights)
    parts = {"pytorch_model-00001-of-00002.bin": names[::2]}
    parts["pytorch_model-00002-of-00002.bin"] = names[1::2]
    for file, own in parts.items():
        torch.save({name: weights[name] for name in own}, given / file)
    index = {"weight_map": {name: file for file, own in parts.items() for name in own}}
    (given / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, **index}))
    (given / "model.safetensors").unlink()
    output = run(given, "neox", tmp_path / "output", trust_pickle=True)
    model = architecture_of(tmp_path, ARCHITECTURES["neox"]).new(output, 0, 1)
    state = model.model.state_dict()
    assert all(
        torch.equal(state[name], values.float())
        for name, values in weights.items()
        if name in state
    )
    shutil.rmtree(output)
    (given / "pytorch_model-00002-of-00002.bin").unlink()
    cause = "pytorch_model-00002-of-00002.bin missing"
    refused(given, "neox", cause, tmp_path, trust_pickle=True)


def test_a_missing_shard(tmp_path):
    given = write_llama(tmp_path / "given")
    lost = sorted(given.glob("model-*.safetensors"))[1]
    lost.unlink()
    refused(given, "llama", f"only a part of the weights is there: {lost.name}", tmp_path)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_in_a_folder_never_runs(name, tmp_path):
    given = write_llama(tmp_path / "given")
    settings = json.loads((given / name).read_text())
    settings["auto_map"] = {"AutoModelForSequenceClassification": "modeling.Model"}
    (given / name).write_text(json.dumps(settings))
    (given / "modeling.py").write_text(f"open({str(tmp_path / 'written')!r}, 'w')")
    refused(given, "llama", f"{name} has auto_map", tmp_path)
    assert not (tmp_path / "written").exists()


def test_an_unknown_type_of_model(tmp_path):
    given = write_llama(tmp_path / "given")
    settings = json.loads((given / "config.json").read_text())
    (given / "config.json").write_text(json.dumps(settings | {"model_type": "mystery"}))
    refused(given, "llama", "mystery", tmp_path)


def test_weights_that_are_not_finite(tmp_path):
    given = write_neox(tmp_path / "given")
    weights = load_file(given / "model.safetensors")
    weights["gpt_neox.final_layer_norm.weight"][3] = float("nan")
    save_file(weights, given / "model.safetensors", metadata={"format": "pt"})
    refused(given, "neox", "not finite: .*final_layer_norm.weight", tmp_path)


def test_a_weight_that_is_missing_or_of_another_shape(tmp_path):
    given = write_neox(tmp_path / "given")
    weights = load_file(given / "model.safetensors")
    name = "gpt_neox.layers.1.attention.dense.weight"
    whole = weights.pop(name)
    save_file(weights, given / "model.safetensors", metadata={"format": "pt"})
    refused(given, "neox", f"not a whole checkpoint: {name} missing", tmp_path)
    weights[name] = whole[:-1].clone()
    save_file(weights, given / "model.safetensors", metadata={"format": "pt"})
    refused(given, "neox", f"not those of its config: .*{name}", tmp_path)


def test_old_names_of_buffers_are_no_fault(tmp_path):
    """Pythia's files have them."""
    given = write_neox(tmp_path / "given")
    weights = load_file(given / "model.safetensors")
    for layer in range(2):
        attention = f"gpt_neox.layers.{layer}.attention"
        weights[f"{attention}.bias"] = torch.ones(1, 1, 8, 8, dtype=torch.bool)
        weights[f"{attention}.masked_bias"] = torch.tensor(-1e4)
        weights[f"{attention}.rotary_emb.inv_freq"] = torch.ones(2)
    save_file(weights, given / "model.safetensors", metadata={"format": "pt"})
    run(given, "neox", tmp_path / "output")


def test_a_tokenizer_that_is_missing_or_larger_than_the_model(tmp_path):
    given = write_neox(tmp_path / "given", vocab_size=300)
    refused(given, "neox", "tokenizer has 33. tokens, and the model 300", tmp_path)
    for path in given.glob("*token*"):
        path.unlink()
    refused(given, "neox", "has no tokenizer", tmp_path)


def test_a_chat_without_a_chat_template(tmp_path):
    given = write_llama(tmp_path / "given")
    path = given / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    assert settings.pop("chat_template") == CHAT
    path.write_text(json.dumps(settings))
    refused(given, "llama", "no chat template; write a template", tmp_path)


@pytest.mark.parametrize(("given", "family"), [("bert", "neox"), ("neox", "bert")])
def test_a_model_of_another_architecture(given, family, tmp_path):
    folder = WRITE[given](tmp_path / "given")
    refused(folder, family, "no model of the architecture", tmp_path)


def test_a_finished_model_is_no_pretrained_checkpoint(tmp_path):
    given = write_llama(tmp_path / "given", kind=LlamaForSequenceClassification, num_labels=1)
    refused(given, "llama", "has a classification head, .* name it under reward_models", tmp_path)


def test_a_language_model_s_folder_stays_one(tmp_path):
    output = run(write_neox(tmp_path / "given"), "neox", tmp_path / "output")
    assert AutoModelForCausalLM.from_pretrained(output).config.vocab_size == 352
    assert AutoTokenizer.from_pretrained(output).eos_token == "<|endoftext|>"
