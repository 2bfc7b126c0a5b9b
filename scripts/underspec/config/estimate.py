"""What an experiment costs before it is run: floating-point operations, GPU time, disk.

All numbers follow from the config. A training step is three forward passes (Kaplan et al., 2020).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from underspec.config.config import recipe
from underspec.config.sources import checkpoint_of, pretrains
from underspec.grid import reward_models
from underspec.models.operations import corrupted, forward, parameters

BYTES = 4  # a weight in single precision, as everything is written
# What a checkpoint holds a weight: itself, and AdamW's two moments; of Adafactor's there is a row
# and a column a matrix. There are two at a time, and a third while it is written.
CHECKPOINT_BYTES = {"adamw": 3 * 12, "adafactor": 3 * 4}
TOKEN_BYTES = 2
TEXT_BYTES = 2.5  # of text to a byte of its tokens
SCORE_BYTES = 12  # a sample's reward in Parquet, at most
SAMPLE_BYTES = 5  # a token of a sample in Parquet, at most


@dataclass(frozen=True)
class Stage:
    """Jobs of one stage and scale, all alike."""

    stage: str
    scale: str
    jobs: int
    operations: float  # a job
    kind: str  # of work: training, sampling or scoring, which use a GPU more or less well
    disk: float  # bytes that a job leaves
    scratch: float  # bytes that a job needs while it runs
    arithmetic: str  # what `operations` is made of

    def gpu_hours(self, tflops: float, efficiency: dict[str, float]) -> float:
        """Of all its jobs, on GPUs whose peak is so many TFLOP/s, used to this share."""
        seconds = self.operations / (tflops * 1e12 * efficiency[self.kind])
        return self.jobs * seconds / 3600


def stages(
    config: dict, posts: dict[str, int], pretraining_tokens: int | None = None
) -> Iterator[Stage]:
    """The stages that compute or store much. `posts` says how many each split has, about, and
    `pretraining_tokens` how long the pretraining text is, if that is known.

    Texts count as long as they may be, so that finetuning, sampling and scoring cost less.
    """
    vocabulary = config["tokenizer"]["vocabulary"]
    lengths = config["lengths"]["post"], config["lengths"]["summary"]
    size = {
        scale: parameters(model["shape"], vocabulary) for scale, model in config["models"].items()
    }
    trained = Counter(
        scale
        for scale, seed in pretrains(config)
        if checkpoint_of(config["pretrain"], scale, seed) is None
    )
    if trained and pretraining_tokens:
        shards = config["pretraining"]["shards"]
        disk = TOKEN_BYTES * pretraining_tokens / shards
        tokens = f"{pretraining_tokens:,} tokens, on CPUs"
        yield Stage("tokens", "", shards, 0.0, "training", disk, TEXT_BYTES * disk, tokens)
    for scale, jobs in trained.items():
        its_recipe = recipe(config, "models", scale, "pretrain")
        inputs, targets = corrupted(config["corruption"])
        each = forward(config["models"][scale]["shape"], vocabulary, inputs, targets)
        yield _training(
            "pretrain", scale, jobs, its_recipe, size[scale], each, f"inputs of {inputs} tokens"
        )
    scale = config["policy"]["scale"]
    shape = config["models"][scale]["shape"]
    its_recipe = recipe(config, "policy", "recipe")
    each = forward(shape, vocabulary, *lengths)
    yield _training("policy", scale, 1, its_recipe, size[scale], each, "posts")
    for split, samples in config["sampling"]["samples"].items():
        if split in posts:
            yield Stage(
                f"sample {split}",
                scale,
                1,
                posts[split] * forward(shape, vocabulary, *lengths, samples),
                "sampling",
                posts[split] * samples * lengths[1] * SAMPLE_BYTES,
                0,
                f"{posts[split]:,} posts x {samples} samples",
            )
    models = len(reward_models(config["grid"], config["pretrain_seeds"], config["finetune_seeds"]))
    judges = {scale: models for scale in config["scales"]}
    evaluator = config["evaluator"]["scale"]
    judges[evaluator] = judges.get(evaluator, 0) + 1
    for scale, jobs in judges.items():
        its_recipe = recipe(config, "models", scale, "reward_model")
        each = forward(config["models"][scale]["shape"], 0, *lengths, 2)
        yield _training("reward_model", scale, jobs, its_recipe, size[scale], each, "pairs")
    samples = config["sampling"]["samples"]["best_of_n"]
    for scale, count in judges.items():
        each = forward(config["models"][scale]["shape"], 0, *lengths, samples)
        yield Stage(
            "score",
            scale,
            1,
            count * posts["best_of_n"] * each,
            "scoring",
            count * posts["best_of_n"] * samples * SCORE_BYTES,
            0,
            f"{count} reward models x {posts['best_of_n']:,} posts x {samples} samples",
        )


def _training(
    stage: str, scale: str, jobs: int, its_recipe: dict, size: int, each: float, rows: str
) -> Stage:
    steps, batch = its_recipe["steps"], its_recipe["batch"]
    return Stage(
        stage,
        scale,
        jobs,
        3 * steps * batch * each,
        "training",
        BYTES * size,
        CHECKPOINT_BYTES[its_recipe["optimizer"]] * size,
        f"3 x {steps:,} steps x {batch} {rows} x {each:.3g}",
    )
