"""Writes T5X checkpoints as T5X does, from a Hugging Face T5, by a mapping of its own.

It goes through the modules of the model, where the package goes by the names of parameters.
"""

from pathlib import Path

import ml_dtypes
import numpy as np
import tensorstore

ATTENTION = {"query": "q", "key": "k", "value": "v", "out": "o"}


def _attention(module):
    return {f"{name}.kernel": getattr(module, own).weight.T for name, own in ATTENTION.items()}


def _mlp(module):
    return {
        f"{name}.kernel": child.weight.T for name, child in module.named_children() if "w" in name
    }


def _prefixed(prefix, tree):
    return {f"{prefix}.{name}": value for name, value in tree.items()}


def _stack(side, stack, attention):
    arrays = {f"{side}.{side}_norm.scale": stack.final_layer_norm.weight}
    first = stack.block[0].layer[0].SelfAttention
    arrays[f"{side}.relpos_bias.rel_embedding"] = first.relative_attention_bias.weight.T
    for number, block in enumerate(stack.block):
        layer = f"{side}.layers_{number}"
        own, last = block.layer[0], block.layer[-1]
        arrays[f"{layer}.pre_{attention}_layer_norm.scale"] = own.layer_norm.weight
        arrays |= _prefixed(f"{layer}.{attention}", _attention(own.SelfAttention))
        if side == "decoder":
            cross = block.layer[1]
            arrays[f"{layer}.pre_cross_attention_layer_norm.scale"] = cross.layer_norm.weight
            arrays |= _prefixed(
                f"{layer}.encoder_decoder_attention", _attention(cross.EncDecAttention)
            )
        arrays[f"{layer}.pre_mlp_layer_norm.scale"] = last.layer_norm.weight
        arrays |= _prefixed(f"{layer}.mlp", _mlp(last.DenseReluDense))
    return arrays


def arrays_of(model, padding: int = 0) -> dict[str, np.ndarray]:
    """The model's parameters under T5X's names; the embedding gets `padding` more rows."""
    arrays = {"token_embedder.embedding": model.shared.weight}
    arrays |= _stack("encoder", model.encoder, "attention")
    arrays |= _stack("decoder", model.decoder, "self_attention")
    if model.lm_head.weight is not model.shared.weight:
        arrays["decoder.logits_dense.kernel"] = model.lm_head.weight.T
    arrays = {name: value.detach().numpy() for name, value in arrays.items()}
    table = arrays["token_embedder.embedding"]
    arrays["token_embedder.embedding"] = np.pad(table, ((0, padding), (0, 0)), constant_values=0.5)
    if "decoder.logits_dense.kernel" in arrays:
        kernel = arrays["decoder.logits_dense.kernel"]
        arrays["decoder.logits_dense.kernel"] = np.pad(kernel, ((0, 0), (0, padding)))
    return arrays


def write_array(folder: Path, name: str, values: np.ndarray) -> None:
    """One array as T5X writes it: zarr, gzip, several chunks where there is room for them."""
    spec = {
        "driver": "zarr",
        "dtype": values.dtype.name,
        "kvstore": {"driver": "file", "path": f"{folder / name}/"},
        "metadata": {
            "compressor": {"id": "gzip"},
            "shape": list(values.shape),
            "chunks": [-(-size // 2) for size in values.shape],
        },
    }
    store = tensorstore.open(spec, create=True, delete_existing=True).result()
    store.write(values).result()


def write_t5x(model, folder: Path, padding: int = 0, bfloat16: bool = False) -> Path:
    """A whole checkpoint with a bit of optimizer state; returns its folder."""
    for name, values in arrays_of(model, padding).items():
        values = values.astype(ml_dtypes.bfloat16) if bfloat16 else values
        write_array(folder, f"target.{name}", values)
    rows = np.zeros(4, np.float32)
    write_array(folder, "state.param_states.token_embedder.embedding.v_row", rows)
    (folder / "checkpoint").write_bytes(b"\x81\xa7version\x03")  # msgpack: {"version": 3}
    return folder
