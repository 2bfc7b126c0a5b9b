"""T5X checkpoints: the imported model is the original, and whatever is wrong is named."""

import http.server
import json
import shutil
import threading
import urllib.parse

import numpy as np
import pytest
import torch
from t5x_checkpoint import write_array, write_t5x
from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration

from import_checkpoint import import_checkpoint
from underspec.data.tokenization import train_tokenizer
from underspec.errors import ArtifactError
from underspec.importers import t5x
from underspec.importers.convert import digest, t5_of
from underspec.importers.t5x import read_t5x
from underspec.models.reward_model import new_reward_model
from underspec.models.t5 import load, new_t5

VOCABULARY = 120
SHAPES = {
    version: {
        **{"version": version, "d_model": 12, "d_ff": 20, "d_kv": 4, "num_heads": 2},
        "num_layers": 2,
    }
    for version in ("v1.0", "v1.1")
}
SHAPE = SHAPES["v1.0"]


def original(version="v1.0"):
    """A T5 whose norms are no longer all ones, so that none can stand for another."""
    model = new_t5(SHAPES[version], VOCABULARY, 3).eval()
    with torch.no_grad():
        for name, values in model.named_parameters():
            if "layer_norm" in name:
                values.uniform_(0.5, 1.5)
    return model


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_t5x(original(), tmp_path_factory.mktemp("t5x") / "checkpoint_100")


@pytest.fixture
def checkpoint(written, tmp_path):
    return shutil.copytree(written, tmp_path / "checkpoint_100")


@torch.inference_mode()
def logits(model):
    rng = np.random.default_rng(0)
    inputs = torch.from_numpy(rng.integers(3, VOCABULARY, (3, 9)))
    outputs = torch.from_numpy(rng.integers(3, VOCABULARY, (3, 5)))
    return model.eval()(input_ids=inputs, decoder_input_ids=outputs).logits


@pytest.mark.parametrize("version", ["v1.0", "v1.1"])
@pytest.mark.parametrize("padding", [0, 8])
def test_the_imported_model_is_the_original(tmp_path, version, padding):
    """The same weights in the same layers: equal to the last bit, so no tolerance."""
    model = original(version)
    path = write_t5x(model, tmp_path / "checkpoint", padding)
    weights = read_t5x(str(path), SHAPES[version], VOCABULARY)
    imported = t5_of(str(path), weights, SHAPES[version], VOCABULARY)
    assert logits(model).std() > 0.1
    assert torch.equal(logits(imported), logits(model))
    assert {each.device.type for each in imported.parameters()} == {"cpu"}


def test_bfloat16_arrays_come_in_single_precision(tmp_path):
    model = original()
    path = write_t5x(model, tmp_path / "checkpoint", bfloat16=True)
    weights = read_t5x(str(path), SHAPE, VOCABULARY)
    assert {each.dtype for each in weights.values()} == {torch.float32}
    rounded = model.shared.weight.detach().bfloat16().float()
    assert torch.equal(weights["shared.weight"], rounded)


class Bucket(http.server.BaseHTTPRequestHandler):
    """As much of a public bucket as reading takes: a listing, and objects by name."""

    def do_GET(self):
        address = urllib.parse.urlsplit(self.path)
        if address.path.endswith("/o"):
            prefix = dict(urllib.parse.parse_qsl(address.query)).get("prefix", "")
            files = [path for path in sorted(self.root.rglob("*")) if path.is_file()]
            names = [str(path.relative_to(self.root)) for path in files]
            items = [{"name": name, "generation": "1"} for name in names if name.startswith(prefix)]
            self.answer(json.dumps({"items": items}).encode())
        else:
            file = self.root / urllib.parse.unquote(address.path.split("/o/")[1])
            self.answer(file.read_bytes() if file.is_file() else None)

    def answer(self, body):
        self.send_response(404 if body is None else 200)
        self.send_header("x-goog-generation", "1")
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_):
        pass


@pytest.fixture
def bucket(written, monkeypatch):
    handler = type("Here", (Bucket,), {"root": written.parent})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(t5x, "RETRIES", {"max_retries": 1})
    yield server
    server.shutdown()
    server.server_close()


def test_a_bucket_is_read_as_a_folder_is(bucket, written):
    there = read_t5x("gs://public/checkpoint_100/", SHAPE, VOCABULARY)
    here = read_t5x(str(written), SHAPE, VOCABULARY)
    assert there.keys() == here.keys()
    assert all(torch.equal(there[name], here[name]) for name in here)


def test_a_wrong_folder_of_a_bucket_shows_the_right_one(bucket):
    cause = r"^gs://public/check/checkpoint: no such file.*pretrain\.checkpoints"
    assert_refused("gs://public/check", cause)


def test_a_bucket_out_of_reach(bucket):
    bucket.shutdown()
    bucket.server_close()
    assert_refused("gs://public/x", r"^gs://public/x: cannot be listed \(.*network.*local folder")


def assert_refused(path, cause, shape=SHAPE, vocabulary=VOCABULARY):
    with pytest.raises(ArtifactError, match=cause) as caught:
        read_t5x(str(path), shape, vocabulary)
    assert "\n" not in str(caught.value)


