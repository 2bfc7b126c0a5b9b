"""A reward matrix from elsewhere comes back to the last bit, and what is wrong with it is named."""

import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rerank as rerank_adapter
from disagreement_tables import disagreement_tables
from evaluation_tables import evaluation_tables
from export_matrix import export_matrix
from import_matrix import import_matrix
from underspec.config.layers import read_config
from underspec.config.validation import validate
from underspec.errors import UserError
from underspec.grid import rankers, reward_models
from underspec.provenance import matrix_files
from underspec.provenance.bundle import bundled_config, contents, unpack
from underspec.provenance.matrix import to_bundle
from underspec.provenance.matrix_files import write_csv
from underspec.provenance.matrix_models import ensemble_size

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples/my_rewards"
FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
IDS = st.lists(TEXTS.filter(bool), min_size=2, max_size=3, unique=True)


def put(table, path):
    """Write a table in the format that its name asks for."""
    if path.suffix == ".csv":
        write_csv(table, path)
    elif path.suffix == ".jsonl":
        rows = table.to_dict("records")
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), path)


@pytest.fixture(scope="module")
def temporary(tmp_path_factory):
    return tmp_path_factory.mktemp("matrices")


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_every_bit_and_text_comes_back(temporary, data):
    folder = temporary / "mine"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    names, posts = data.draw(IDS, "names"), data.draw(IDS, "posts")
    names = [name for name in names if name != "evaluator"] + ["1"] * ("evaluator" in names)
    size = data.draw(st.integers(2, 3), "samples")
    number = len(posts) * size
    keys = pd.DataFrame(
        {"post_id": np.repeat(posts, size), "sample_index": np.tile(np.arange(size), len(posts))}
    )
    values = data.draw(st.lists(FLOATS, min_size=number, max_size=number), "values")
    rewards = {
        name: np.roll(np.array(values, np.float32), shift) for shift, name in enumerate(names)
    }
    texts = data.draw(st.lists(TEXTS, min_size=number, max_size=number), "texts")
    wide = keys.assign(**rewards) if not set(names) & set(keys) else None
    long = pd.concat([keys.assign(reward_model=name, reward=rewards[name]) for name in names])
    as_long = wide is None or "reward_model" in names or data.draw(st.booleans(), "long")
    shuffled = (long if as_long else wide).sample(frac=1, random_state=len(texts[0]))
    suffix = data.draw(st.sampled_from(["parquet", "csv", "jsonl"]), "format")
    put(shuffled, folder / f"rewards.{suffix}")
    about = pd.DataFrame({"name": names, "group": names, "member": names})
    put(about, folder / f"reward_models.{suffix}")
    put(keys.assign(text=texts), folder / f"samples.{suffix}")
    import_matrix(matrix=folder, output=temporary / "mine.zip")
    _, samples, scores, metrics = contents(temporary / "mine.zip")
    assert samples["text"].tolist() == texts
    assert samples["post_id"].tolist() == keys["post_id"].tolist()
    for name, reward in rewards.items():
        (score,) = (key for key, each in metrics.items() if each["name"] == name)
        assert (scores[score].view("u4") == reward.view("u4")).all()


def test_the_exported_bundle_gives_the_same_tables(tmp_path):
    """Of one scale of the shipped bundle, byte for byte."""
    shipped = ROOT / "bundles/miniature.zip"
    export_matrix(bundle=shipped, output=tmp_path / "again")
    import_matrix(matrix=tmp_path / "again", output=tmp_path / "again.zip")
    made = [tables(each, tmp_path / each.stem) for each in (shipped, tmp_path / "again.zip")]
    assert made[0] == made[1] and len(made[0]) == 7


