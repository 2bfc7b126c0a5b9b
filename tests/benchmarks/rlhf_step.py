"""A step of RLHF against the standard tools: same weights, posts and numbers, interleaved.

    python tests/benchmarks/rlhf_step.py            on one core, some minutes
    python tests/benchmarks/rlhf_step.py --repeats 2 --settings miniature

A step draws four samples of each of 32 posts, scores them with the ranker's reward models, finds
their log-probabilities under the SFT policy, and updates the policy (RLOO). The standard way does
what the libraries' documentation says: transformers' `generate`, a reward model that reads each
post once per sample, and teacher forcing with posts and samples padded to one length, for the
policy with its gradient and for the SFT policy. Both update with a learning rate of 0, so that
every step has the same weights. Weights are random; the embedding of the end-of-sequence token is
scaled so that samples end early and late, as a policy's do. Ratios are of CPU-seconds per step.
"""

import argparse
import logging
import sys
from pathlib import Path

import pandas as pd
import tokenizers
import torch
from best_of_n import NAMES, OURS, cpu, interleaved, posts_of
from transformers import T5ForConditionalGeneration

from underspec.alignment.policy import AlignedPolicy
from underspec.alignment.rewards import RankerReward
from underspec.alignment.rloo import leave_one_out, rloo
from underspec.allocator import keep_freed_memory
from underspec.data.tokenization import EOS, PAD, decode, encode, pad
from underspec.inference.scoring import Scorer
from underspec.models.reward_model import RewardModel
from underspec.models.t5 import new_t5, t5_config, use_fast_norms
from underspec.training.optimizers import OPTIMIZERS

POSTS, SAMPLES, COEFFICIENT = 32, 4, 0.1
LIBRARY = "transformers"
# Shapes of policy and reward models, number of these, vocabulary, mean tokens of a post, most
# tokens of a sample, and the scale of the embedding of the end.
SETTINGS = {
    "miniature": ((32, 64, 16, 2, 2), (16, 32, 8, 2, 1), 1, 300, 45, 39, 3.0),
    "miniature, five": ((32, 64, 16, 2, 2), (16, 32, 8, 2, 1), 5, 300, 45, 39, 3.0),
    "d64": ((64, 256, 16, 4, 2), (64, 256, 16, 4, 2), 1, 2_048, 128, 48, 4.5),
    "d64, five": ((64, 256, 16, 4, 2), (64, 256, 16, 4, 2), 5, 2_048, 128, 48, 4.5),
}


def systems(setting: str) -> dict:
    """Make a step: seed -> number of tokens drawn."""
    shape, reward_shape, members, vocabulary, post_tokens, longest, ending = SETTINGS[setting]
    policy = new_t5(dict(zip(NAMES, shape, strict=True)), vocabulary, 0).eval()
    with torch.no_grad():
        policy.shared.weight[EOS] *= ending
    reward_models = []
    for seed in range(members):
        torch.manual_seed(seed)
        config = t5_config(dict(zip(NAMES, reward_shape, strict=True)), vocabulary)
        reward_models.append(RewardModel(config).eval())
    posts = posts_of(POSTS, post_tokens, vocabulary)
    tokenizer = word_tokenizer(vocabulary)
    return {
        OURS: ours(policy, reward_models, posts, tokenizer, longest),
        LIBRARY: standard(policy, reward_models, posts, tokenizer, longest),
    }


def word_tokenizer(vocabulary: int) -> tokenizers.Tokenizer:
    words = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>"])}
    words |= {f"w{i}": i for i in range(3, vocabulary)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", EOS)]
    )
    made.add_special_tokens(["<pad>", "</s>"])
    return made


