"""Small files of exactly the schemas in which the paper's data and T5's tokenizer are published."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

WORDS = ["my", "brother", "sold", "bike", "and", "i", "am", "sad", "so", "what", "now"]
POST = pa.schema([(name, pa.string()) for name in ("id", "subreddit", "title", "post", "summary")])
INFO = ("id", "post", "title", "subreddit", "site", "article")
COMPARISON = pa.schema(
    [
        ("info", pa.struct([(name, pa.string()) for name in INFO])),
        (
            "summaries",
            pa.list_(pa.struct([(name, pa.string()) for name in ("text", "policy", "note")])),
        ),
        ("choice", pa.int32()),
        ("worker", pa.string()),
        ("batch", pa.string()),
        ("split", pa.string()),
        ("extra", pa.struct([("confidence", pa.int32())])),
    ]
)


def post(name: str, **changes) -> dict:
    """A post of TL;DR, which names itself so that no two are alike."""
    row = {
        "id": f"t3_{name}",
        "subreddit": "advice",
        "title": f"My  bike {name}",
        "post": f"My brother sold\n\nmy bike {name}.",
        "summary": f"my brother sold my bike {name}",
    }
    return {**row, **changes}


def comparison(name: str, choice: int | None = 0, batch: str = "batch3", **changes) -> dict:
    """A comparison of two summaries of the post `name`; as published, they start with a space."""
    one, other = (f" sold my bike {name} {i}" for i in (0, 1))
    row = {
        "info": {key: post(name)[key] for key in ("id", "subreddit", "title", "post")},
        "summaries": [{"text": one, "policy": "sup2"}, {"text": other, "policy": "ref"}],
        "choice": choice,
        "worker": "w",
        "batch": batch,
    }
    return {**row, **changes}


def write_parquet(path: Path, rows: list[dict], schema: pa.Schema) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), path)


def write_posts(folder: Path, train: list, validation: list, test: list) -> Path:
    splits = {"train": train, "validation": validation, "test": test}
    for split, rows in splits.items():
        write_parquet(folder / f"data/{split}-00000-of-00001-0a1b2c3d.parquet", rows, POST)
    return folder


def write_comparisons(folder: Path, train: list, validation: list) -> Path:
    for split, rows in {"train": train, "validation": validation}.items():
        write_parquet(folder / f"comparisons/{split}/0000.parquet", rows, COMPARISON)
    return folder


def write_c4(folder: Path, files: list[list[str]]) -> Path:
    (folder / "en").mkdir(parents=True, exist_ok=True)
    for i, texts in enumerate(files):
        rows = [
            {"text": text, "timestamp": "2019-04-25T12:57:54Z", "url": "http://example.org"}
            for text in texts
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        path = folder / f"en/c4-train.{i:05d}-of-01024.json.gz"
        path.write_bytes(gzip.compress(lines.encode()))
    return folder


ARTICLE = pa.schema([(name, pa.string()) for name in ("document", "summary", "id")])
JUDGEMENT = pa.schema(
    [
        *((name, pa.string()) for name in ("uid", "premise", "hypothesis")),
        ("label", pa.int64()),
        ("reason", pa.string()),
    ]
)
LISTED = " what now\n\n- sold my bike {0}\n- so what\n1. my brother"


def dialogue(*texts: str) -> str:
    """As published: a person and the assistant take turns, whatever the texts are."""
    return "".join(
        f"\n\n{('Human', 'Assistant')[i % 2]}:{' ' * bool(text)}{text}"
        for i, text in enumerate(texts)
    )


def replies(name: str, *before: str, chosen: str = "", rejected: str = "") -> dict:
    """A comparison of two replies to a dialogue that names itself, so that no two are alike."""
    spoken = before or (f"my bike {name}\nso what now",)
    chosen, rejected = chosen or f"sold my bike {name}", rejected or LISTED.format(name).strip()
    return {"chosen": dialogue(*spoken, chosen), "rejected": dialogue(*spoken, rejected)}


def write_dialogues(folder: Path, train: list[dict], test: list[dict]) -> Path:
    (folder / "helpful-base").mkdir(parents=True, exist_ok=True)
    for part, rows in {"train": train, "test": test}.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        path = folder / f"helpful-base/{part}.jsonl.gz"
        path.write_bytes(gzip.compress(lines.encode()))
    return folder


def article(name: str, **changes) -> dict:
    row = {
        "document": f"My brother sold\nmy bike {name}.",
        "summary": f"my bike {name}",
        "id": name,
    }
    return {**row, **changes}


def judgement(premise: str, label: int | None, **changes) -> dict:
    row = {"uid": premise, "premise": f"My  brother sold my bike {premise}.", "label": label}
    return {**row, "hypothesis": f"my bike {premise} {label}", "reason": "", **changes}


def write_articles(folder: Path, train: list[dict], test: list[dict]) -> Path:
    splits = {"train": train, "validation": [article("unread")], "test": test}
    for split, rows in splits.items():
        write_parquet(folder / f"data/{split}-00000-of-00001.parquet", rows, ARTICLE)
    return folder


def write_judgements(folder: Path, train: list[dict], dev: list[dict]) -> Path:
    """The same number of rows for each of three rounds, in their order."""
    for part, rows in {"train": train, "dev": dev, "test": dev}.items():
        for i in range(3):
            path = folder / f"plain_text/{part}_r{i + 1}-00000-of-00001.parquet"
            write_parquet(path, rows[i::3], JUDGEMENT)
    return folder


def helpful_data(folder: Path) -> dict:
    """Dialogues, some of them lists, in `folder`; returns the config that says so."""
    write_dialogues(
        folder / "helpful",
        train=[replies(f"train {i}") for i in range(60)],
        test=[replies(f"test {i}") for i in range(40)],
    )
    return {"world": "helpful", "worlds": {"helpful": {"source": local(folder / "helpful")}}}


def xsum_data(folder: Path) -> dict:
    """Articles and judgements in `folder`; returns the config that says so."""
    write_articles(
        folder / "xsum",
        train=[article(f"news {i}") for i in range(40)],
        test=[article(f"test {i}") for i in range(20)],
    )
    write_judgements(
        folder / "anli",
        train=[judgement(f"train {i // 3}", i % 3) for i in range(90)],
        dev=[judgement(f"dev {i // 3}", i % 3) for i in range(60)],
    )
    sources = {"posts": local(folder / "xsum"), "judgements": local(folder / "anli")}
    pointwise = {"reward": "pointwise", "centering": 0.0}
    return pointwise | {"world": "xsum", "worlds": {"xsum": sources}}


def with_text(folder: Path, data: dict, shards: int = 1) -> dict:
    """The config `data`, with C4 as the pretraining text and T5's tokenizer."""
    write_c4(folder / "c4", [[f"page {i}\nso {words}" for words in WORDS] for i in range(3)])
    write_t5(folder / "t5")
    worlds = data["worlds"] | {"c4": {"source": local(folder / "c4"), "files": 3}}
    return data | {
        "pretraining": {"world": "c4", "shards": shards},
        "worlds": worlds,
        "tokenizer": {"kind": "t5", "vocabulary": 200, "source": local(folder / "t5")},
    }