def tables(bundle, folder):
    config = read_config(ROOT, given={"bundle": str(bundle)}) | {"scales": ["base"]}
    keys = ("grid", "pretrain_seeds", "finetune_seeds", "aggregators", "ensemble_size", "best_of_n")
    design = {key: config[key] for key in keys}
    models = reward_models(design["grid"], design["pretrain_seeds"], design["finetune_seeds"])
    evaluator = "xxl/pretrain16-finetune10"
    unpack(bundle, [*(f"base/{model.name}" for model in models), evaluator, "gold"], [], [], folder)
    every = rankers(models, design["aggregators"], design["ensemble_size"])
    rerank_adapter.rerank(
        scores=[folder / f"scores/base/{model.name}.parquet" for model in models],
        choices=[folder / f"rerank/base/{ranker.name}.parquet" for ranker in every],
        **design,
    )
    of_grid = {
        "samples": folder / "samples/best_of_n.parquet",
        "scores": folder / "scores",
        "choices": folder / "rerank",
        "reward_models": folder / "reward_models",
        "design": design | {"scales": ["base"]},
        "output": folder / "tables",
    }
    disagreement_tables(**of_grid)
    evaluation_tables(
        **of_grid,
        evaluator=folder / "reward_models" / evaluator,
        evaluator_scores=folder / f"scores/{evaluator}.parquet",
        gold_scores=folder / "scores/gold.parquet",
        published=ROOT / "reports/published/table1.csv",
    )
    return {path.name: path.read_bytes() for path in (folder / "tables").iterdir()}


@pytest.mark.parametrize("left_out", [(), ("samples", "evaluator", "config")], ids=len)
def test_a_matrix_from_elsewhere_comes_back_too(tmp_path, left_out):
    first, second = tmp_path / "my_rewards", tmp_path / "again/my_rewards"
    shutil.copytree(EXAMPLE, first)
    for path in first.iterdir():
        if path.stem in left_out:
            path.unlink()
    for folder, bundle in ((first, "first.zip"), (second, "second.zip")):
        import_matrix(matrix=folder, output=tmp_path / bundle)
        if folder == first:
            export_matrix(bundle=tmp_path / bundle, output=second)
    (*frames, scores, metrics), (*others, same, described) = (
        contents(tmp_path / bundle) for bundle in ("first.zip", "second.zip")
    )
    assert all(a.equals(b) for a, b in zip(frames, others, strict=True))
    assert metrics == described and scores.keys() == same.keys()
    assert all((scores[name] == same[name]).all() for name in scores)
    config, again = (bundled_config(tmp_path / f"{name}.zip") for name in ("first", "second"))
    assert config.items() <= again.items()


def test_the_example_is_what_its_script_makes(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("make_matrix", ROOT / "examples/make_matrix.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "FOLDER", tmp_path)
    script.main()
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_bytes() for path in EXAMPLE.glob("*.csv")}


def test_the_example_is_valid(tmp_path):
    import_matrix(matrix=EXAMPLE, output=tmp_path / "example.zip")
    config = validate(read_config(ROOT, given={"bundle": str(tmp_path / "example.zip")}))
    assert config["experiment"] == "my_rewards" and config["resamples"] == 500
    assert config["matrix"]["has"] == ["evaluator", "texts", "accuracy"]
    assert config["words"] == {"group": "base model", "member": "finetune"}
    assert config["grid"] == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [2, 0]]
    assert sum(path.stat().st_size for path in EXAMPLE.iterdir()) < 200_000


