"""REINFORCE with a leave-one-out baseline (RLOO; Kool et al., 2019; Ahmadian et al., 2402.14740).

It maximises E[R(x, y)] - coefficient * KL(policy || SFT policy), the divergence in nats a sample.
The paper used PPO: the same objective, with a critic. (RLOO is our choice.) Each step draws a few
samples of each post from the policy as it is, and makes one update.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from underspec.alignment import rollouts
from underspec.alignment.policy import AlignedPolicy, Samples, kl_divergence, log_probs
from underspec.random_streams import ROLLOUTS, examples, stream_seed
from underspec.training.loop import Batch, Objective
from underspec.training.objectives import digest

LOGGED = 25  # rows: the exact divergence takes a quarter of a step

# Of posts (token ids) and their samples: (posts, samples).
Reward = Callable[[list[np.ndarray], Samples], np.ndarray]


def rloo(
    policy: AlignedPolicy,
    sft_policy: AlignedPolicy,
    reward: Reward,
    posts: list[np.ndarray],
    batch: int,
    samples: int,
    coefficient: float,
    seed: int,
    identity: dict,
) -> Objective:
    """The objective of `policy`, which starts as a copy of `sft_policy`.

    A row is a post (token ids) with `samples` samples, at least two. The samples are a function of
    the policy's weights, the seed, the step and the row. `identity` says what the reward is, so
    that a run resumes only with the same.
    """
    with torch.no_grad():
        reference = sft_policy.forcing()

    @torch.no_grad()
    def make(step: int, rows: range) -> Batch:
        chosen = [posts[i] for i in examples(seed, len(posts), batch, step, rows)]
        drawn, own = rollouts.draw(
            policy.t5,
            [str(row) for row in rows],
            chosen,
            samples,
            policy.longest,
            stream_seed(seed, ROLLOUTS, step),
        )
        rewards = reward(chosen, drawn)
        sft = log_probs(reference, chosen, drawn).view(len(rows), -1).cpu().numpy()
        advantages = leave_one_out(rewards - coefficient * (own - sft))
        return {
            "posts": chosen,
            "samples": drawn,
            "advantages": torch.from_numpy(advantages.astype(np.float32)),
            "rewards": torch.from_numpy(rewards),
        }

    def loss(model: AlignedPolicy, batch: Batch) -> Tensor:
        return -(batch["advantages"].flatten() * model(batch["posts"], batch["samples"])).sum()

    def terms(batch: Batch) -> int:
        return batch["advantages"].numel()

    @torch.no_grad()
    def measures(batch: Batch) -> dict[str, float]:
        drawn = batch["samples"]
        divergence = kl_divergence(policy.forcing(), reference, batch["posts"], drawn)
        return {
            "reward": float(batch["rewards"].sum()),
            "kl": float(divergence.sum()),
            "tokens": sum(len(ids) for own in drawn for ids in own),
            "truncated": int(rollouts.truncated(drawn).sum()),
            "empty": sum(len(ids) == 1 for own in drawn for ids in own),
            "distinct": sum(len({ids.tobytes() for ids in own}) for own in drawn),
        }

    settings = {"data": digest(posts), "samples": samples, "coefficient": coefficient} | identity
    return SampledTogether(make, loss, terms, settings, measures, LOGGED)


class SampledTogether(Objective):
    """An objective whose micro-batches are drawn and scored together: only the update, which keeps
    states for the gradient, needs them small."""

    def batches(self, step: int, micro_batches: list[range]) -> list[Batch]:
        first = micro_batches[0].start
        together = self.batch(step, range(first, micro_batches[-1].stop))
        return [
            {name: each[rows.start - first : rows.stop - first] for name, each in together.items()}
            for rows in micro_batches
        ]


def leave_one_out(rewards: np.ndarray) -> np.ndarray:
    """Each reward (posts, samples) minus the mean of the post's other samples."""
    others = rewards.sum(axis=1, keepdims=True) - rewards
    return rewards - others / (rewards.shape[1] - 1)
