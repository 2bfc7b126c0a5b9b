"""What is packed comes back bit for bit; a bundle that is not whole is refused in one line."""

import io
import json
import resource
import shutil
import string
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pandas.testing import assert_frame_equal

import bundle as bundle_adapter
from underspec import grid
from underspec.analysis.reward_matrix import read_rewards, read_samples
from underspec.artifacts import (
    ALIGNED_DIAGNOSTICS,
    ALIGNED_SAMPLES,
    POSTS,
    SAMPLES,
    SCORES,
    STYLES,
    aligned_scores,
    read_table,
    scores_by,
    write_table,
)
from underspec.config.layers import read_config
from underspec.config.validation import validate
from underspec.errors import ArtifactError, UserError
from underspec.provenance import archive
from underspec.provenance.bundle import bundled_config, model_folders, pack, unpack

ROOT = Path(__file__).parents[3]
NAMES = ["base/pretrain0-finetune0", "large/pretrain1-finetune0", "xxl/pretrain6-finetune0", "gold"]
NAMES += ["base/pretrain0-warm", *(f"base/pretrain0-finetune0-heads2-{head}" for head in (0, 1))]
NAMES += [f"base/pretrain0-finetune0-dropout{member}" for member in (0, 1)]
MODELS = model_folders(NAMES)
CONFIG = {"experiment": "tiny", "extends": "experiments/other.yaml", "bundle": None, "scales": []}
METRICS = {"scale": "base", "parameters": 10, "accuracy": 0.1 + 0.2, "pairs": 5}
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 5))
FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)


def make_results(folder, texts, rewards):
    """texts: (posts, samples) int; rewards: (names, posts, samples), those of NAMES."""
    size = texts.shape[1]
    ids = [f"post{post}" for post in range(len(texts))]
    posts = pd.DataFrame({"post_id": ids, "split": "best_of_n", "post": "a post", "reference": ""})
    first, last = (posts.assign(post_id=name, split="policy")[:1] for name in ("first", "last"))
    posts = pd.concat([first, posts.assign(gold_place="here", rank=range(len(ids)))[::-1], last])
    write_table(posts.fillna({"gold_place": "", "rank": 0}), folder / "data/posts.parquet", POSTS)
    index = np.tile(np.arange(size), len(ids))
    keys = pd.DataFrame({"post_id": np.repeat(ids, size), "sample_index": index})
    words = [string.ascii_letters[code] for code in texts.ravel()]
    samples = keys.assign(text=words, log_prob=-np.arange(len(keys)) / 3)
    write_table(samples, folder / "samples/best_of_n.parquet", SAMPLES)
    for name, values in zip(NAMES, rewards, strict=True):
        write_table(keys.assign(reward=values.ravel()), folder / f"scores/{name}.parquet", SCORES)
    for model in (*MODELS, "policy"):
        (folder / model).mkdir(parents=True)
        (folder / model / "metrics.json").write_text(json.dumps(METRICS))
        (folder / model / "provenance.json").write_text('{"torch": "2"}')
        if not model.endswith("warm"):  # not a training
            (folder / model / "training.csv").write_text("step,loss\n1,0.5\n")
        (folder / model / "model.safetensors").write_bytes(model.encode())


def packed(folder, bundle):
    pack(folder, NAMES, [], [], CONFIG, "a0b1", {"numpy": "2"}, bundle)
    return bundle


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    rng = np.random.default_rng(0)
    texts = rng.integers(0, 9, (3, 8))
    folder = tmp_path_factory.mktemp("results") / "tiny"
    make_results(folder, texts, rng.normal(size=(len(NAMES), 9)).astype("float32")[:, texts])
    return folder


@pytest.fixture(scope="module")
def whole(results, tmp_path_factory):
    return packed(results, tmp_path_factory.mktemp("bundles") / "tiny.zip")


def equal(first, second):
    """Whether the artifacts in two folders are the same; rewards bit for bit."""
    for name in NAMES:
        a, b = (read_table(each / f"scores/{name}.parquet", SCORES) for each in (first, second))
        assert_frame_equal(a.drop(columns="reward"), b.drop(columns="reward"))
        assert (a["reward"].to_numpy().view("u4") == b["reward"].to_numpy().view("u4")).all()
    path = "samples/best_of_n.parquet"
    assert_frame_equal(read_table(first / path, SAMPLES), read_table(second / path, SAMPLES))
    a, b = (read_table(each / "data/posts.parquet", POSTS) for each in (first, second))
    assert_frame_equal(a[a["split"] == "best_of_n"].reset_index(drop=True), b)
    for model in MODELS:
        for path in (first / model).glob("*.[cj]s*"):
            file = path.name
            assert (first / model / file).read_bytes() == (second / model / file).read_bytes()
    return True


