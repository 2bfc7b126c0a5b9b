"""Whether a GPU computes what a CPU does."""

import copy
import itertools
import multiprocessing
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from setting import Finding, Setting, arithmetic_of, at_least, at_most, padded
from torch import Tensor, nn
from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration

from underspec.data.tokenization import EOS
from underspec.inference import continuous_batching
from underspec.inference.sampling import policy_decoder
from underspec.inference.scoring import score
from underspec.inference.shared_post_t5 import Encoder
from underspec.inference.token_sampling import Task, uniforms
from underspec.models.reward_model import RewardModel
from underspec.models.t5 import new_t5, set_dropout, t5_config, use_fast_norms
from underspec.recipe import DeviceLayout, Recipe
from underspec.training.loop import Interrupted, Objective, train
from underspec.training.objectives.denoising import denoising
from underspec.training.objectives.preference import preference

# Sums of single-precision numbers in another order; bfloat16 has 8 bits, so that a product of two
# roundings is off by 2^-8, and a gradient by several of them.
FP32_LOSS, FP32_GRADIENT = 1e-5, 2e-3
BF16_LOSS, BF16_GRADIENT = 1e-2, 0.1


def pretraining(setting: Setting, batch: int, inputs: int | None = None) -> Objective:
    tokens = np.random.default_rng(0).integers(3, setting.vocabulary - 100, 2_000_000)
    lengths = {"input_length": inputs or setting.inputs, "noise_density": 0.15}
    return denoising([tokens], setting.vocabulary - 1, batch, 0, **lengths, mean_span_length=3.0)