def ours(policy, reward_models, posts, tokenizer, longest):
    lengths = max(map(len, posts)), longest
    copied = new_like(policy)
    use_fast_norms(copied)
    aligned = AlignedPolicy(copied.config, lengths, copied)
    scorers = [Scorer(model, (lengths[0], longest + 1)) for model in reward_models]
    reward = RankerReward(scorers, lambda each: each.mean(axis=0), tokenizer, longest + 1)
    objective = rloo(aligned, aligned.frozen(), reward, posts, POSTS, SAMPLES, COEFFICIENT, 0, {})
    optimizer = OPTIMIZERS["adamw"](aligned.parameters(), 0.0, 0.0)

    def step(seed: int) -> int:
        batch = objective.batch(seed, range(POSTS))
        (objective.loss(aligned, batch) / objective.terms(batch)).backward()
        optimizer.step()
        optimizer.zero_grad()
        return sum(len(ids) for own in batch["samples"] for ids in own)

    return step


def new_like(policy: T5ForConditionalGeneration) -> T5ForConditionalGeneration:
    """A copy with transformers' own attention and norms."""
    config = type(policy.config).from_dict(policy.config.to_dict())
    copied = T5ForConditionalGeneration(config).eval()
    copied.load_state_dict(policy.state_dict())
    return copied


def standard(policy, reward_models, posts, tokenizer, longest):
    trained, reference = new_like(policy), new_like(policy)
    optimizer = torch.optim.AdamW(trained.parameters(), lr=0.0, weight_decay=0.0)
    every = torch.from_numpy(pad([post for post in posts for _ in range(SAMPLES)]))
    distinct = torch.from_numpy(pad(posts))

    def log_probs(model, tokens):
        logits = model(
            input_ids=every,
            attention_mask=(every != PAD).long(),
            decoder_input_ids=torch.nn.functional.pad(tokens[:, :-1], (1, 0), value=PAD),
        ).logits
        found = logits.log_softmax(-1).gather(-1, tokens[:, :, None])[..., 0]
        return (found * (tokens != PAD)).sum(1)

    def step(seed: int) -> int:
        torch.manual_seed(seed)
        with torch.inference_mode():
            tokens = trained.generate(
                input_ids=distinct,
                attention_mask=(distinct != PAD).long(),
                do_sample=True,
                top_k=0,
                num_return_sequences=SAMPLES,
                max_new_tokens=longest,
            )[:, 1:].clone()
            texts = decode(tokenizer, tokens.numpy())
            read = torch.from_numpy(pad(encode(tokenizer, texts, longest + 1)))
            rewards = sum(model(every, read)[:, 0] for model in reward_models) / len(reward_models)
        tokens = tokens.clone()  # outside of inference mode
        with torch.no_grad():
            reference_log_probs = log_probs(reference, tokens)
        own = log_probs(trained, tokens)
        divergence = (own.detach() - reference_log_probs).numpy()
        total = rewards.numpy() - COEFFICIENT * divergence
        advantages = leave_one_out(total.reshape(POSTS, SAMPLES)).ravel()
        (-(torch.from_numpy(advantages) * own).mean()).backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return int((tokens != PAD).sum())

    return step


def main(settings: list[str], repeats: int) -> pd.DataFrame:
    rows = []
    for setting in settings:
        found = pd.DataFrame(interleaved(systems(setting), repeats))
        by_repeat = found.pivot(index="repeat", columns="system", values="seconds")
        ratio = by_repeat[LIBRARY] / by_repeat[OURS]
        tokens = found.groupby("system").done.mean()
        rows.append(
            {
                "setting": setting,
                "seconds a step": by_repeat[OURS].median(),
                "tokens a sample": tokens[OURS] / POSTS / SAMPLES,
                "tokens a sample, transformers": tokens[LIBRARY] / POSTS / SAMPLES,
                "times faster": ratio.median(),
                "lowest": ratio.min(),
                "highest": ratio.max(),
            }
        )
        print(pd.DataFrame(rows[-1:]).to_string(index=False, float_format="%.3g"), flush=True)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--output", type=Path, help="folder for rlhf_step.csv")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)  # that texts are truncated: random tokens often are
    keep_freed_memory()
    print(f"{cpu()}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}")
    table = main(options.settings, options.repeats)
    if options.output:
        table.to_csv(options.output / "rlhf_step.csv", index=False, float_format="%.4g")
    sys.exit(0)