def rewritten(bundle, target, change, sealed=True):
    """A copy of a bundle whose members `change` has edited; `sealed`: with a manifest to match."""
    with zipfile.ZipFile(bundle) as file:
        members = {name: file.read(name) for name in file.namelist()}
    if sealed:
        provenance = json.loads(members.pop(archive.MANIFEST))["provenance"]
        change(members)
        archive.write_archive(members, provenance, target)
        return target
    change(members)
    with zipfile.ZipFile(target, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return target


def table(content):
    return pd.read_parquet(io.BytesIO(content))


def parquet(frame):
    return frame.to_parquet()


def refused(bundle, named, cause, folder):
    """It is refused in one line that begins with `named`, and nothing is written."""
    with pytest.raises(ArtifactError) as caught:
        unpack(bundle, NAMES, [], [], folder / "restored")
    message = str(caught.value)
    assert message.startswith(str(named)) and cause in message and "\n" not in message
    assert not (folder / "restored").exists()


@settings(max_examples=20)
@given(SHAPES.flatmap(lambda s: arrays.arrays("i8", s, elements=st.integers(0, 3))), st.data())
def test_round_trip(tmp_path_factory, texts, data):
    """Whether or not the same text of a post always has the same rewards."""
    folder = tmp_path_factory.mktemp("round_trip")
    rewards = data.draw(arrays.arrays("f4", (len(NAMES), *texts.shape), elements=FLOATS))
    if data.draw(st.booleans()):
        by_text = data.draw(arrays.arrays("f4", (len(NAMES), 4), elements=FLOATS))
        rewards = by_text[:, texts]
    make_results(folder / "made", texts, rewards)
    bundle = packed(folder / "made", folder / "tiny.zip")
    unpack(bundle, NAMES, [], [], folder / "restored")
    assert equal(folder / "made", folder / "restored")


def test_duplicate_texts_are_stored_once_unless_their_rewards_differ(results, whole, tmp_path):
    def rows(bundle):
        with zipfile.ZipFile(bundle) as file:
            return len(table(file.read("scores.parquet")))

    samples = pd.read_parquet(results / "samples/best_of_n.parquet")
    distinct = len(samples.drop_duplicates(["post_id", "text"]))
    assert rows(whole) == distinct < len(samples)
    again = int(np.flatnonzero(samples.duplicated(["post_id", "text"]))[0])
    other = shutil.copytree(results, tmp_path / "other")
    scores = read_table(other / f"scores/{NAMES[2]}.parquet", SCORES)
    scores.loc[again, "reward"] = np.nextafter(scores.loc[again, "reward"], np.float32(9))
    write_table(scores, other / f"scores/{NAMES[2]}.parquet", SCORES)
    bundle = packed(other, tmp_path / "other.zip")
    assert rows(bundle) == len(samples)
    unpack(bundle, NAMES, [], [], tmp_path / "restored")
    assert equal(other, tmp_path / "restored")


def test_the_same_results_give_the_same_bytes(results, whole, tmp_path):
    copied = shutil.copytree(results, tmp_path / "copied", copy_function=shutil.copyfile)
    assert packed(copied, tmp_path / "again.zip").read_bytes() == whole.read_bytes()


def test_a_bundle_says_where_it_comes_from(results, tmp_path):
    bundle_adapter.bundle(
        results=results,
        scores=NAMES,
        styles=[],
        aligned=[],
        config=CONFIG,
        output=tmp_path / "a.zip",
    )
    unpack(tmp_path / "a.zip", NAMES, [], [], tmp_path / "restored")
    origin = json.loads((tmp_path / "restored/manifest.json").read_text())["provenance"]
    assert origin["experiment"] == "tiny"
    assert origin["packages"]["numpy"] == np.__version__
    assert origin["commit"] == bundle_adapter.commit(ROOT)
    assert set(origin["weights"]) == {f"{model}/model.safetensors" for model in (*MODELS, "policy")}


def test_the_commit_is_marked_where_files_differ_from_it(tmp_path):
    def git(*arguments):
        own = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-C", tmp_path]
        done = subprocess.run(["git", *own, *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    (tmp_path / "bundles").mkdir()
    for name in ("config.yaml", "bundles/tiny.zip"):
        (tmp_path / name).write_text("1")
    assert bundle_adapter.commit(tmp_path) is None
    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    head = git("rev-parse", "HEAD")
    (tmp_path / "bundles/tiny.zip").write_text("2")
    assert bundle_adapter.commit(tmp_path) == head
    (tmp_path / "config.yaml").write_text("2")
    assert bundle_adapter.commit(tmp_path) == f"{head}-dirty"


def test_the_config_builds_on_nothing_else(whole):
    assert bundled_config(whole) == CONFIG | {"extends": None}


def test_rewards_that_are_needed_and_not_there_are_named(whole, tmp_path):
    with pytest.raises(ArtifactError, match=r"tiny.zip/scores.parquet: has no rewards of xl/"):
        unpack(whole, [*NAMES, "xl/pretrain0-finetune0"], [], [], tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


@settings(max_examples=60)
@given(st.floats(0, 1, exclude_max=True))
def test_a_truncated_bundle_is_refused(whole, tmp_path_factory, share):
    folder = tmp_path_factory.mktemp("truncated")
    content = whole.read_bytes()
    (folder / "tiny.zip").write_bytes(content[: int(share * len(content))])
    refused(folder / "tiny.zip", folder / "tiny.zip", "", folder)


@settings(max_examples=200)
@given(st.integers(0), st.integers(1, 255))
def test_a_damaged_byte_is_found_or_does_no_harm(whole, results, tmp_path_factory, index, damage):
    folder = tmp_path_factory.mktemp("damaged")
    content = bytearray(whole.read_bytes())
    content[index % len(content)] ^= damage
    (folder / "tiny.zip").write_bytes(content)
    try:
        unpack(folder / "tiny.zip", NAMES, [], [], folder / "restored")
    except ArtifactError as error:
        assert str(error).startswith(str(folder / "tiny.zip")) and "\n" not in str(error)
        assert not (folder / "restored").exists()
    else:
        assert equal(results, folder / "restored")


@settings(max_examples=30)
@given(st.data())
def test_an_exchanged_member_is_refused(whole, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("exchanged")
    with zipfile.ZipFile(whole) as file:
        names = sorted(set(file.namelist()) - {archive.MANIFEST})
        name, content = data.draw(st.sampled_from(names)), data.draw(st.binary())
        assume(file.read(name) != content)
    bundle = rewritten(whole, folder / "tiny.zip", lambda m: m.update({name: content}), False)
    refused(bundle, bundle / name, "does not match the manifest", folder)


@pytest.mark.parametrize("sealed", [True, False])
def test_a_member_missing_is_named(whole, tmp_path, sealed):
    with zipfile.ZipFile(whole) as file:
        names = set(file.namelist()) - {archive.MANIFEST}
    for name in names:
        bundle = rewritten(whole, tmp_path / "tiny.zip", lambda m, name=name: m.pop(name), sealed)
        refused(bundle, bundle / name, "missing", tmp_path)


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("name", ["more.txt", "reward_models/xl/pretrain0-finetune0/metrics.json"])
def test_an_extra_member_is_named(whole, tmp_path, name, sealed):
    bundle = rewritten(whole, tmp_path / "a.zip", lambda m: m.update({name: b"{}"}), sealed)
    said = "unexpected member" if sealed else "no such member"
    refused(bundle, bundle / name, said, tmp_path)


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize(
    "name",
    ["../outside.txt", "policy/../../x", "/etc/x", "c:x", "..\\x", "policy\\x"],
)
def test_a_path_that_leaves_the_folder_is_refused(whole, tmp_path, name, sealed):
    bundle = rewritten(whole, tmp_path / "a.zip", lambda m: m.update({name: b"x"}), sealed)
    refused(bundle, bundle, f"{name!r} leads out of its folder", tmp_path)


@pytest.mark.parametrize("sealed", [True, False])
def test_a_name_of_two_lines_is_refused_in_one(whole, tmp_path, sealed):
    bundle = rewritten(whole, tmp_path / "a.zip", lambda m: m.update({"a\nb": b"x"}), sealed)
    refused(bundle, bundle, "'a\\nb' has no name that can be printed", tmp_path)


@pytest.mark.parametrize("name", ["../x", "evaluator"])  # as older bundles called it
def test_a_reward_model_of_another_name_is_refused(whole, tmp_path, name):
    def change(members):
        matrix = table(members["scores.parquet"])
        members["scores.parquet"] = parquet(matrix.rename(columns={NAMES[2]: name}))

    bundle = rewritten(whole, tmp_path / "a.zip", change)
    refused(bundle, bundle / "scores.parquet", f"column {name} is not named as", tmp_path)


def test_two_members_of_a_name_are_refused(whole, tmp_path):
    bundle = shutil.copy(whole, tmp_path / "a.zip")
    with zipfile.ZipFile(bundle, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("config.json", "{}")
    refused(bundle, bundle / "config.json", "two members", tmp_path)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"format": 2}, "format 2 is unknown"),
        ({"format": None}, "format None is unknown"),
        ({"surprise": 1}, "surprise"),
        ({"members": {"config.json": {"sha256": 3, "size": 1}}}, "members.config.json.sha256"),
    ],
)
def test_a_manifest_of_another_form_is_refused(whole, tmp_path, change, cause):
    def edit(members):
        manifest = json.loads(members[archive.MANIFEST]) | change
        members[archive.MANIFEST] = json.dumps(manifest).encode()

    bundle = rewritten(whole, tmp_path / "a.zip", edit, sealed=False)
    refused(bundle, bundle / archive.MANIFEST, cause, tmp_path)


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b"[" * 100_000])
@pytest.mark.parametrize("name", [archive.MANIFEST, f"{MODELS[2]}/metrics.json"])
def test_json_that_is_none_is_refused(whole, tmp_path, name, content):
    sealed = name != archive.MANIFEST
    bundle = rewritten(whole, tmp_path / "a.zip", lambda m: m.update({name: content}), sealed)
    refused(bundle, bundle / name, "JSON", tmp_path)