GOOD = {
    "rewards": "post_id,sample_index,a,b,c\np,0,1,2,3\np,1,2,3,4\nq,0,3,4,5\nq,1,4,5,6\n",
    "reward_models": "name,group,member\na,x,1\nb,x,2\nc,y,1\n",
}
LONG = "post_id,sample_index,reward_model,reward\n" + "".join(
    f"{post},{sample},{model},{sample}\n" for model in "abc" for post in "pq" for sample in "01"
)
JUDGED = "post_id,sample_index,reward\np,0,1\np,1,2\nq,0,3\nq,1,4\n"
SAMPLED = "post_id,sample_index,text,post\np,0,s,P\np,1,t,P\nq,0,u,Q\nq,1,v,Q\n"
FAULTS = [
    # table, its content (None: no such file), what the message says
    ("rewards", None, "has none of rewards.parquet, rewards.csv, rewards.jsonl; write one"),
    ("reward_models", None, "has none of reward_models.parquet"),
    ("rewards", "post_id,sample_index,a,b,c\n", "rewards.csv: has no rows; write"),
    ("rewards", "post_id,a,b,c\np,1,2,3\n", "rewards.csv: has no column sample_index; add it"),
    (
        "rewards",
        GOOD["rewards"] + "q,1,4,5,6\n",
        "row 5: the second with post_id q, sample_index 1",
    ),
    ("rewards", GOOD["rewards"].replace("q,1,4,5,6\n", ""), "post q has 1 samples and post p 2"),
    (
        "rewards",
        GOOD["rewards"].replace("q,1", "q,2"),
        "row 4: sample_index is 2, and post q",
    ),
    ("rewards", GOOD["rewards"].replace("p,0", "p,-1"), "row 1: sample_index is below 0; count"),
    ("rewards", GOOD["rewards"].replace("p,0", "p,x"), "row 1: sample_index is 'x'; write a whole"),
    (
        "rewards",
        GOOD["rewards"].replace("2,3,4", "2,,4"),
        "row 2: b is missing; write a number;",
    ),
    (
        "rewards",
        GOOD["rewards"].replace("2,3,4", "2,nan,4"),
        "row 2: b is not a finite number; score",
    ),
    ("rewards", GOOD["rewards"].replace("2,3,4", "2,1e60,4"), "row 2: b is not a finite number"),
    ("rewards", GOOD["rewards"].replace("2,3,4", "2,bad,4"), "row 2: b is 'bad'; write a number"),
    ("rewards", GOOD["rewards"].replace("2,3,4", "2,3"), "rewards.csv: not a whole CSV file"),
    ("rewards", GOOD["rewards"].replace("b,c", "b,d"), "column d is no reward model; add a row"),
    ("rewards", GOOD["rewards"].replace("b,c", "b,b"), "rewards.csv: has two columns b; remove"),
    ("rewards", GOOD["rewards"].replace("q,0", ",0"), "row 3: post_id is empty; fill it in"),
    ("rewards", "post_id,sample_index,a,b,c\np,0,1,2,3\np,1,2,3,4\n", "1 posts; at least 2"),
    ("rewards", "post_id,sample_index,a,b,c\np,0,1,2,3\nq,0,2,3,4\n", "1 samples a post; at least"),
    ("rewards", LONG.replace("q,1,b,1\n", ""), "b has no reward of sample 1 of post q; score"),
    ("rewards", LONG.replace("b,", "d,"), "row 5: d is not in reward_models; add it there"),
    ("rewards", "".join(LONG.splitlines(True)[:9]), "has no rewards by c; add them, or remove c"),
    (
        "rewards",
        LONG + "p,0,a,7\n",
        "row 13: the second with post_id p, sample_index 0, reward",
    ),
    ("reward_models", "name,member\na,1\nb,2\nc,1\n", "reward_models.csv: has no column group"),
    ("reward_models", "name,group\na,x\nb,x\nc,\n", "row 3: c has no group; say what it shares"),
    ("reward_models", "name,group\na,x\nb,x\nb,y\n", "row 3: the second with the name b; rename"),
    ("reward_models", "name,group\na,x\n,x\nc,y\n", "row 2: name is empty; fill it in"),
    ("reward_models", "name,group\na,x\nb,x\nc,x\nd,y\n", "has no column d, which is in reward_m"),
    (
        "reward_models",
        "name,group,member\na,x,1\nb,x,1\nc,y,1\n",
        "row 2: a is member 1 of group x too; rename one",
    ),
    (
        "reward_models",
        "name,group,member\na,x,1\nb,x,\nc,y,1\n",
        "row 2: b has no member; name it, or leave all empty",
    ),
    (
        "reward_models",
        "name,group,accuracy\na,x,0.5\nb,x,70\nc,y,0.6\n",
        "row 2: accuracy is 70; write a number from 0 to 1, or leave it empty",
    ),
    ("reward_models", "name,group,parameters\na,x,7B\nb,x,\nc,y,\n", "row 1: parameters is 7B;"),
    ("reward_models", "name,group,scale\na,x,s\nb,x,s\nc,y,t\n", "row 3: the only one of scale t"),
    ("reward_models", "name,group,scale\na,x,a b\nb,x,s\nc,y,s\n", "row 1: 'a b' cannot name a sc"),
    ("evaluator", JUDGED.replace("q,1,4\n", ""), "the evaluator has no reward of sample 1 of p"),
    ("evaluator", JUDGED + "r,0,1\n", "row 5: sample 0 of post r is not in"),
    ("gold", JUDGED.replace(",4", ",inf"), "gold.csv: row 4: reward is not a finite number"),
    ("samples", SAMPLED + "q,2,w,Q\np,2,w,P\n", "has no reward of sample 2 of post p"),
    ("samples", SAMPLED.replace("v,Q", "v,R"), "row 4: another post than in row 3; a post has one"),
    ("samples", SAMPLED.replace("text", "words"), "samples.csv: has no column text; add it"),
    ("samples", SAMPLED + "q,1,v,Q\n", "samples.csv: row 5: the second with post_id q"),
]


