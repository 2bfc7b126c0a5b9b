"""T5 from random initialisation, and models in Hugging Face folders."""

import csv
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import transformers
from safetensors import safe_open
from torch import nn
from transformers import initialization
from transformers.models.t5.configuration_t5 import T5Config
from transformers.models.t5.modeling_t5 import (
    T5ForConditionalGeneration,
    T5LayerNorm,
    T5PreTrainedModel,
)
from transformers.utils.logging import disable_progress_bar

from underspec.artifacts import MAKE, REMAKE, atomic
from underspec.data.tokenization import EOS, PAD
from underspec.errors import ArtifactError
from underspec.machine import processor
from underspec.models.fused_layers import ATTENTION, Norm

disable_progress_bar()  # of reading and writing weights: jobs have a line of their own

# v1.1: a gated feed-forward layer, and a head of its own. T5Config reads "not tied" as "do not
# scale the head's inputs" and ties all the same; UntiedT5 is what unties.
VERSIONS = {
    "v1.0": {"feed_forward_proj": "relu"},
    "v1.1": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
}
# What makes two T5s with the same weights the same function.
ARCHITECTURE = (
    *("d_model", "d_ff", "d_kv", "num_heads", "num_layers", "num_decoder_layers", "vocab_size"),
    *("feed_forward_proj", "scale_decoder_outputs", "layer_norm_epsilon"),
    *("relative_attention_num_buckets", "relative_attention_max_distance"),
    *("pad_token_id", "eos_token_id", "decoder_start_token_id"),
)


FLOATS = ("F64", "F32", "F16", "BF16")


class UntiedT5(T5ForConditionalGeneration):
    """T5 v1.1: encoder and decoder share their embeddings; the head is a matrix of its own.

    Its initial weights are T5X's, so that an untrained model gives logits of variance one.
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
    """The T5 of a scale's `shape`: version (v1.0 unless given), d_model, d_ff, d_kv, num_heads,
    num_layers a side.
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
    """A T5 of the given shape with the random weights that `seed` draws."""
    torch.manual_seed(seed)
    config = t5_config(shape, vocabulary)
    return encoder_decoder(config)(config)


def encoder_decoder(config: T5Config) -> type[T5ForConditionalGeneration]:
    """The class that holds a T5 of the config's version."""
    return T5ForConditionalGeneration if config.scale_decoder_outputs else UntiedT5


def load(kind: type[T5PreTrainedModel], folder: Path, shape: dict, vocabulary: int):
    """The model of class `kind` in `folder`, which must have the given shape and vocabulary.

    T5ForConditionalGeneration stands for UntiedT5 where the shape is of v1.1. Raises
    ArtifactError naming the folder if it is missing, damaged, or of another scale.
    """
    wanted = t5_config(shape, vocabulary)
    expected = {key: getattr(wanted, key) for key in ARCHITECTURE}
    if kind is T5ForConditionalGeneration:
        kind = encoder_decoder(wanted)
    if not (folder / "config.json").is_file():  # else the library looks for it on the Hub
        raise ArtifactError(f"{folder}: no checkpoint there; {MAKE}")
    with _told_of_damage(folder):
        config = T5Config.from_pretrained(folder)
    found = {key: getattr(config, key) for key in expected}
    if found != expected:
        differing = [key for key in expected if found[key] != expected[key]]
        raise ArtifactError(
            f"{folder}: a checkpoint of another scale: "
            + ", ".join(f"{key} is {found[key]}, not {expected[key]}" for key in differing)
        )
    with _told_of_damage(folder):
        _check_types(folder)
        model, report = kind.from_pretrained(
            folder,
            attn_implementation=ATTENTION,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # which are refused below, by name
        )
    faults = [
        f"{fault.replace('_', ' ')}: {some(sorted(map(str, names)))}"
        for fault, names in report.items()
        if names
    ]
    if faults:
        raise ArtifactError(f"{folder}: not a {kind.__name__}: {'; '.join(faults)}; {REMAKE}")
    return model


def _check_types(folder: Path) -> None:
    """Raise ValueError if a weight is no floating-point number: the library would take the integers
    of a quantised model for weights.
    """
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118
                if (kind := weights.get_slice(name).get_dtype()) not in FLOATS:
                    raise ValueError(f"{name} is of type {kind}, not one of {', '.join(FLOATS)}")


@contextmanager
def _told_of_damage(folder: Path) -> Iterator[None]:
    """What the library says of a damaged checkpoint, by errors of every kind, in one line.

    It also warns of what `load` refuses; that is not shown.
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


def use_fused_norms(model: nn.Module) -> None:
    """Put our own norms into the T5 `model`, with its weights: the same function."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is T5LayerNorm:
                norm = Norm(len(child.weight), child.variance_epsilon)
                norm.weight = child.weight
                setattr(module, name, norm)


def for_inference(model: nn.Module, precision: str) -> nn.Module:
    """`model` on the GPU, if there is one, in `precision` (fp32, tf32 or bf16).

    On a CPU it stays in single precision, in which results are exact to the last bit.
    """
    if not torch.cuda.is_available():
        return model.eval()
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    return model.to("cuda", torch.bfloat16 if precision == "bf16" else torch.float32).eval()


def set_dropout(model: nn.Module, rate: float) -> None:
    """Set every dropout rate in `model`, attention's included, to `rate`."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = rate


def save(
    model: T5PreTrainedModel,
    folder: Path,
    rows: list[dict],
    about: dict,
    metrics: dict | None = None,
) -> None:
    """Write the model atomically as a Hugging Face folder with its training log, provenance and
    metrics. `rows` are empty for an imported model.
    """
    provenance = {
        **about,
        "parameters": parameters(model),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": str(model.device),
        **({"trained_on": computing(model.device)} if rows else {}),
    }
    with atomic(folder) as unfinished:
        model.save_pretrained(unfinished)
        if rows:
            with (unfinished / "training.csv").open("w", newline="") as file:
                table = csv.DictWriter(file, rows[0], lineterminator="\n")
                table.writeheader()
                table.writerows(rows)
        (unfinished / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n")
        if metrics is not None:
            (unfinished / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        shutil.rmtree(folder, ignore_errors=True)


def computing(device: torch.device) -> dict:
    """What computes on `device`: its name; of a CPU, the instructions that PyTorch takes and the
    number of CPUs. The same seeds give other weights where these differ.
    """
    if device.type == "cuda":
        return {"name": torch.cuda.get_device_name(device)}
    instructions = torch.backends.cpu.get_cpu_capability()
    return {"name": processor(), "instructions": instructions, "cpus": os.cpu_count()}


def parameters(model: nn.Module) -> int:
    """Number of parameters, tied ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def first_line(error: Exception) -> str:
    """What an exception says in its first line, or its type if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