def test_no_manifest_no_zip_no_file(whole, tmp_path):
    bundle = rewritten(whole, tmp_path / "a.zip", lambda m: m.pop(archive.MANIFEST), sealed=False)
    refused(bundle, bundle / archive.MANIFEST, "missing", tmp_path)
    (tmp_path / "b.zip").write_text("no zip file")
    refused(tmp_path / "b.zip", tmp_path / "b.zip", "not a whole zip file", tmp_path)
    refused(tmp_path / "c.zip", tmp_path / "c.zip", "no such file", tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "cause"),
    [
        ("samples.parquet", lambda t: t.drop(columns="text"), "column text is missing"),
        ("samples.parquet", lambda t: t[::-1], "sample_index 0, 1, 2"),
        (
            "samples.parquet",
            lambda t: t.assign(sample_index="x"),
            "not whole numbers",
        ),
        ("posts.parquet", lambda t: t.drop(columns="post"), "column post is missing"),
        ("scores.parquet", lambda t: t * np.float32("nan"), "missing or non-finite"),
        ("scores.parquet", lambda t: t[1:], "do not fit the samples"),
    ],
)
def test_a_table_that_breaks_its_schema_is_refused(whole, tmp_path, name, change, cause):
    def edit(members):
        members[name] = parquet(change(table(members[name])))

    bundle = rewritten(whole, tmp_path / "a.zip", edit)
    refused(bundle, bundle / name, cause, tmp_path)


