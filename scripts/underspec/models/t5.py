"""T5 models: random initialisation, loading and saving as Hugging Face folders."""

import csv
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import transformers
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedTokenizerFast, initialization
from transformers.models.t5.configuration_t5 import T5Config
from transformers.models.t5.modeling_t5 import (
    T5ForConditionalGeneration,
    T5LayerNorm,
    T5PreTrainedModel,
)
from transformers.utils.logging import disable_progress_bar

from underspec.data.tokenization import EOS, PAD
from underspec.errors import ArtifactError
from underspec.files import MAKE, REMAKE, atomic
from underspec.machine import processor
from underspec.models.fused_layers import ATTENTION, FastT5LayerNorm

disable_progress_bar()  # for weights; jobs log their own progress

# v1.1 has a gated feed-forward layer and an untied head. T5Config takes "not tied" to mean "do not
# scale the head's inputs", but ties the weights anyway; UntiedT5 unties them.
VERSIONS = {
    "v1.0": {"feed_forward_proj": "relu"},
    "v1.1": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
}
# Two T5s with equal weights are the same function if they agree on these.
ARCHITECTURE = (
    *("d_model", "d_ff", "d_kv", "num_heads", "num_layers", "num_decoder_layers", "vocab_size"),
    *("feed_forward_proj", "scale_decoder_outputs", "layer_norm_epsilon"),
    *("relative_attention_num_buckets", "relative_attention_max_distance"),
    *("pad_token_id", "eos_token_id", "decoder_start_token_id"),
)


FLOATS = ("F64", "F32", "F16", "BF16")


class UntiedT5(T5ForConditionalGeneration):
    """T5 v1.1: encoder and decoder share their embeddings; the head is a separate matrix.

    The head is initialised as in T5X, so that an untrained model has logits of variance one.
    """

    _tied_weights_keys = {
        tied: source
        for tied, source in T5ForConditionalGeneration._tied_weights_keys.items()
        if tied != "lm_head.weight"
    }

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is getattr(self, "lm_head", None):
            initialization.normal_(module.weight, std=self.config.d_model**-0.5)


def t5_config(shape: dict, vocabulary: int) -> T5Config:
    """The T5Config of a scale's `shape`: version (default v1.0), d_model, d_ff, d_kv, num_heads,
    and num_layers of encoder and decoder each.
    """
    sizes = {key: value for key, value in shape.items() if key != "version"}
    return T5Config(
        **sizes,
        **VERSIONS[shape.get("version", "v1.0")],
        vocab_size=vocabulary,
        pad_token_id=PAD,
        eos_token_id=EOS,
        decoder_start_token_id=PAD,
        attn_implementation=ATTENTION,
    )


def new_t5(shape: dict, vocabulary: int, seed: int) -> T5ForConditionalGeneration:
    """A T5 of the given shape with random weights drawn by `seed`."""
    torch.manual_seed(seed)
    config = t5_config(shape, vocabulary)
    return encoder_decoder(config)(config)


def encoder_decoder(config: T5Config) -> type[T5ForConditionalGeneration]:
    """The class for the config's version of T5."""
    return T5ForConditionalGeneration if config.scale_decoder_outputs else UntiedT5


def load(kind: type[T5PreTrainedModel], folder: Path, shape: dict, vocabulary: int):
    """Load the model of class `kind` from `folder`; it must have the given shape and vocabulary.

    For a shape of v1.1, T5ForConditionalGeneration means UntiedT5. Raises ArtifactError, naming the
    folder, if it is missing, damaged, or of another scale.
    """
    wanted = t5_config(shape, vocabulary)
    expected = {key: getattr(wanted, key) for key in ARCHITECTURE}
    if kind is T5ForConditionalGeneration:
        kind = encoder_decoder(wanted)
    if not (folder / "config.json").is_file():  # otherwise transformers looks for it on the Hub
        raise ArtifactError(f"{folder}: no checkpoint there; {MAKE}")
    with damage_reported(folder):
        config = T5Config.from_pretrained(folder)
    found = {key: getattr(config, key) for key in expected}
    if found != expected:
        differing = [key for key in expected if found[key] != expected[key]]
        raise ArtifactError(
            f"{folder}: a checkpoint of another scale: "
            + ", ".join(f"{key} is {found[key]}, not {expected[key]}" for key in differing)
        )
    with damage_reported(folder):
        check_types(folder)
        model, report = kind.from_pretrained(
            folder,
            attn_implementation=ATTENTION,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # the report names them, and they are refused below
        )
    faults = [
        f"{fault.replace('_', ' ')}: {some(sorted(map(str, names)))}"
        for fault, names in report.items()
        if names
    ]
    if faults:
        raise ArtifactError(f"{folder}: not a {kind.__name__}: {'; '.join(faults)}; {REMAKE}")
    return model


