"""Sampling and scoring against the standard tools: same weights, posts and lengths, interleaved.

    python tests/benchmarks/best_of_n.py                          on one core, some twenty minutes
    python tests/benchmarks/best_of_n.py --sizes d64 --repeats 1  a first look
    python tests/benchmarks/best_of_n.py --instructions avx2      as on a CPU without AVX-512

Weights are random. So samples hardly ever end by themselves (setting `full`), unless the embedding
of the end-of-sequence token is scaled: then they end early and late, as a policy's do (setting
`ending`). Rates are per CPU-second; the end of a sample counts as a token.
`generate` and CTranslate2 do what their documentation says for many samples of a prompt; `per pair`
encodes the post once for each candidate. Freed memory is kept for all alike (underspec.allocator).
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import tokenizers  # noqa: E402
import torch  # noqa: E402
from tokenizers import models as tokenizer_models  # noqa: E402
from tokenizers import pre_tokenizers  # noqa: E402
from transformers import PreTrainedTokenizerFast, T5ForConditionalGeneration  # noqa: E402

from underspec.allocator import keep_freed_memory  # noqa: E402
from underspec.data.tokenization import EOS, PAD, pad  # noqa: E402
from underspec.inference import sampling  # noqa: E402
from underspec.inference.sampling import draw_samples  # noqa: E402
from underspec.inference.scoring import score  # noqa: E402
from underspec.models.reward_model import RewardModel  # noqa: E402
from underspec.models.t5 import new_t5, t5_config  # noqa: E402

NAMES = ("d_model", "d_ff", "d_kv", "num_heads", "num_layers")
# Shape, vocabulary, posts, tokens that a sample has at most, and by how much the embedding of the
# end is scaled so that a sample has some 17 tokens in the mean (None: left out).
SIZES = {
    "d64": ((64, 256, 16, 4, 2), 2_048, 16, 48, 4.5),  # the vocabulary of experiments/debian.yaml
    "d128": ((128, 512, 32, 4, 2), 2_048, 16, 48, None),
    "d256": ((256, 1024, 64, 4, 4), 2_048, 8, 48, None),
    "d64, 32k": ((64, 256, 16, 4, 2), 32_128, 8, 32, None),  # T5's vocabulary
    "small": ((512, 2048, 64, 8, 6), 32_128, 8, 12, None),  # T5-small
}
SCORED = ("d64", "d128", "d256", "small")  # a vocabulary costs them nothing
SAMPLES = 64
POST_TOKENS = 256  # half to three halves of it
AT_ONCE = {"generate": 8, "CTranslate2": 2}  # posts a batch: what is best for each on a CPU
OURS = "underspec"
# Each library's switch. MKL ignores its own on CPUs that are not Intel's.
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "DNNL_MAX_CPU_ISA": "AVX2",
    "CT2_FORCE_CPU_ISA": "AVX2",
}


def cpu() -> str:
    """The processor's name, as Linux gives it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def posts_of(count: int, tokens: int, vocabulary: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    lengths = rng.integers(tokens // 2, tokens * 3 // 2, count)
    return [np.append(rng.integers(3, vocabulary, length - 1), EOS) for length in lengths]


def interleaved(systems: dict[str, Callable[[int], int]], repeats: int) -> Iterator[dict]:
    """Each system in turn, so often; a system takes a seed and says how much it has done."""
    for repeat in range(-1, repeats):
        for name, system in systems.items():
            began = time.process_time()
            done = system(repeat + 1)
            if repeat >= 0:  # the first round warms up
                seconds = time.process_time() - began
                yield {"system": name, "repeat": repeat, "done": done, "seconds": seconds}