def comparisons(setting: Setting, batch: int) -> Objective:
    pairs = 4 * batch
    candidates = [setting.texts(pairs, 4, setting.longest // 2, seed) for seed in (1, 2)]
    return preference(setting.of_posts(pairs), *candidates, batch, 0, 0.01)


def new_reward_model(shape: dict, vocabulary: int) -> RewardModel:
    torch.manual_seed(0)
    return RewardModel(t5_config(shape, vocabulary))


def gradients(
    model: nn.Module, objective: Objective, device: str, precision: str, rows: range
) -> tuple[float, list[Tensor]]:
    """The loss of a step's `rows`, and its gradients on the CPU; no dropout."""
    model = copy.deepcopy(model).to(device).train()
    use_fast_norms(model)
    set_dropout(model, 0.0)
    batch = objective.batch(0, rows)
    terms = objective.terms(batch)
    batch = {name: value.to(device) for name, value in batch.items()}
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
        loss = objective.loss(model, batch) / terms
    loss.backward()
    return loss.item(), [each.grad.float().cpu() for each in model.parameters()]


@torch.no_grad()
def distance(found: list[Tensor], expected: list[Tensor]) -> float:
    """Of all tensors together, relative to the size of those expected."""
    off = sum((a - b).double().square().sum() for a, b in zip(found, expected, strict=True))
    return float((off / sum(each.double().square().sum() for each in expected)).sqrt())


def apart(found: list[Tensor], expected: list[Tensor], start: list[Tensor]) -> float:
    """How far two trainings end from each other, relative to how far they came."""
    moved = [each - before for each, before in zip(expected, start, strict=True)]
    other = [each - before for each, before in zip(found, start, strict=True)]
    return distance(other, moved)


def training_step(setting: Setting) -> Iterator[Finding]:
    """A training step on the GPU against the CPU's, and in bfloat16 against single precision."""
    rows = range(2)
    for version in ("v1.0", "v1.1"):
        shape = setting.shape("base", version)
        for name, objective, model in (
            (
                "pretraining",
                pretraining(setting, len(rows), setting.inputs // 2),
                new_t5(shape, setting.vocabulary, 0),
            ),
            (
                "reward model",
                comparisons(setting, len(rows)),
                new_reward_model(shape, setting.vocabulary),
            ),
        ):
            what = f"{name} {version}"
            loss, expected = gradients(model, objective, "cpu", "fp32", rows)
            with arithmetic_of(setting):
                ours, found = gradients(model, objective, setting.device, "fp32", rows)
                half, rough = gradients(model, objective, setting.device, "bf16", rows)
                model.gradient_checkpointing_enable()
                _, twice = gradients(model, objective, setting.device, "fp32", rows)
            yield at_most(f"{what}: loss, fp32", abs(ours / loss - 1), FP32_LOSS)
            yield at_most(f"{what}: gradients, fp32", distance(found, expected), FP32_GRADIENT)
            yield at_most(f"{what}: loss, bf16", abs(half / ours - 1), BF16_LOSS)
            yield at_most(f"{what}: gradients, bf16", distance(rough, found), BF16_GRADIENT)
            yield at_most(f"{what}: activations twice", distance(twice, found), FP32_GRADIENT)


def start_of(setting: Setting) -> T5ForConditionalGeneration:
    """What `run` trains."""
    return new_t5(setting.small, setting.vocabulary, 0)


def run(
    setting: Setting,
    recipe: Recipe,
    layout: DeviceLayout,
    folder: Path,
    stop_at: int | None = None,
) -> tuple[list[Tensor], list[float]] | None:
    """The trained weights, on the CPU, and the losses; None if it stopped at `stop_at`."""
    objective = pretraining(setting, recipe.batch, 48)

    def batch(step: int, rows: range) -> dict[str, Tensor]:
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return objective.batch(step, rows)

    watched = replace(objective, batch=batch)
    try:
        with arithmetic_of(setting):
            result = train(start_of(setting), watched, recipe, 0, folder, 1e9, layout)
    except Interrupted:
        return None
    if result is None:
        return [], []
    trained, rows = result
    return [each.detach().cpu() for each in trained.parameters()], [row["loss"] for row in rows]


def interrupted(
    setting: Setting, recipe: Recipe, layout: DeviceLayout, folder: Path
) -> tuple[list[Tensor], list[float]]:
    """As `run`, but stopped by SIGTERM on the way, and started again."""
    assert run(setting, recipe, layout, folder, stop_at=recipe.steps // 2) is None
    finished = run(setting, recipe, layout, folder)
    assert finished is not None
    return finished


RECIPE = Recipe(
    steps=20, batch=8, learning_rate=3e-3, warmup=2, dropout=0.1, weight_decay=0.0, precision="bf16"
)
# Of the way that a training has come: what kernels that add in no fixed order may do to it, and
# single precision and bfloat16, where a small step of a rounded gradient goes either way.
AGAIN, FP32_WAY, BF16_WAY = 1e-2, 2e-2, 0.2


def resuming(setting: Setting) -> Iterator[Finding]:
    """A training that is stopped and goes on, by every optimizer, ends where another one does."""
    start = list(start_of(setting).parameters())
    for optimizer, rate in (("adamw", 3e-3), ("adafactor", 1e-2)):
        recipe = replace(RECIPE, optimizer=optimizer, learning_rate=rate)
        with tempfile.TemporaryDirectory() as folder:
            folders = [Path(folder) / name for name in "abc"]
            whole, losses = run(setting, recipe, DeviceLayout(), folders[0])
            again, _ = run(setting, recipe, DeviceLayout(), folders[1])
            resumed, _ = interrupted(setting, recipe, DeviceLayout(), folders[2])
        yield at_most(f"{optimizer}: last loss over the first", losses[-1] / losses[0], 0.98)
        yield Finding(f"{optimizer}: two runs differ by", apart(again, whole, start))
        yield at_most(f"{optimizer}: resumed", apart(resumed, whole, start), AGAIN)
        same = all(map(torch.equal, resumed, whole))
        yield Finding(f"{optimizer}: resumed to the same bits", "yes" if same else "no")


def compiled(setting: Setting) -> Iterator[Finding]:
    """A compiled training: against one that is not, without dropout; against itself, resumed."""
    start = list(start_of(setting).parameters())
    over = DeviceLayout(compiled=True)
    for dropout in (0.0, 0.1):
        recipe = replace(RECIPE, dropout=dropout, steps=8)
        with tempfile.TemporaryDirectory() as folder:
            folders = [Path(folder) / name for name in "ab"]
            whole, losses = run(setting, recipe, over, folders[0])
            if dropout:
                resumed, _ = interrupted(setting, recipe, over, folders[1])
                yield at_most("resumed", apart(resumed, whole, start), AGAIN)
            else:
                plain, expected = run(setting, recipe, DeviceLayout(), folders[1])
                yield at_most("last loss", abs(losses[-1] / expected[-1] - 1), BF16_LOSS)
                yield at_most("weights", apart(whole, plain, start), BF16_WAY)


def _rank(rank: int, world: int, port: int, output: Path, job: Callable, arguments: tuple) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    weights, losses = job(*arguments)
    if rank == 0:
        torch.save((weights, losses), output)


def in_processes(world: int, job: Callable, *arguments) -> tuple[list[Tensor], list[float]]:
    """What the first of `world` processes, which find each other, gets from `job`."""
    with socket.socket() as found, tempfile.TemporaryDirectory() as folder:
        found.bind(("127.0.0.1", 0))
        port, output = found.getsockname()[1], Path(folder) / "output"
        found.close()
        fork = multiprocessing.get_context("fork")
        started = [
            fork.Process(target=_rank, args=(rank, world, port, output, job, arguments))
            for rank in range(world)
        ]
        for each in started:
            each.start()
        for each in started:
            each.join()
        if any(each.exitcode for each in started):
            raise RuntimeError(f"exit statuses {[each.exitcode for each in started]}")
        return torch.load(output)


def sharded(setting: Setting) -> Iterator[Finding]:
    """FSDP2, on a GPU by itself: starts, steps, saves and resumes, and trains what is trained
    without it.
    """
    world = 1 if setting.gpu else 2
    if not setting.gpu:
        os.environ["ACCELERATE_USE_CPU"] = "true"
    recipe = replace(RECIPE, dropout=0.0, precision="fp32", steps=8)
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder) / name for name in "abc"]
        over = DeviceLayout(sharded=True)
        shared, losses = in_processes(world, run, setting, recipe, over, folders[0])
        resumed, _ = in_processes(world, interrupted, setting, recipe, over, folders[1])
        alone, expected = run(setting, recipe, DeviceLayout(), folders[2])
    start = list(start_of(setting).parameters())
    yield at_most("loss", abs(losses[-1] / expected[-1] - 1), 1e-4)
    yield at_most("weights", apart(shared, alone, start), FP32_WAY)
    yield at_most("resumed", apart(resumed, shared, start), AGAIN)


def policy_of(setting: Setting, version: str) -> tuple[T5ForConditionalGeneration, float]:
    """A policy of base size whose tokens depend on post and sample, and the temperature at which
    a handful of them is likely. (With T5's own initial embeddings v1.0 repeats itself.)
    """
    policy = new_t5(setting.shape("base", version), setting.vocabulary, 0).eval()
    policy.shared.weight *= 0.1
    post = torch.from_numpy(setting.of_posts(1)[0])[None]
    logits = policy(input_ids=post, decoder_input_ids=torch.tensor([[0, 5, 7]])).logits
    return policy, float(logits.std() / 4)


def drawn(
    policy: T5ForConditionalGeneration,
    temperature: float,
    posts: list[np.ndarray],
    samples: int,
    longest: int,
) -> tuple[Tensor, Tensor]:
    """Tokens (posts, samples, longest) and log-probabilities (posts, samples), on the CPU."""
    task = Task(
        Encoder(policy.encoder, max(map(len, posts))),
        policy_decoder(policy, temperature),
        [str(i) for i in range(len(posts))],
        posts,
        samples,
        longest,
        seed=0,
    )
    found = torch.zeros(len(posts), samples, longest, dtype=torch.long)
    log_probs = torch.zeros(len(posts), samples)
    for indices, tokens, likely in continuous_batching.generate(task):
        found[indices], log_probs[indices] = tokens.cpu(), likely.cpu()
    return found, log_probs


def off_the_edge(logits: Tensor, uniform: float, other: int) -> float:
    """How far the number `uniform` lies from those that pick the token `other`, by the CPU's
    `logits` (vocabulary,) over the temperature.
    """
    edges = logits.double().softmax(-1).cumsum(-1)
    low, high = (edges[other - 1] if other else 0.0), edges[other]
    return float(max(low - uniform, uniform - high, 0.0))


@torch.inference_mode()
def sampler(setting: Setting) -> Iterator[Finding]:
    """Samples of the GPU against the CPU's of the same seed, T5 v1.0 and v1.1 at base size."""
    samples, longest = setting.samples // 4, max(4, setting.longest // 6)
    posts = setting.of_posts(6)
    for version in ("v1.0", "v1.1"):
        policy, temperature = policy_of(setting, version)
        expected, likely = drawn(policy, temperature, posts, samples, longest)
        yield Finding(f"{version}: different tokens", len(expected.unique()))
        with arithmetic_of(setting):
            there = copy.deepcopy(policy).to(setting.device)
            found, log_probs = drawn(there, temperature, posts, samples, longest)
        differ = (found != expected).any(-1)
        yield at_least(f"{version}: equal samples", 1 - differ.double().mean(), 0.7)
        off = (log_probs - likely)[~differ].abs().max() / longest
        yield at_most(f"{version}: their log-probabilities, a token", off, 1e-4)
        worst = 0.0
        for i, sample in differ.nonzero().tolist()[:20]:
            ours, cpus = found[i, sample], expected[i, sample]
            at = int((ours != cpus).nonzero()[0])
            number = uniforms(0, str(i), range(samples), longest)[sample, at]
            before = torch.tensor([[0, *cpus[:at].tolist()]])
            post = torch.from_numpy(posts[i])[None]
            logits = policy(input_ids=post, decoder_input_ids=before).logits[0, -1]
            worst = max(worst, off_the_edge(logits / temperature, number, int(ours[at])))
        yield at_most(f"{version}: numbers that part them, off the edge", worst, 1e-5)


def last_token(setting: Setting) -> Iterator[Finding]:
    """The kernel for the last token's attention against separate matrix products."""
    if not setting.gpu:
        yield Finding(
            "the kernel", "runs on a GPU (interpreted: tests/unit/inference/test_last_token.py)"
        )
        return
    from underspec.inference.last_token import attend_last

    for dtype, bound in ((torch.float32, 1e-5), (torch.bfloat16, 0.02)):
        worst = 0.0
        for d_kv, length in itertools.product((64, 12), (1, 64, 65, 128, 200)):
            torch.manual_seed(0)
            query = torch.randn(300, 3 * 4 * d_kv, device="cuda").to(dtype)[:, 4 * d_kv : 8 * d_kv]
            key, value = torch.randn(2, 300, 4, length + 7, d_kv, device="cuda").to(dtype)
            bias = torch.randn(4, length, device="cuda").to(dtype)
            scores = query.view(300, 4, 1, d_kv).float() @ key[:, :, :length].float().mT
            weights = (scores + bias[:, None].float()).softmax(-1)
            expected = (weights @ value[:, :, :length].float()).flatten(1)
            found = attend_last(query, key, value, bias).float()
            worst = max(worst, float((found - expected).abs().max()))
        name = str(dtype).removeprefix("torch.")
        yield at_most(f"{name}: of values of order one", worst, bound)


def first_tokens(tokens: Tensor, cells: int) -> Tensor:
    """How often each beginning of three tokens was drawn; after an end there is nothing."""
    ended = (tokens == EOS).cumsum(1) - (tokens == EOS).long() > 0
    tokens = tokens.masked_fill(ended, 0)
    index = (tokens * torch.tensor([cells**2, cells, 1])).sum(1)
    return torch.bincount(index, minlength=cells**3)


@torch.inference_mode()
def distribution(setting: Setting) -> Iterator[Finding]:
    """Samples against those of transformers' `generate`: two-sample chi-square."""
    words, count = 12, 24_000 if setting.gpu else 6_000
    post = np.array([5, 7, 3, EOS])
    shape = {"d_model": 64, "d_ff": 64, "d_kv": 16, "num_heads": 2, "num_layers": 2}
    for dtype in (torch.float32, torch.bfloat16):
        policy = new_t5(shape, words, 0).eval().to(setting.device, dtype)
        with arithmetic_of(setting):
            task = Task(
                Encoder(policy.encoder, len(post)),
                policy_decoder(policy),
                [str(i) for i in range(60)],
                [post] * 60,
                count // 60,
                3,
                seed=0,
            )
            ours = torch.cat(
                [tokens.flatten(0, 1).cpu() for _, tokens, _ in continuous_batching.generate(task)]
            )
        torch.manual_seed(0)
        theirs = policy.generate(
            input_ids=torch.from_numpy(post)[None].to(setting.device),
            do_sample=True,
            top_k=0,
            num_return_sequences=count,
            max_new_tokens=3,
        )[:, 1:].cpu()
        theirs = nn.functional.pad(theirs, (0, 3 - theirs.shape[1]))
        a, b = (first_tokens(each, words).double() for each in (ours, theirs))
        often = a + b >= 20
        a, b = (torch.cat([each[often], each[~often].sum()[None]]) for each in (a, b))
        total = a + b
        statistic = ((a - b) ** 2 / total.clamp(min=1)).sum()
        freedom = torch.tensor((len(total) - 1) / 2, dtype=torch.float64)
        p = float(torch.special.gammaincc(freedom, statistic / 2))
        name = str(dtype).removeprefix("torch.")
        yield at_least(f"{name}: p of {len(total)} beginnings", p, 1e-4)


@torch.inference_mode()
def scoring(setting: Setting) -> Iterator[Finding]:
    """Rewards of many candidates at once against the plain forward pass of each pair."""
    posts = setting.of_posts(4)
    for version in ("v1.0", "v1.1"):
        model = new_reward_model(setting.shape("base", version), setting.vocabulary).eval()
        candidates = [setting.texts(16, 2, 40, 10 + i) for i in range(len(posts))]
        model.to(setting.device)
        with arithmetic_of(setting):
            found = torch.from_numpy(np.stack(score(model, posts, candidates)))
            plain = torch.stack(
                [
                    model(
                        torch.from_numpy(np.stack([post] * len(texts))).to(setting.device),
                        padded(texts).to(setting.device),
                    ).cpu()
                    for post, texts in zip(posts, candidates, strict=True)
                ]
            )
            half = copy.deepcopy(model).to(torch.bfloat16)
            rough = torch.from_numpy(np.stack(score(half, posts, candidates)))
        spread = plain.std(1).mean()
        yield at_most(f"{version}: fp32, of the spread", (found - plain).abs().max() / spread, 1e-3)
        yield at_most(f"{version}: bf16, of the spread", (rough - plain).std() / spread, 0.3)


PARTS = {
    "training step": (training_step, 75),
    "last token": (last_token, 20),
    "sampler": (sampler, 60),
    "distribution": (distribution, 30),
    "scoring": (scoring, 30),
    "resuming": (resuming, 45),
    "sharded": (sharded, 60),
    "compiled": (compiled, 100),
}