def check_types(folder: Path, buffers: re.Pattern | None = None) -> None:
    """Raise ValueError if a weight is not floating point: transformers would read the integers of a
    quantised model as weights. buffers: names of what are no weights.
    """
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118
                if buffers and buffers.search(name):
                    continue
                if (kind := weights.get_slice(name).get_dtype()) not in FLOATS:
                    raise ValueError(f"{name} is of type {kind}, not one of {', '.join(FLOATS)}")


@contextmanager
def damage_reported(folder: Path) -> Iterator[None]:
    """Turn any error that transformers raises for a damaged checkpoint into a one-line
    ArtifactError.

    Its warnings about problems that `load` reports itself are hidden.
    """
    library = logging.getLogger("transformers")
    level = library.level
    library.setLevel(logging.ERROR)
    try:
        yield
    except Exception as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        raise ArtifactError(f"{folder}: not a whole checkpoint ({cause}); {REMAKE}") from error
    finally:
        library.setLevel(level)


def some(names: list[str]) -> str:
    """The first names of a list, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def use_fast_norms(model: nn.Module) -> None:
    """Replace the layer norms of the T5 `model` by faster ones with the same weights."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is T5LayerNorm:
                norm = FastT5LayerNorm(len(child.weight), child.variance_epsilon)
                norm.weight = child.weight
                setattr(module, name, norm)


def for_inference(model: nn.Module, precision: str) -> nn.Module:
    """`model` on the GPU, if there is one, in `precision` (fp32, tf32 or bf16).

    On a CPU it stays in single precision, so that results are reproducible bit for bit.
    """
    if not torch.cuda.is_available():
        return model.eval()
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    return model.to("cuda", torch.bfloat16 if precision == "bf16" else torch.float32).eval()


def set_dropout(model: nn.Module, rate: float) -> None:
    """Set every dropout rate in `model`, including attention's, to `rate`."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
            continue
        for name, value in vars(module).items():
            if "dropout" in name and type(value) in (int, float):
                setattr(module, name, rate)


def save(
    model: nn.Module,
    folder: Path,
    rows: list[dict],
    about: dict,
    metrics: dict | None = None,
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> None:
    """Write the model atomically as a Hugging Face folder with its training log, provenance,
    metrics and, if given, its own tokenizer. `rows` are empty for an imported model.
    """
    provenance = {
        **about,
        "parameters": parameters(model),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": str(model.device),
        **({"trained_on": hardware(model.device)} if rows else {}),
    }
    with atomic(folder) as unfinished:
        model.save_pretrained(unfinished)
        if tokenizer:
            tokenizer.save_pretrained(unfinished)
        if rows:
            with (unfinished / "training.csv").open("w", newline="") as file:
                table = csv.DictWriter(file, rows[0], lineterminator="\n")
                table.writeheader()
                table.writerows(rows)
        (unfinished / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n")
        if metrics is not None:
            (unfinished / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        shutil.rmtree(folder, ignore_errors=True)


def hardware(device: torch.device) -> dict:
    """The hardware of `device`: its name and, for a CPU, the instruction set that PyTorch uses and
    the number of CPUs. The same seeds give different weights on different hardware.
    """
    if device.type == "cuda":
        return {"name": torch.cuda.get_device_name(device)}
    instructions = torch.backends.cpu.get_cpu_capability()
    return {"name": processor(), "instructions": instructions, "cpus": os.cpu_count()}


def parameters(model: nn.Module) -> int:
    """Number of parameters, tied ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())
