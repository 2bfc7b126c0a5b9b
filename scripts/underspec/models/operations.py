"""What a T5 has to compute, and how large it is, by its shape alone.

Operations are counted in matrix products alone, two for a multiplication and an addition.
"""

from underspec.data.span_corruption import corrupted_lengths, tokens_for


def parameters(shape: dict, vocabulary: int) -> int:
    """Parameters of a T5 of `shape`, biases of relative positions (32 buckets) included."""
    encoder, decoder, cross = _layer_weights(shape)
    layers, width = shape["num_layers"], shape["d_model"]
    norms = (2 + 3) * width * layers + 2 * width
    head = vocabulary * width * (2 if shape["version"] == "v1.1" else 1)
    positions = 2 * 32 * shape["num_heads"]
    return layers * (encoder + decoder + cross) + norms + head + positions


def forward(shape: dict, vocabulary: int, post: int, summary: int, summaries: int = 1) -> float:
    """Operations to encode `post` tokens once and decode `summaries` of `summary` tokens.

    `vocabulary` is that of a language model's head, 0 for a reward model.
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


def _layer_weights(shape: dict) -> tuple[int, int, int]:
    """Of one encoder layer, of one decoder layer without cross-attention, of cross-attention."""
    attention = 4 * shape["d_model"] * shape["d_kv"] * shape["num_heads"]
    feed_forward = (3 if shape["version"] == "v1.1" else 2) * shape["d_model"] * shape["d_ff"]
    return attention + feed_forward, attention + feed_forward, attention


def corrupted(corruption: dict) -> tuple[int, int]:
    """Lengths of the inputs and targets of pretraining."""
    spans = corruption["noise_density"], corruption["mean_span_length"]
    return corrupted_lengths(tokens_for(corruption["input_length"], *spans), *spans)