def without_array(folder):
    shutil.rmtree(folder / "target.encoder.layers_1.mlp.wo.kernel")
    return r"target\.encoder\.layers_1\.mlp\.wo\.kernel: missing \(1 of 47 arrays.*again"


def without_layer(folder):
    for path in folder.glob("target.decoder.layers_1.*"):
        shutil.rmtree(path)
    return r"target\.decoder\.layers_1.*missing \(13 of 47.*models\.<scale>\.shape"


def truncated_chunk(folder):
    file = folder / "target.decoder.layers_0.self_attention.out.kernel/1.0"
    file.write_bytes(file.read_bytes()[:20])
    return r"self_attention\.out\.kernel: cannot be read \(.*1\.0.*again"


def missing_chunk(folder):
    """Zarr would read it as zeros."""
    (folder / "target.token_embedder.embedding/0.1").unlink()
    return r"target\.token_embedder\.embedding/0\.1: missing; copy"


def broken_metadata(folder):
    (folder / "target.encoder.encoder_norm.scale/.zarray").write_text("{")
    return r"encoder_norm\.scale/\.zarray: cannot be read"


def extra_array(folder):
    write_array(folder, "target.encoder.layers_0.adapter.kernel", np.ones((2, 2), np.float32))
    return r"unknown arrays encoder\.layers_0\.adapter\.kernel"


def integers(folder):
    write_array(folder, "target.encoder.encoder_norm.scale", np.ones(12, np.uint16))
    return r"encoder_norm\.scale: uint16"


def scanned(folder):
    for path in folder.glob("target.encoder.layers_1.*"):
        shutil.rmtree(path)
    for path in folder.glob("target.encoder.layers_0.*"):
        path.rename(folder / path.name.replace("layers_0", "encoder"))
    return "scanned.*position bias"


def no_msgpack(folder):
    (folder / "checkpoint").unlink()
    return r"checkpoint_100/checkpoint: no such file.*again"


@pytest.mark.parametrize(
    "damage",
    [
        *(without_array, without_layer, truncated_chunk, missing_chunk, broken_metadata),
        *(extra_array, integers, scanned, no_msgpack),
    ],
)
def test_a_damaged_checkpoint_is_named_with_the_cure(checkpoint, damage):
    assert_refused(checkpoint, damage(checkpoint))


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"d_model": 16}, r"its shape is \(120, 12\), not \(120, 16\): a checkpoint of another"),
        ({"d_ff": 24}, r"another scale.*models\.<scale>\.shape"),
        ({"num_layers": 3}, "missing.*another scale"),
        ({"num_layers": 1}, "unknown arrays decoder.layers_1.* and 18 more.*another scale"),
        ({"version": "v1.1"}, r"a T5 v1\.0, not v1\.1; see models\.<scale>\.shape\.version"),
    ],
)
def test_a_checkpoint_of_another_scale(written, change, cause):
    assert_refused(written, cause, {**SHAPE, **change})


@pytest.mark.parametrize("vocabulary", [119, 121])
def test_a_checkpoint_of_another_vocabulary(written, vocabulary):
    assert_refused(written, "embedding: its shape is", vocabulary=vocabulary)


def test_a_folder_of_checkpoints_shows_what_is_in_it(written):
    assert_refused(written.parent, "there are some in checkpoint_100")


def test_a_missing_folder(tmp_path):
    assert_refused(tmp_path / "nowhere", "nowhere: no such folder; see pretrain.checkpoints")


def stage(folder, path):
    """Run the stage as its rule does; returns its output."""
    words = [" ".join(f"w{i}" for i in range(VOCABULARY - 103))]
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir()
    train_tokenizer(words, "word", VOCABULARY).save(str(tokenizer / "tokenizer.json"))
    output = folder / "pretrain" / "seed0"
    checkpoint = {"source": "released", "path": str(path), "revision": "main"}
    checkpoint["trust_pickle"] = False
    architecture = {"name": "t5", "shape": SHAPE}
    import_checkpoint(
        checkpoint=checkpoint, tokenizer=tokenizer, architecture=architecture, output=output
    )
    return output


def test_the_stage_writes_a_checkpoint_with_its_provenance(written, tmp_path):
    output = stage(tmp_path, written)
    model = load(T5ForConditionalGeneration, output, SHAPE, VOCABULARY)
    assert torch.equal(logits(model), logits(original()))
    provenance = json.loads((output / "provenance.json").read_text())
    assert (provenance["source"], provenance["path"]) == ("released", str(written))
    assert provenance["sha256"] == digest(original())
    assert provenance["tensorstore"]
    reward_model = new_reward_model(output, SHAPE, VOCABULARY, 0)
    assert torch.equal(reward_model.transformer.shared.weight, model.shared.weight)


def test_nothing_is_left_of_an_import_that_failed(checkpoint, tmp_path):
    truncated_chunk(checkpoint)
    with pytest.raises(ArtifactError, match="cannot be read"):
        stage(tmp_path, checkpoint)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint_100", "tokenizer"}
