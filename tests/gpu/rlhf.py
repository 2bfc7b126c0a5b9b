"""RLHF on a GPU: whether it computes what a CPU does, and how long a step takes."""

import copy
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from correctness import (
    BF16_GRADIENT,
    FP32_GRADIENT,
    distance,
    new_reward_model,
    policy_of,
)
from setting import Finding, Setting, arithmetic_of, at_most, median

from underspec.alignment.policy import AlignedPolicy, kl_divergence
from underspec.alignment.rloo import rloo
from underspec.data.tokenization import PAD, UNK
from underspec.inference.scoring import Scorer
from underspec.models.t5 import new_t5
from underspec.recipe import Recipe
from underspec.training.loop import train

SAMPLES = 4


def policy_and_samples(setting: Setting, version: str):
    with torch.no_grad():
        t5, _ = policy_of(setting, version)
    posts = setting.of_posts(6)
    samples = [setting.texts(SAMPLES, 2, setting.longest // 4, seed) for seed in range(len(posts))]
    return AlignedPolicy(t5.config, (max(map(len, posts)), setting.longest), t5), posts, samples


def gradients(model, posts, samples, device: str, precision: str):
    """Log-probabilities, and the gradients of a weighted sum of them, on the CPU."""
    model = copy.deepcopy(model).to(device)
    weights = torch.linspace(-1, 1, SAMPLES * len(posts), device=device)
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
        found = model(posts, samples)
        (weights * found).mean().backward()
    return found.detach().float().cpu(), [each.grad.float().cpu() for each in model.parameters()]


def log_probabilities(setting: Setting) -> Iterator[Finding]:
    """Log-probabilities of samples and their gradients on the GPU against the CPU's, and in
    bfloat16 against single precision; the divergence of a policy from itself.
    """
    for version in ("v1.0", "v1.1"):
        model, posts, samples = policy_and_samples(setting, version)
        likely, expected = gradients(model, posts, samples, "cpu", "fp32")
        with arithmetic_of(setting):
            ours, found = gradients(model, posts, samples, setting.device, "fp32")
            half, rough = gradients(model, posts, samples, setting.device, "bf16")
            there = copy.deepcopy(model).to(setting.device)
            with torch.no_grad():
                none = kl_divergence(there.forcing(), there.frozen().forcing(), posts, samples)
        tokens = np.mean([len(ids) for own in samples for ids in own])
        off = (ours - likely).abs().max() / tokens
        yield at_most(f"{version}: log-probabilities, a token, fp32", off, 1e-4)
        yield at_most(f"{version}: gradients, fp32", distance(found, expected), FP32_GRADIENT)
        off = (half - ours).abs().mean() / tokens
        yield at_most(f"{version}: log-probabilities, a token, bf16", off, 0.05)
        yield at_most(f"{version}: gradients, bf16", distance(rough, found), BF16_GRADIENT)
        yield at_most(f"{version}: divergence from itself", none.abs().max(), 1e-3, "nats")


def steps(setting: Setting) -> Iterator[Finding]:
    """Some steps of RLHF at base size, with one reward model: seconds of a step, and whether the
    log makes sense.
    """
    posts = setting.of_posts(2 * setting.posts)
    t5 = new_t5(setting.shape("base"), setting.vocabulary, 0).eval()
    longest = max(map(len, posts)), setting.longest // 2
    policy = AlignedPolicy(t5.config, longest, t5)
    sft_policy = policy.frozen().to(setting.device)
    scorer = Scorer(
        new_reward_model(setting.shape("base"), setting.vocabulary).to(setting.device).eval(),
        longest,
    )
    times = []

    def reward(chosen, samples):
        times.append(time.monotonic())
        texts = [[np.where(ids == PAD, UNK, ids) for ids in own] for own in samples]
        return np.stack(scorer(chosen, texts))[..., 0]

    recipe = Recipe(
        steps=2 + 2 * setting.repeats,
        batch=setting.posts,
        learning_rate=1e-4,
        warmup=0,
        dropout=0.0,
        weight_decay=0.0,
        precision="bf16" if setting.gpu else "fp32",
    )
    objective = rloo(policy, sft_policy, reward, posts, recipe.batch, SAMPLES, 0.1, 0, {})
    with tempfile.TemporaryDirectory() as folder, arithmetic_of(setting):
        _, rows = train(policy, objective, recipe, 0, Path(folder), 1e9)
    yield median("a step", list(np.diff(times[1:])), "s")
    yield at_most("divergence before the first update", abs(rows[0]["kl"]), 0.05, "nats")
    yield Finding("divergence at the last", rows[-1]["kl"], "nats")
    worst = min(row["kl"] for row in rows)
    yield at_most("divergence below 0", max(0.0, -worst), 0.05, "nats")
    yield setting.peak_memory()


PARTS = {"rlhf, log-probabilities": (log_probabilities, 60), "rlhf, steps": (steps, 60)}