def write(folder, contents):
    folder.mkdir()
    for name, content in contents.items():
        if content is not None:
            (folder / f"{name}.csv").write_text(content)
    return folder


@pytest.mark.parametrize(("table", "content", "says"), FAULTS, ids=[fault[2] for fault in FAULTS])
def test_what_is_wrong_is_named_and_no_bundle_is_left(tmp_path, table, content, says):
    folder = write(tmp_path / "mine", GOOD | {table: content})
    with pytest.raises(UserError, match=re.escape(says)) as error:
        to_bundle(folder, tmp_path / "mine.zip")
    assert "\n" not in str(error.value) and str(folder) in str(error.value)
    assert not (tmp_path / "mine.zip").exists()


def test_files_that_are_no_tables_are_named(tmp_path):
    folder = write(tmp_path / "mine", GOOD)
    (folder / "rewards.parquet").write_text("no")
    with pytest.raises(UserError, match="rewards.csv: rewards.parquet is there too; keep one"):
        to_bundle(folder, tmp_path / "mine.zip")
    (folder / "rewards.csv").unlink()
    with pytest.raises(UserError, match="rewards.parquet: not a whole Parquet file"):
        to_bundle(folder, tmp_path / "mine.zip")
    (folder / "rewards.parquet").unlink()
    for line in ('{"post_id": "p"', "[1]"):
        (folder / "rewards.jsonl").write_text('{"post_id": "p", "sample_index": 0}\n' + line)
        with pytest.raises(UserError, match="rewards.jsonl: line 2: not JSON lines"):
            to_bundle(folder, tmp_path / "mine.zip")
    with pytest.raises(UserError, match="gone: no such folder; correct its path"):
        import_matrix(matrix=tmp_path / "gone", output=tmp_path / "mine.zip")


def config_of(tmp_path, models, **others):
    names = [line.split(",")[0] for line in models.splitlines()[1:]]
    names = [name for name in names if name != "evaluator"]
    rows = [f"{post},{i}," + ",".join("1" * len(names)) for post in "pq" for i in (0, 1)]
    rewards = "\n".join([f"post_id,sample_index,{','.join(names)}", *rows])
    folder = write(tmp_path / "mine", {"rewards": rewards, "reward_models": models} | others)
    to_bundle(folder, tmp_path / "mine.zip")
    validate(read_config(ROOT, given={"bundle": str(tmp_path / "mine.zip")}))
    return bundled_config(tmp_path / "mine.zip")


