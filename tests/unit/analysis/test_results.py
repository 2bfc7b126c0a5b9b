"""Grids that lack something, and artifacts that are damaged."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from fake_results import DESIGN, EVALUATOR, make_results, run

from underspec.errors import ArtifactError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    make_results(folder, DESIGN)
    return folder


@pytest.fixture(scope="module")
def tables(folder):
    return run(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"gold": False},
        {"finetune_seeds": [0]},
        {"pretrain_seeds": [0]},
        {"grid": "full", "finetune_seeds": [0, 1, 2]},
        {"aggregators": ["min"], "scales": ["small"]},
        {"best_of_n": [1, 2]},
        {"pretrain_seeds": [0], "finetune_seeds": [0], "best_of_n": [1]},
    ],
    ids=str,
)
def test_what_a_grid_lacks_is_absent(tmp_path, change):
    design = DESIGN | change
    gold = design.pop("gold", True)
    make_results(tmp_path, design, gold)
    made = run(tmp_path, design, gold=gold)
    assert ("gold" in made) == gold
    several_finetuning_seeds = len(design["finetune_seeds"]) > 1
    several_pretraining_seeds = len(design["pretrain_seeds"]) > 1
    expected = {"single"}
    expected |= {"finetune"} if several_finetuning_seeds else set()
    expected |= {"pretrain"} if several_pretraining_seeds else set()
    assert set(made["figure4"]["ensemble"]) == expected
    judges = set(made["figure1"]["judge"])
    assert ("same pretraining seed" in judges) == several_finetuning_seeds
    assert ("other pretraining seed" in judges) == several_pretraining_seeds
    assert not made["figure4"].isna().any(axis=None)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def put_nan(path):
    pd.read_parquet(path).assign(reward=np.nan).to_parquet(path)


def drop_column(path):
    table = pd.read_parquet(path)
    table.drop(columns=table.columns[-1]).to_parquet(path)


def rename_posts(path):
    table = pd.read_parquet(path)
    table["post_id"] = "other " + table["post_id"]
    table.to_parquet(path)


def drop_rows(path):
    pd.read_parquet(path).iloc[3:].to_parquet(path)


def remove(path):
    path.unlink()


def spoil_json(path):
    path.write_text('{"scale": ')


def drop_key(path):
    metrics = json.loads(path.read_text())
    path.write_text(json.dumps({key: metrics[key] for key in metrics if key != "accuracy"}))


def with_metrics(**changes):
    def change(path):
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    change.__name__ = str(changes)
    return change


def key_twice(path):
    path.write_text(path.read_text().rstrip()[:-1] + ', "accuracy": 0.9}')


def list_for_a_map(path):
    path.write_text("[1]")


def with_column(**changes):
    def change(path):
        table = pd.read_parquet(path)
        columns = {name: value(table) for name, value in changes.items()}
        table.assign(**columns).to_parquet(path)

    change.__name__ = f"other {', '.join(changes)}"
    return change


def row_twice(path):
    table = pd.read_parquet(path)
    pd.concat([table, table[:1]]).to_parquet(path)


DOMAIN = {"texts": 50, "correlation": 0.4, "people": 0.9, "learned": True}
IMPOSSIBLE = [
    *({"accuracy": value} for value in ("high", None, float("nan"), 1.7, -0.1, True)),
    *({"parameters": value} for value in ("41k", 0, 1.5)),
    {"pairs": 0},
    {"judgements": 50},  # without their reliability
    {"judgements": 50, "ece": 0.1, "bins": []},
    {"judgements": 50, "ece": 0.1, "bins": [{"count": 50, "probability": 1.1, "share": 0.5}]},
    {"ratings": 50},  # without the domains
    {"ratings": 50, "domains": {}},
    {"ratings": 50, "domains": {"films": DOMAIN | {"correlation": 1.1}}},
    {"ratings": 50, "domains": {"films": DOMAIN | {"people": float("nan")}}},
    {"ratings": 50, "domains": {"films": DOMAIN | {"learned": 1}}},
    {"scale": 7},
]
OF_ANOTHER_KIND = [
    with_column(reward=lambda t: t.reward.astype(str)),
    with_column(reward=lambda t: t.reward > 0),
    with_column(reward=lambda t: t.reward.astype(float) * 1e300),
    with_column(sample_index=lambda t: t.sample_index + 0.5),
    with_column(sample_index=lambda t: t.sample_index.astype(str)),
    with_column(sample_index=lambda t: t.sample_index.astype(int) + 2**40),
    with_column(post_id=lambda t: range(len(t))),
]


SCORE = "scores/large/pretrain1-finetune0.parquet"
CHOICE = "rerank/small/finetune-pretrain0-min.parquet"
METRICS = "reward_models/large/pretrain2-finetune0/metrics.json"
TABLE_DAMAGES = (truncate, drop_column, rename_posts, drop_rows, remove)
EVALUATOR_SCORE = f"scores/{EVALUATOR}.parquet"
EVALUATOR_METRICS = f"reward_models/{EVALUATOR}/metrics.json"
DAMAGED = [
    *itertools.product((SCORE, CHOICE, EVALUATOR_SCORE), (*TABLE_DAMAGES, put_nan)),
    *itertools.product(("samples/best_of_n.parquet",), (truncate, drop_column, drop_rows, remove)),
    *itertools.product(
        (METRICS, EVALUATOR_METRICS),
        (spoil_json, drop_key, remove),
    ),
    *itertools.product((METRICS, EVALUATOR_METRICS), (key_twice, list_for_a_map)),
    *((METRICS, with_metrics(**changes)) for changes in IMPOSSIBLE),
    (METRICS, with_metrics(scale="small")),  # of another scale
    *((SCORE, damage) for damage in (*OF_ANOTHER_KIND, row_twice)),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGED)
def test_damaged_artifacts_are_named_and_overwrite_nothing(folder, tables, name, damage):
    path = folder / name
    intact = path.read_bytes()
    before = {file: file.read_bytes() for file in (folder / "tables").iterdir()}
    try:
        damage(path)
        with pytest.raises(ArtifactError) as error:
            run(folder)
    finally:
        path.write_bytes(intact)
    message = str(error.value)
    assert str(path) in message and "\n" not in message
    assert {file: file.read_bytes() for file in (folder / "tables").iterdir()} == before


@pytest.mark.parametrize("text", ["", "scale,ensemble\nbase,single\n", None])
def test_damaged_published_table(folder, tmp_path, text):
    path = tmp_path / "table1.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ArtifactError, match=r"table1\.csv: not the published Table 1"):
        run(folder, published=path)


def test_tables_are_repeatable(folder, tables):
    before = {file: file.read_bytes() for file in (folder / "tables").iterdir()}
    run(folder)
    assert {file: file.read_bytes() for file in (folder / "tables").iterdir()} == before