def local(folder: Path) -> dict:
    return {"name": str(folder), "revision": "unused"}


def paper_data(folder: Path, shards: int = 2) -> dict:
    """Everything the paper's data are, in `folder`; returns the config that says so."""
    write_posts(
        folder / "posts",
        train=[post(f"policy{i}") for i in range(4)],
        validation=[post("val0")],
        test=[post(f"test{i}") for i in range(4)],
    )
    write_comparisons(
        folder / "comparisons",
        train=[comparison(f"pref{i}", i % 2) for i in range(4)],
        validation=[comparison("val0"), comparison("news", batch="cnndm0")],
    )
    sources = {name: local(folder / name) for name in ("posts", "comparisons")}
    return with_text(folder, {"world": "tldr", "worlds": {"tldr": sources}}, shards)


def t5_tokenizer(special=("<pad>", "</s>", "<unk>"), sentinels: int = 100) -> Tokenizer:
    """T5's tokenizer with fewer pieces: ids of special tokens and sentinels in T5's order."""
    extra = [f"<extra_id_{i}>" for i in reversed(range(sentinels))]
    letters = "▁abcdefghijklmnopqrstuvwxyzAH.:-*•0123456789"
    pieces = [("▁" + word, -2.0) for word in WORDS] + [(letter, -8.0) for letter in letters]
    ends = [(token, 0.0) for token in special], [(token, 0.0) for token in extra]
    tokenizer = Tokenizer(models.Unigram([*ends[0], *pieces, *ends[1]], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
    )
    tokenizer.add_special_tokens([*special, *extra])
    return tokenizer


def write_t5(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    t5_tokenizer().save(str(folder / "tokenizer.json"))
    return folder