def test_whole_numbers_are_seeds_and_usual_grids_have_their_names(tmp_path):
    table = "name,group,member,scale\n" + "".join(
        f"{scale}{p}{f},{p},{f},{scale}\n" for scale in "st" for p in (7, 5) for f in (3, 1)
    )
    config = config_of(tmp_path, table)
    assert config["grid"] == "full" and config["scales"] == ["s", "t"]
    assert config["pretrain_seeds"] == [7, 5] and config["finetune_seeds"] == [3, 1]
    assert config["matrix"]["has"] == [] and config["newer_rankers"] == {"mbr": None}


def test_members_that_no_two_groups_share_are_numbered_within(tmp_path):
    table = "name,group,member\na,x,u\nb,y,v\nc,x,w\nd,z,k\n"
    config = config_of(tmp_path, table)
    assert config["grid"] == "workshop"  # two of x, one of y and of z
    assert config["pretrain_seeds"] == [0, 1, 2] and config["finetune_seeds"] == [0, 1]


@pytest.mark.parametrize("table", ["name,group\na,x\nb,x\n", "name,group\na,x\nb,y\n"])
def test_a_single_group_or_member_is_a_grid(tmp_path, table):
    config = config_of(tmp_path, table)
    assert sorted(map(len, (config["pretrain_seeds"], config["finetune_seeds"]))) == [1, 2]


def test_scales_of_different_grids_are_refused(tmp_path):
    table = "name,group,scale\na,x,s\nb,x,s\nc,x,t\nd,y,t\n"
    with pytest.raises(UserError, match="the scales s and t differ in their groups or members"):
        config_of(tmp_path, table)


def test_the_evaluator_may_have_a_row(tmp_path):
    table = "name,group,member,scale,accuracy,parameters\na,1,1,s,,\nb,2,1,s,,\n"
    table += "evaluator,{},1,s,0.8,9\n"
    config = config_of(tmp_path, table.format(3), evaluator=JUDGED)
    assert config["evaluator"] == {"scale": "s", "pretrain_seed": 3, "finetune_seed": 1}
    metrics = contents(tmp_path / "mine.zip")[3]["s/pretrain3-finetune1"]
    assert metrics["accuracy"] == 0.8 and metrics["parameters"] == 9
    (tmp_path / "again").mkdir()
    with pytest.raises(UserError, match="the evaluator has the scale, group and member of a rew"):
        config_of(tmp_path / "again", table.format(2), evaluator=JUDGED)


def test_without_texts_no_two_samples_of_a_post_are_the_same(tmp_path):
    config_of(tmp_path, GOOD["reward_models"])
    posts, samples, _, _ = contents(tmp_path / "mine.zip")
    assert not samples.duplicated(["post_id", "text"]).any()
    assert set(posts["post"]) == {"no text given"}


def test_ensembles_are_of_a_size_that_both_kinds_have():
    def size(*counts):
        return ensemble_size(
            [
                cell
                for cell in reward_models("full", range(len(counts)), range(max(counts)))
                if cell.finetune_seed < counts[cell.pretrain_seed]
            ]
        )

    assert size(3, 2, 1) == 3 and size(9, 9, 9) == 3 and size(9, 9, 9, 9, 9, 9) == 5
    assert size(4) == 4 and size(1, 1, 1) == 3 and size(2, 1) == 2


def test_json_lines_are_read_in_parts(tmp_path, monkeypatch):
    """Types may differ between parts, and lines are counted through all of them."""
    monkeypatch.setattr(matrix_files, "LINES_AT_ONCE", 2)
    path = tmp_path / "rewards.jsonl"
    rows = [{"post_id": "p", "sample_index": i, "a": i if i < 2 else i / 2} for i in range(5)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    assert matrix_files.read(path).columns.to_pylist() == rows
    path.write_text(path.read_text() + "\n[1]")
    with pytest.raises(UserError, match="line 6: not JSON lines"):
        matrix_files.read(path)
