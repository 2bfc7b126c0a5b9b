"""Parameters and floating-point operations, of a T5 from its shape and of others from their size.

Only matrix products count; a multiplication and an addition are two operations.
"""

from underspec.data.span_corruption import corrupted_lengths, tokens_for


def parameters(shape: dict, vocabulary: int) -> int:
    """The number of parameters, including relative position biases (32 buckets)."""
    encoder, decoder, cross = _layer_weights(shape)
    layers, width = shape["num_layers"], shape["d_model"]
    norms = (2 + 3) * width * layers + 2 * width
    head = vocabulary * width * (2 if shape["version"] == "v1.1" else 1)
    positions = 2 * 32 * shape["num_heads"]
    return layers * (encoder + decoder + cross) + norms + head + positions


def forward(shape: dict, vocabulary: int, post: int, summary: int, summaries: int = 1) -> float:
    """Operations to encode a post of `post` tokens and decode `summaries` of `summary` tokens each.

    `vocabulary` is the size of the language model's head, or 0 for a reward model.
    """
    encoder, decoder, cross = _layer_weights(shape)
    layers, width = shape["num_layers"], shape["d_model"]
    inner = shape["d_kv"] * shape["num_heads"]
    decoded = summaries * summary
    attention = post * post + decoded * summary + decoded * post  # pairs of positions
    weights = (
        layers * (encoder * post + decoder * decoded)
        + layers * cross * (post + decoded) / 2  # keys and values of the post, queries and output
        + vocabulary * width * decoded
    )
    return 2 * weights + 4 * layers * inner * attention


def forward_joined(
    size: dict, post: int, sample: int, samples: int = 1, shared: bool = False
) -> float:
    """Operations of a model of `size` (layers, width, body) that reads a post of `post` tokens and
    a sample of `sample` tokens as one text, for each of `samples`.

    shared: the post is read once, as decoders can. Else it is read with every sample. As of a T5,
    all pairs of positions count that attention may compare, whether masked or not.
    """
    if shared:
        tokens = post + samples * sample
        pairs = post * post + samples * sample * (post + sample)
    else:
        tokens = samples * (post + sample)
        pairs = samples * (post + sample) ** 2
    return 2 * size["body"] * tokens + 4 * size["layers"] * size["width"] * pairs


def _layer_weights(shape: dict) -> tuple[int, int, int]:
    """Weights of an encoder layer, a decoder layer without cross-attention, and cross-attention."""
    attention = 4 * shape["d_model"] * shape["d_kv"] * shape["num_heads"]
    feed_forward = (3 if shape["version"] == "v1.1" else 2) * shape["d_model"] * shape["d_ff"]
    return attention + feed_forward, attention + feed_forward, attention


def corrupted(corruption: dict) -> tuple[int, int]:
    """The lengths of pretraining's inputs and targets."""
    spans = corruption["noise_density"], corruption["mean_span_length"]
    return corrupted_lengths(tokens_for(corruption["input_length"], *spans), *spans)
