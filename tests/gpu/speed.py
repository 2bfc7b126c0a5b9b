"""How fast a GPU trains, samples and scores, beside what it could do and what others do."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from correctness import comparisons, new_reward_model, pretraining
from setting import Finding, Setting, aim, arithmetic_of, median, padded, rates
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import flex_attention
from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration

from underspec.data.tokenization import EOS, PAD
from underspec.inference import continuous_batching
from underspec.inference.sampling import policy_decoder
from underspec.inference.scoring import score
from underspec.inference.shared_post_t5 import Encoder
from underspec.inference.token_sampling import Task
from underspec.models import fused_layers
from underspec.models.operations import forward
from underspec.models.t5 import new_t5
from underspec.recipe import DeviceLayout, Recipe
from underspec.training.loop import Objective, train

ADAFACTOR = Recipe(
    steps=8,
    batch=1,
    learning_rate=1e-2,
    warmup=10_000,
    dropout=0.1,
    weight_decay=0.0,
    optimizer="adafactor",
    schedule="inverse_sqrt",
    precision="bf16",
)
EVERY_KERNEL = [
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.MATH,
]
WARM_UP = 2  # steps: what is compiled is compiled in the first


def ceilings(setting: Setting) -> Iterator[Finding]:
    """What the device does with the simplest work: a large product, a large copy."""
    size = 8192 if setting.gpu else 256
    left, right = (torch.randn(size, size, device=setting.device).bfloat16() for _ in range(2))
    source = torch.randn(size, 16 * size, device=setting.device)
    target = torch.empty_like(source)
    times = 20

    def product() -> float:
        for _ in range(times):
            left @ right
        return times * 2 * size**3 / 1e12

    def copy() -> float:
        for _ in range(times):
            target.copy_(source)
        return times * 2 * source.nbytes / 1e9

    found = rates(setting, {"product": product, "copy": copy}, setting.repeats)
    yield median("bfloat16 product", found["product"], "TFLOP/s")
    yield median("copy, read and written", found["copy"], "GB/s")


def seconds_a_step(
    setting: Setting, model: nn.Module, objective: Objective, recipe: Recipe, layout: DeviceLayout
) -> list[float]:
    """Of each step of a real training after WARM_UP."""
    began = []

    def batch(step: int, rows: range) -> dict[str, Tensor]:
        if rows.start == 0:  # the first micro-batch
            setting.synchronize()
            began.append(time.perf_counter())
        return objective.batch(step, rows)

    with tempfile.TemporaryDirectory() as folder:
        train(model, replace(objective, batch=batch), recipe, 0, Path(folder), 1e9, layout)
    setting.synchronize()
    began.append(time.perf_counter())
    return list(np.diff(began)[WARM_UP:])


def flex(module, query, key, value, attention_mask, dropout=0.0, position_bias=None, **kwargs):
    """T5's attention with its bias computed inside the kernel, where flex_attention can: it has no
    dropout, and the decoder's lengths are not its own.
    """
    if position_bias is None or attention_mask is not None or module.is_decoder:
        return SDPA(
            *(module, query, key, value, attention_mask),
            dropout=dropout,
            position_bias=position_bias,
            **kwargs,
        )
    # The bias depends on the distance alone: the last row has those before, the first those after.
    by_distance = torch.cat([position_bias[0, :, -1], position_bias[0, :, 0, 1:]], dim=1)
    last = query.shape[2] - 1

    def biased(score, _, head, at, seen):
        return score + by_distance[head, seen - at + last]

    return flex_attention(query, key, value, score_mod=biased, scale=1.0).transpose(1, 2), None


SDPA = fused_layers.sdpa_attention_forward
ATTENTION = {
    "as it is": (SDPA, False, 0.1),
    "compiled": (SDPA, True, 0.1),
    "compiled, no dropout": (SDPA, True, 0.0),
    "flex_attention, compiled, no dropout": (flex, True, 0.0),
}


@contextmanager
def attention_by(attend: Callable) -> Iterator[None]:
    fused_layers.sdpa_attention_forward = attend
    try:
        yield
    finally:
        fused_layers.sdpa_attention_forward = SDPA


def micro_batch_of(setting: Setting, scale: str) -> int:
    """Rows of a pretraining micro-batch that fit the GPU."""
    if not setting.gpu:
        return setting.batch // 2
    memory = torch.cuda.get_device_properties(0).total_memory / 1e9
    return {"base": 64, "large": 64 if memory > 120 else 32}[scale]


def pretraining_speed(setting: Setting, scale: str, ways: dict) -> Iterator[Finding]:
    shape, micro_batch = setting.shape(scale), micro_batch_of(setting, scale)
    objective = pretraining(setting, setting.batch)
    labels = objective.batch(0, range(1))["labels"].shape[1]
    operations = (
        3 * setting.batch * forward(shape, setting.vocabulary, setting.inputs, labels) / 1e12
    )
    yield Finding("rows at once, of a batch", f"{micro_batch} of {setting.batch}")
    with torch.device(setting.device), arithmetic_of(setting):
        model = new_t5(shape, setting.vocabulary, 0)
    for name, (attend, compiled, dropout) in ways.items():
        if attend is flex and not setting.gpu:
            yield Finding(name, "it has no gradient on a CPU")
            continue
        if setting.gpu:
            torch.cuda.reset_peak_memory_stats()
        for block in (*model.encoder.block, *model.decoder.block):
            block._compiled_call_impl = None
        recipe = replace(ADAFACTOR, batch=setting.batch, dropout=dropout * setting.gpu)
        began = time.perf_counter()
        with arithmetic_of(setting), attention_by(attend):
            steps = seconds_a_step(
                setting, model, objective, recipe, DeviceLayout(micro_batch, compiled=compiled)
            )
        yield median(name, [setting.batch * setting.inputs / each for each in steps], "tokens/s")
        share = None
        if setting.peaks:
            share = 100 * operations / statistics.median(steps) / setting.peaks[0]
        yield aim(f"{name}: MFU", share, 40.0, "%")
        yield Finding(f"{name}: whole run", time.perf_counter() - began, "s")
        yield setting.peak_memory()


def pretraining_base(setting: Setting) -> Iterator[Finding]:
    """Pretraining at base size; without dropout by flex_attention, too, which has none."""
    yield from pretraining_speed(setting, "base", ATTENTION)


def pretraining_large(setting: Setting) -> Iterator[Finding]:
    """Pretraining at large size."""
    with_dropout = {name: way for name, way in ATTENTION.items() if way[2]}
    yield from pretraining_speed(setting, "large", with_dropout)


def reward_model_training(setting: Setting) -> Iterator[Finding]:
    """Reward-model training at base and large size: 64 pairs a step."""
    batch = 64 if setting.gpu else 4
    for scale, at_once in (("base", batch // 2), ("large", batch // 4)):
        objective = comparisons(setting, batch)
        with torch.device(setting.device):
            model = new_reward_model(setting.shape(scale), setting.vocabulary)
        recipe = replace(ADAFACTOR, batch=batch, steps=8, schedule="constant", warmup=0)
        with arithmetic_of(setting):
            steps = seconds_a_step(setting, model, objective, recipe, DeviceLayout(at_once))
        yield median(f"{scale}: pairs", [batch / each for each in steps], "a second")


def bytes_read(setting: Setting, scale: str, lengths: list[int], rows: int) -> float:
    """What sampling to full length has to read at least, in bfloat16.

    At each step the decoder's weights once for all active samples, the posts' keys and values
    once for those of a post, and each sample's own keys and values so far.
    """
    shape, samples, longest = setting.shapes[scale], setting.samples, setting.longest
    width, layer_count = shape["d_model"], shape["num_layers"]
    inner = shape["num_heads"] * shape["d_kv"]
    weights = layer_count * (6 * width * inner + 2 * width * shape["d_ff"])
    weights += setting.vocabulary * width
    of_posts = 2 * layer_count * inner * sum(lengths)
    of_samples = 2 * layer_count * inner * (longest / 2) * len(lengths) * samples
    rounds = -(-len(lengths) * samples // rows)
    return 2 * longest * (rounds * weights + of_posts + of_samples)


def counted(tokens: Tensor) -> float:
    """Tokens of samples (samples, length) up to their ends, which count."""
    return float(((tokens == EOS).cumsum(1) - (tokens == EOS).long() == 0).sum())


def let_samples_end(policy: T5ForConditionalGeneration, post: np.ndarray) -> None:
    """Change the end's embedding so that at any position one token in 16 or so is an end."""
    device = policy.device
    begun = torch.arange(3, 67, device=device)[None]
    outputs = policy(
        input_ids=torch.from_numpy(post)[None].to(device),
        decoder_input_ids=begun,
        output_hidden_states=True,
    )
    mean = outputs.decoder_hidden_states[-1][0].float().mean(0) * policy.config.d_model**-0.5
    wanted = outputs.logits[0].float().logsumexp(-1).mean() - np.log(16)
    policy.shared.weight[EOS] = mean * wanted / mean.square().sum()