def test_metrics_without_what_the_tables_need_are_refused(whole, tmp_path):
    edit = {f"{MODELS[2]}/metrics.json": b'{"scale": "xxl"}'}
    bundle = rewritten(whole, tmp_path / "a.zip", lambda m: m.update(edit))
    refused(bundle, bundle / MODELS[2] / "metrics.json", "accuracy, pairs, parameters", tmp_path)


def test_a_full_disk_leaves_nothing(whole, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(UserError, match="cannot be unpacked there"):
            unpack(whole, NAMES, [], [], tmp_path / "restored")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in (tmp_path / "restored").rglob("*") if path.is_file()]
    assert not (tmp_path / "restored/unfinished").exists()
    unpack(whole, NAMES, [], [], tmp_path / "restored")


@pytest.mark.parametrize(
    "name",
    [
        "data/posts.parquet",
        "samples/best_of_n.parquet",
        "scores/gold.parquet",
        f"{MODELS[2]}/metrics.json",
        "policy/model.safetensors",
        f"{MODELS[0]}/model.safetensors",
    ],
)
def test_results_that_lack_something_are_not_packed(results, tmp_path, name):
    folder = shutil.copytree(results, tmp_path / "results")
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=name.removesuffix("/model.safetensors")):
        packed(folder, tmp_path / "a.zip")
    assert not list(tmp_path.glob("a.zip*"))


def test_scores_of_other_samples_are_not_packed(results, tmp_path):
    folder = shutil.copytree(results, tmp_path / "results")
    scores = read_table(folder / "scores/gold.parquet", SCORES)
    write_table(scores[:-8], folder / "scores/gold.parquet", SCORES)
    with pytest.raises(ArtifactError, match=r"gold.parquet: its samples are not those of"):
        packed(folder, tmp_path / "a.zip")