def samplers(size: str, setting: str) -> dict:
    """Draw samples of all posts: seed -> number of tokens."""
    shape, vocabulary, count, longest, ending = SIZES[size]
    policy = new_t5(dict(zip(NAMES, shape, strict=True)), vocabulary, 0).eval()
    if setting == "ending":
        count *= 4  # as in a real run, most of the time is not spent on the last few samples
        with torch.no_grad():
            policy.shared.weight[EOS] *= ending
    posts = posts_of(count, POST_TOKENS, vocabulary)
    words = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>"])}
    words |= {f"w{i}": i for i in range(3, vocabulary)}
    tokenizer = tokenizers.Tokenizer(tokenizer_models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = list(words)
    with tempfile.TemporaryDirectory() as folder:
        policy.save_pretrained(folder)
        library = T5ForConditionalGeneration.from_pretrained(folder).eval()
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
        ).save_pretrained(folder)
        translator = _translator(Path(folder))

    def batches(system: str) -> list[list[np.ndarray]]:
        size = AT_ONCE[system]
        return [posts[start : start + size] for start in range(0, count, size)]

    def ours(seed: int) -> int:
        ids = [str(i) for i in range(count)]
        texts = draw_samples(policy, tokenizer, ids, posts, SAMPLES, longest, seed).text
        return sum(len(text.partition("</s>")[0].split()) + ("</s>" in text) for text in texts)

    @torch.inference_mode()
    def generate(seed: int) -> int:
        torch.manual_seed(seed)
        tokens = 0
        for batch in batches("generate"):
            ids = torch.from_numpy(pad(batch))
            drawn = library.generate(
                input_ids=ids,
                attention_mask=(ids != PAD).long(),
                do_sample=True,
                top_k=0,
                num_return_sequences=SAMPLES,
                max_new_tokens=longest,
            )[:, 1:]
            tokens += int(((drawn == EOS).cumsum(1) - (drawn == EOS).long() == 0).sum())
        return tokens

    def ctranslate2(_: int) -> int:
        tokens = 0
        for batch in batches("CTranslate2"):
            results = translator.translate_batch(
                [[names[i] for i in post] for post in batch],
                beam_size=1,
                num_hypotheses=SAMPLES,
                sampling_topk=0,
                max_decoding_length=longest,
                return_end_token=True,
            )
            tokens += sum(len(text) for result in results for text in result.hypotheses)
        return tokens

    return {OURS: ours, "generate": generate} | ({"CTranslate2": ctranslate2} if translator else {})


def _translator(folder: Path):
    try:
        import ctranslate2
    except ImportError:
        print("CTranslate2 is not installed and is left out: pip install ctranslate2")
        return None
    ctranslate2.converters.TransformersConverter(str(folder)).convert(str(folder / "converted"))
    return ctranslate2.Translator(
        str(folder / "converted"),
        device="cpu",
        intra_threads=1,
        inter_threads=1,
        compute_type="float32",
    )


def scorers(size: str, post_tokens: int) -> dict:
    """Score 64 different candidates each of two posts: seed -> number of candidates."""
    shape, vocabulary, *_ = SIZES[size]
    torch.manual_seed(0)
    config = t5_config(dict(zip(NAMES, shape, strict=True)), vocabulary)
    model = RewardModel(config).eval()
    rng = np.random.default_rng(0)
    posts = [np.append(rng.integers(3, vocabulary, post_tokens - 1), EOS) for _ in range(2)]
    candidates = [
        [np.append(rng.integers(3, vocabulary, rng.integers(8, 40)), EOS) for _ in range(SAMPLES)]
        for _ in posts
    ]

    def ours(_: int) -> int:
        return sum(map(len, score(model, posts, candidates)))

    @torch.inference_mode()
    def per_pair(_: int) -> int:
        for post, texts in zip(posts, candidates, strict=True):
            copies = torch.from_numpy(np.stack([post] * SAMPLES))
            model(copies, torch.from_numpy(pad(texts)))
        return SAMPLES * len(posts)

    return {OURS: ours, "per pair": per_pair}


def growth() -> dict[tuple[str, int], Callable[[int], int]]:
    """Seconds against n, posts and reward models, the others held: what is varied, and how much."""
    shape = dict(zip(NAMES, SIZES["d64"][0], strict=True))
    policy = new_t5(shape, 2_048, 0).eval()
    reward_model = RewardModel(t5_config(shape, 2_048)).eval()
    words = {f"w{i}": i for i in range(2_048)}
    tokenizer = tokenizers.Tokenizer(tokenizer_models.WordLevel(words, unk_token="w2"))
    posts = posts_of(32, 128, 2_048)

    def best_of(n: int, posts: list[np.ndarray], reward_models: int) -> Callable[[int], int]:
        def run(seed: int) -> int:
            ids = [str(i) for i in range(len(posts))]
            draw_samples(policy, tokenizer, ids, posts, n, 24, seed)
            rng = np.random.default_rng(seed)
            texts = [[np.append(rng.integers(3, 2_048, 23), EOS) for _ in range(n)] for _ in posts]
            for _ in range(reward_models):
                score(reward_model, posts, texts)
            return 1

        return run

    return (
        {("n", n): best_of(n, posts[:8], 4) for n in (1, 4, 16, 64, 256)}
        | {("posts", count): best_of(64, posts[:count], 4) for count in (2, 8, 32)}
        | {("reward models", count): best_of(64, posts[:8], count) for count in (1, 4, 16)}
    )