@torch.inference_mode()
def sampling_speed(setting: Setting, scale: str) -> Iterator[Finding]:
    """Ours and `generate`'s tokens a second; samples that hardly ever end, then that end early and
    late.
    """
    with torch.device(setting.device):
        policy = new_t5(setting.shape(scale), setting.vocabulary, 0).eval()
    policy.to(torch.bfloat16)
    posts = setting.of_posts(setting.posts)
    few = {"base": 32, "large": 16}[scale] if setting.gpu else setting.posts

    def task() -> Task:
        return Task(
            Encoder(policy.encoder, max(map(len, posts))),
            policy_decoder(policy),
            [str(i) for i in range(len(posts))],
            posts,
            setting.samples,
            setting.longest,
            seed=0,
        )

    def ours() -> float:
        with arithmetic_of(setting):
            return sum(
                counted(tokens.flatten(0, 1))
                for _, tokens, _ in continuous_batching.generate(task())
            )

    def generate() -> float:
        ids = padded(posts[:few]).to(setting.device)
        with sdpa_kernel(EVERY_KERNEL):  # ours does without one that `generate` is faster with
            drawn = policy.generate(
                input_ids=ids,
                attention_mask=(ids != PAD).long(),
                do_sample=True,
                top_k=0,
                num_return_sequences=setting.samples,
                max_new_tokens=setting.longest,
            )[:, 1:]
        return counted(drawn)

    def compared(ends: str) -> tuple[float, list[Finding]]:
        if setting.gpu:
            torch.cuda.reset_peak_memory_stats()
        length = ours() / (len(posts) * setting.samples)
        memory = setting.peak_memory()._replace(name=f"{ends}: peak memory")
        found = rates(setting, {"ours": ours, "generate": generate}, max(1, setting.repeats - 1))
        fast, slow = (statistics.median(found[name]) for name in ("ours", "generate"))
        return fast, [
            Finding(f"{ends}: tokens a sample", length),
            median(f"{ends}: ours", found["ours"], "tokens/s"),
            median(f"{ends}: generate", found["generate"], "tokens/s"),
            aim(f"{ends}: times generate", fast / slow, 5.0),
            memory,
        ]

    fast, findings = compared("hardly ever end")
    yield from findings
    share = None
    if setting.peaks:
        least = bytes_read(
            setting, scale, list(map(len, posts)), continuous_batching.max_slots(task())
        )
        seconds = len(posts) * setting.samples * setting.longest / fast
        share = 100 * least / seconds / (setting.peaks[1] * 1e9)
    yield aim("share of the bandwidth limit", share, 30.0, "%")
    let_samples_end(policy, posts[0])
    yield from compared("end early and late")[1]


