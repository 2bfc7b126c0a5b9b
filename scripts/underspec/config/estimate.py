"""Estimates the cost of an experiment from its config: floating-point operations, GPU time, disk.

A training step counts as three forward passes (Kaplan et al., 2020).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from underspec.cheaper_ensembles import Warm, cheaper_ensembles, dropout_members, folders
from underspec.config.derived import aligned_rankers, every_ranker, recipe
from underspec.config.sources import (
    cells,
    checkpoint_of,
    finished_of,
    pretrained_checkpoints,
)
from underspec.grid import alignments, rankers, reward_models
from underspec.judging.comparisons import contests, judged_policies, judged_rankers
from underspec.judging.questions import ORDERS
from underspec.models.operations import corrupted, forward, forward_joined, parameters

BYTES = 4  # per weight; all weights are saved in single precision
# Per weight, a checkpoint has the weight and AdamW's two moments; Adafactor's are negligible (a row
# and a column per matrix). Two checkpoints are kept, and a third exists while it is written.
CHECKPOINT_BYTES = {"adamw": 3 * 12, "adafactor": 3 * 4}
TOKEN_BYTES = 2
TEXT_BYTES = 2.5  # bytes of text per byte of its tokens
# What a row of a reward model's batch is called, and how many candidates of its post it has.
ROWS = {"preference": ("pairs", 2), "pointwise": ("judgements", 1), "rating": ("ratings", 1)}
SCORE_BYTES = 12  # per reward in Parquet, at most
CHARACTERS = 4  # of English per token, about
SAMPLE_BYTES = 5  # per token of a sample in Parquet, at most


@dataclass(frozen=True)
class Stage:
    """The jobs of one stage at one scale, which all cost the same."""

    stage: str
    scale: str
    jobs: int
    operations: float  # per job
    kind: str  # training, sampling or scoring, which differ in GPU efficiency
    disk: float  # bytes of a job's output
    scratch: float  # additional bytes while a job runs
    arithmetic: str  # how `operations` is computed

    def gpu_hours(self, tflops: float, efficiency: dict[str, float]) -> float:
        """GPU hours of all jobs, given the GPU's peak in TFLOP/s and the share of it reached."""
        seconds = self.operations / (tflops * 1e12 * efficiency[self.kind])
        return self.jobs * seconds / 3600