def ratios(table: pd.DataFrame) -> pd.DataFrame:
    """How many times as fast as each other system ours is: median, lowest and highest repeat."""
    rate = table.done / table.seconds
    keys = ["part", "size", "setting", "post_tokens"]
    wide = table.assign(rate=rate).pivot(index=[*keys, "repeat"], columns="system", values="rate")
    others = wide.columns.drop(OURS)
    times = wide[others].rdiv(wide[OURS], axis=0).melt(ignore_index=False, value_name="times")
    return (
        times.dropna()
        .groupby([*keys, "system"], sort=False)
        .times.agg(["median", "min", "max"])
        .join(wide[OURS].groupby(keys).median().rename("ours, a second"))
    )


def plot(table: pd.DataFrame, grown: pd.DataFrame, path: Path) -> None:
    """Rates by size and system, and how seconds grow."""
    import matplotlib.pyplot as plt

    colours = {OURS: "#1b6ca8", "CTranslate2": "#8da0b3", "generate": "#c4cdd6"}
    colours["per pair"] = colours["generate"]
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    for axes, part, title, unit in (
        (left, "sampler", "64 samples a post", "tokens a CPU-second"),
        (middle, "scorer", "64 candidates a post", "candidates a CPU-second"),
    ):
        chosen = table[(table.part == part) & table.setting.isin(["full", "scorer"])]
        label = chosen["size"] + "\n" + chosen.post_tokens.astype(str)
        rates = (
            chosen.assign(rate=chosen.done / chosen.seconds, label=label)
            .groupby(["label", "system"], sort=False)
            .rate.median()
            .unstack()
        )
        rates.plot.bar(ax=axes, logy=True, rot=0, color=[colours[name] for name in rates])
        axes.set(title=title, xlabel="size, and tokens a post", ylabel=unit)
        axes.legend(title="")
    for varied, points in grown.groupby("varied", sort=False):
        right.plot(points.value, points.seconds, marker="o", label=varied)
    right.set(xscale="log", yscale="log", title="How the cost grows", ylabel="CPU-seconds")
    right.set_xlabel("varied; the others: n = 64, 8 posts, 4 models")
    right.legend(loc="upper left")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--instructions", choices=["all", "avx2"], default="all", help="that all systems may use"
    )
    parser.add_argument("--output", type=Path, help="a folder for the table and the plot")
    asked = parser.parse_args()
    if asked.instructions == "avx2" and os.environ.get("ATEN_CPU_CAPABILITY") != "avx2":
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | AVX2)
    machine = {"cpu": cpu(), "instructions": torch.backends.cpu.get_cpu_capability()}
    print(*machine.values(), flush=True)
    keep_freed_memory()
    torch.set_num_threads(1)
    sampling.log.setLevel("ERROR")
    rows = []
    parts = [("sampler", size, "full", POST_TOKENS) for size in asked.sizes]
    parts += [("sampler", size, "ending", POST_TOKENS) for size in asked.sizes if SIZES[size][-1]]
    scored = [size for size in asked.sizes if size in SCORED]
    parts += [("scorer", size, "scorer", tokens) for size in scored for tokens in (256, 512)]
    for part, size, setting, tokens in parts:
        systems = samplers(size, setting) if part == "sampler" else scorers(size, tokens)
        about = machine | {"part": part, "size": size, "setting": setting, "post_tokens": tokens}
        measured = [about | row for row in interleaved(systems, asked.repeats)]
        rows += measured
        print(ratios(pd.DataFrame(measured)).round(2).to_string(), flush=True)
    table = pd.DataFrame(rows)
    if asked.output:
        asked.output.mkdir(parents=True, exist_ok=True)
        name = "best_of_n.csv" if asked.instructions == "all" else "best_of_n-avx2.csv"
        table.to_csv(asked.output / name, index=False)
    if asked.instructions == "avx2":
        return
    grown = pd.DataFrame(interleaved(growth(), asked.repeats))
    grown[["varied", "value"]] = grown.pop("system").tolist()
    grown = grown.groupby(["varied", "value"], sort=False).seconds.median().reset_index()
    print(grown.round(3).to_string(index=False))
    if asked.output:
        grown.to_csv(asked.output / "growth.csv", index=False)
        plot(table, grown, asked.output / "best_of_n.svg")


if __name__ == "__main__":
    main()