def sampling_base(setting: Setting) -> Iterator[Finding]:
    """Samples of 64 posts at base size."""
    yield from sampling_speed(setting, "base")


def sampling_large(setting: Setting) -> Iterator[Finding]:
    """Samples of 64 posts at large size."""
    yield from sampling_speed(setting, "large")


@torch.inference_mode()
def scoring_speed(setting: Setting) -> Iterator[Finding]:
    """Candidates a second: many of a post at once against pair by pair, at base and large size."""
    posts = setting.of_posts(setting.posts * 2)
    candidates = [setting.texts(setting.samples, 9, 40, 1 + i) for i in range(len(posts))]
    for scale, precision in (("large", "bf16"), ("large", "tf32"), ("base", "bf16")):
        with torch.device(setting.device):
            model = new_reward_model(setting.shape(scale), setting.vocabulary).eval()
        if precision == "bf16":
            model.to(torch.bfloat16)
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")

        def ours(model=model) -> float:
            with arithmetic_of(setting):
                score(model, posts, candidates)
            return float(sum(map(len, candidates)))

        def per_pair(model=model) -> float:
            for post, texts in zip(posts[:8], candidates, strict=False):
                copies = torch.from_numpy(np.stack([post] * len(texts))).to(setting.device)
                with arithmetic_of(setting):
                    model(copies, padded(texts).to(setting.device))
            return float(sum(map(len, candidates[:8])))

        found = rates(setting, {"ours": ours, "per pair": per_pair}, setting.repeats)
        name = f"{scale}, {precision}"
        yield median(f"{name}: ours", found["ours"], "candidates/s")
        yield median(f"{name}: per pair", found["per pair"], "candidates/s")
        times = statistics.median(found["ours"]) / statistics.median(found["per pair"])
        yield aim(f"{name}: times per pair", times, 6.0)


PARTS = {
    "ceilings": (ceilings, 20),
    "sampling, large": (sampling_large, 90),
    "sampling, base": (sampling_base, 60),
    "scoring speed": (scoring_speed, 60),
    "pretraining, large": (pretraining_large, 150),
    "pretraining, base": (pretraining_base, 150),
    "reward-model training": (reward_model_training, 60),
}