def test_the_shipped_bundle_is_one_that_this_code_reads(tmp_path):
    shipped = ROOT / "bundles/miniature.zip"
    config = validate(read_config(ROOT, given={"bundle": str(shipped)}))  # keys may be new since
    assert config.keys() == yaml.safe_load((ROOT / "config.yaml").read_text()).keys()
    evaluator = grid.evaluator(**config["evaluator"])
    unpack(shipped, [evaluator, "gold"], [], [], tmp_path)
    layout, texts = read_samples(tmp_path / "samples/best_of_n.parquet")
    _, rewards = read_rewards([tmp_path / f"scores/{evaluator}.parquet"], layout)
    assert rewards[0].shape == texts.shape == (300, 64)
    assert shipped.stat().st_size < 3e6


ALIGNED = "base/single-pretrain0-finetune0/kl0.2-seed1"


def with_aligned(results, folder):
    """The results with one aligned policy, whose tables have columns beyond their schema."""
    copied = shutil.copytree(results, folder)
    rng = np.random.default_rng(1)
    keys = pd.DataFrame({"post_id": np.repeat(["post0", "post1"], 2), "sample_index": [0, 1] * 2})
    numbers = dict.fromkeys(("log_prob", "kl", "evaluator", "pretrain0-finetune0", "words"))
    numbers |= dict.fromkeys(("common_subsequence", "copied", "gold"))
    every = keys.assign(text=list("abba"), **{name: rng.normal(size=4) for name in numbers})
    for kind, columns, schema in (
        ("samples", ["text", "log_prob", "kl"], ALIGNED_SAMPLES),
        ("scores", ["pretrain0-finetune0", "evaluator"], aligned_scores(["pretrain0-finetune0"])),
        ("diagnostics", ["words", "common_subsequence", "copied", "gold"], ALIGNED_DIAGNOSTICS),
    ):
        path = copied / f"{kind}/aligned/{ALIGNED}.parquet"
        write_table(every[[*keys, *columns]], path, schema)
    return copied


def test_aligned_policies_are_restored_if_they_are_asked_for(results, tmp_path):
    made = with_aligned(results, tmp_path / "made")
    bundle = tmp_path / "a.zip"
    pack(made, NAMES, [], [ALIGNED], CONFIG, "a0b1", {}, bundle)
    unpack(bundle, NAMES, [], [ALIGNED], tmp_path / "restored")
    assert equal(made, tmp_path / "restored")
    for kind in ("samples", "scores", "diagnostics"):
        path = f"{kind}/aligned/{ALIGNED}.parquet"
        first, second = (pd.read_parquet(each / path) for each in (made, tmp_path / "restored"))
        assert_frame_equal(first, second[first.columns])
    unpack(bundle, NAMES, [], [], tmp_path / "without")
    assert not list((tmp_path / "without").glob("*/aligned"))


def test_texts_in_styles_and_their_rewards_are_restored_if_they_are_asked_for(
    results, whole, tmp_path
):
    made, name = shutil.copytree(results, tmp_path / "made"), "base/grid"
    keys = pd.DataFrame(
        {"post_id": np.repeat(["post0", "post1"], 6), "sample_index": [*range(6)] * 2}
    )
    rewards = {model: np.random.default_rng(2).normal(size=12) for model in ("a", "b")}
    write_table(keys.assign(**rewards), made / f"style_scores/{name}.parquet", scores_by([]))
    texts = keys.assign(style="plain", right=1, text="a b", gold=0.5)
    write_table(texts, made / "data/styles.parquet", STYLES)
    bundle = tmp_path / "a.zip"
    pack(made, NAMES, [name], [], CONFIG, "a0b1", {}, bundle)
    unpack(bundle, NAMES, [name], [], tmp_path / "restored")
    for path in ("data/styles.parquet", f"style_scores/{name}.parquet"):
        first, second = (pd.read_parquet(each / path) for each in (made, tmp_path / "restored"))
        assert_frame_equal(first, second[first.columns])
    unpack(bundle, NAMES, [], [], tmp_path / "without")
    assert not (tmp_path / "without/style_scores").exists()
    assert not (tmp_path / "without/data/styles.parquet").exists()
    with pytest.raises(ArtifactError, match="has no data/styles.parquet.*styles.posts 0"):
        unpack(whole, NAMES, [name], [], tmp_path / "older")


def test_a_bundle_without_the_aligned_policies_of_the_config_is_refused(whole, tmp_path):
    with pytest.raises(ArtifactError, match=f"has no samples/aligned/{ALIGNED}.*rlhf.rankers"):
        unpack(whole, NAMES, [], [ALIGNED], tmp_path / "restored")
    assert not (tmp_path / "restored").exists()