def stages(
    config: dict, posts: dict[str, int], pretraining_tokens: int | None = None
) -> Iterator[Stage]:
    """The expensive stages, of scales whose size is known: T5s by their shape, others by
    estimate.sizes.

    `posts` has the rough number of posts per split, `pretraining_tokens` the length of the
    pretraining text, if it is known.

    All texts count with their maximum length, so the true cost of finetuning, sampling and scoring
    is lower.
    """
    vocabulary = config["tokenizer"]["vocabulary"]
    lengths = config["lengths"]["post"], config["lengths"]["summary"]
    size = sizes(config)
    trained = Counter(
        scale
        for scale, seed in pretrained_checkpoints(config)
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
    rows, candidates = ROWS[config["reward"]]
    for split, samples in config["sampling"]["samples"].items():
        if split == "best_of_n" or (split in posts and config["reward"] == "preference"):
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
    every = [(scale, cell) for scale, cell in cells(config) if scale in size]
    finished = Counter(
        scale for scale, cell in every if finished_of(config["reward_models"], scale, cell)
    )
    cheaper = cheaper_ensembles(
        config["cheaper_ensembles"], config["finetune_seeds"], config["ensemble_size"]
    )
    averages = [each for each in cheaper if isinstance(each, Warm)]
    members = sum(len(each.folders) for each in cheaper) - len(averages)
    passes = sum(each.passes for each in cheaper)
    scored = Counter(scale for scale, _ in every)
    finetuned = scored - finished
    for scale in [scale for scale in config["scales"] if scale in size]:
        finetuned[scale] += members
        scored[scale] += passes
    for scale, jobs in finished.items():
        copied = "copied; their accuracy on held-out examples is not counted"
        disk = BYTES * size[scale]
        yield Stage("import_reward_model", scale, jobs, 0.0, "scoring", disk, 0, copied)
    for scale, jobs in (+finetuned).items():
        its_recipe = recipe(config, "models", scale, "reward_model")
        each = _read(config, scale, candidates)
        yield _training("reward_model", scale, jobs, its_recipe, size[scale], each, rows)
    samples = config["sampling"]["samples"]["best_of_n"]
    for scale in [scale for scale in config["scales"] if scale in size and averages]:
        weights = f"weights of {len(averages[0].members)} reward models, read once"
        yield Stage("warm", scale, len(averages), 0.0, "scoring", BYTES * size[scale], 0, weights)
    for scale, count in scored.items():
        each = _read(config, scale, samples, scoring=True)
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
    yield from _rlhf(config, posts["best_of_n"], lengths, size[config["policy"]["scale"]])


def sizes(config: dict) -> dict[str, int]:
    """The number of parameters of each scale's models, where it is known."""
    vocabulary, given = config["tokenizer"]["vocabulary"], config["estimate"]["sizes"]
    shapes = {scale: model.get("shape") for scale, model in config["models"].items()}
    known = {scale: parameters(shape, vocabulary) for scale, shape in shapes.items() if shape}
    return known | {scale: size["body"] + size["embedding"] for scale, size in given.items()}


def _read(config: dict, scale: str, candidates: int, scoring: bool = False) -> float:
    """Operations of a reward model that reads a post with its candidates. In scoring, decoders read
    the post once; T5s always do, and encoders never.
    """
    lengths = config["lengths"]["post"], config["lengths"]["summary"]
    model = config["models"][scale]
    if model.get("shape"):
        return forward(model["shape"], 0, *lengths, candidates)
    shared = scoring and model["architecture"] == "decoder"
    return forward_joined(config["estimate"]["sizes"][scale], *lengths, candidates, shared)


def _rlhf(config: dict, posts: int, lengths: tuple[int, int], size: int) -> Iterator[Stage]:
    """The aligned policies, of `size` parameters, and what judges them on `posts` posts."""
    vocabulary, settings = config["tokenizer"]["vocabulary"], config["rlhf"]
    shapes = {scale: model.get("shape") for scale, model in config["models"].items()}
    known = sizes(config)
    its_recipe = recipe(config, "rlhf", "recipe")
    policies = len(settings["kl_coefficients"]) * len(settings["seeds"])
    policy = shapes[config["policy"]["scale"]]
    cells = reward_models(config["grid"], config["pretrain_seeds"], config["finetune_seeds"])
    of_grid = {model.name for model in cells}
    every = every_ranker(config)
    # Passes of a ranker's reward models, whose heads take none of their own.
    passes = {name: dropout_members(each) or len(folders(each)) for name, each in every.items()}
    k, fresh = settings["samples"], settings["evaluation_samples"]
    for scale, names in aligned_rankers(config).items():
        steps, batch = its_recipe["steps"], its_recipe["batch"]
        for count, number in Counter(passes[name] for name in names).items():
            # To sample, to find the divergence, and three passes to train.
            each = 5 * forward(policy, vocabulary, *lengths, k)
            each += count * forward(shapes[scale], 0, *lengths, k)
            yield Stage(
                "align",
                scale,
                number * policies,
                steps * batch * each,
                "training",
                BYTES * size,
                CHECKPOINT_BYTES[its_recipe["optimizer"]] * size,
                f"{steps:,} steps x {batch} posts x {k} samples, {count} reward models",
            )
        drawn = f"{policies} policies x {posts:,} posts x {fresh} samples"
        each = 3 * forward(policy, vocabulary, *lengths, fresh)  # twice more for the divergence
        disk = posts * policies * fresh * lengths[1] * SAMPLE_BYTES
        operations = posts * policies * each
        yield Stage("sample aligned", scale, len(names), operations, "sampling", disk, 0, drawn)
        beside = [0 if every[name].members[0].name in of_grid else passes[name] for name in names]
        for more, number in Counter(beside).items():
            count = len(cells) + more
            each = count * forward(shapes[scale], 0, *lengths, fresh)
            if config["evaluator"]["scale"] in known:
                each += _read(config, config["evaluator"]["scale"], fresh, scoring=True)
            disk = (count + 1) * posts * policies * fresh * SCORE_BYTES
            judged = f"{count} reward models and the evaluator x {drawn}"
            operations = posts * policies * each
            yield Stage("score aligned", scale, number, operations, "scoring", disk, 0, judged)


@dataclass(frozen=True)
class JudgeCost:
    """What a prompted judge is asked: questions, tokens of all prompts and of all answers, at most,
    because texts that are alike are not asked about, and few are as long as they may be."""

    questions: int
    prompt_tokens: int
    answer_tokens: int


def judge_cost(config: dict, posts: int, prompt: str) -> JudgeCost:
    """posts: how many best_of_n has; prompt: the template."""
    judge, lengths = config["judge"], config["lengths"]
    cells = reward_models(config["grid"], config["pretrain_seeds"], config["finetune_seeds"])
    every = rankers(cells, config["aggregators"], config["ensemble_size"])
    kinds = judged_rankers(every, judge["rankers"])
    pairs = len(config["scales"]) * sum(len(pairs) for _, _, pairs in contests(kinds))
    settings = config["rlhf"]["kl_coefficients"], config["rlhf"]["seeds"]
    for scale, names in aligned_rankers(config).items():
        pairs += len(judged_policies(alignments({scale: names}, *settings), every))
    questions = pairs * min(posts, judge["posts"]) * len(ORDERS) * judge["answers"]
    each = lengths["post"] + 2 * lengths["summary"] + len(prompt) // CHARACTERS
    return JudgeCost(questions, questions * each, questions * judge["max_tokens"])


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
