"""Best of n by brute force, what standardising changes, and the adapter on damaged scores."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import rerank as adapter
from underspec.analysis.ensembles import aggregate
from underspec.analysis.rerank import best_of_n, from_table, rerank, to_table
from underspec.artifacts import RERANK, SCORES, read_table, write_table
from underspec.errors import ArtifactError, ConfigError
from underspec.grid import rankers, reward_models

SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 9))
# Few values, so that ties are common.
TIED = arrays(np.float32, SHAPES, elements=st.integers(-2, 2))
CONTINUOUS = arrays(np.float32, SHAPES, elements=st.floats(-8, 8, width=32))


@given(TIED | CONTINUOUS, st.data())
def test_best_of_n_by_brute_force(rewards, data):
    posts, samples = rewards.shape
    ns = data.draw(st.lists(st.integers(1, samples), min_size=1))
    expected = [
        [max(range(n), key=lambda sample: (row[sample], -sample)) for row in rewards] for n in ns
    ]
    assert best_of_n(rewards, ns).tolist() == expected


@given(CONTINUOUS)
def test_best_of_1_is_the_policy_and_more_samples_never_earn_less(rewards):
    posts, samples = rewards.shape
    chosen = best_of_n(rewards, list(range(1, samples + 1)))
    assert not chosen[0].any()
    assert np.all(np.diff(rewards[np.arange(posts), chosen], axis=0) >= 0)


def test_duplicates_and_ties_go_to_the_lower_index():
    rewards = np.array([[1.0, 3.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
    assert best_of_n(rewards, [2, 4]).tolist() == [[1, 0], [1, 0]]


@pytest.mark.parametrize("ns", [[0], [1, 65], [-2, 4]])
def test_impossible_n(ns):
    with pytest.raises(ConfigError, match="best_of_n"):
        best_of_n(np.zeros((2, 64)), ns)


@given(
    arrays(np.float32, (3, 2, 6), elements=st.floats(-8, 8, width=32)),
    arrays(np.float32, (3, 2, 1), elements=st.floats(-8, 8, width=32)),
)
def test_standardising_leaves_the_choice_of_mean_and_of_one_reward_model(rewards, offsets):
    posts = np.arange(2)
    raw = (rewards + offsets).mean(axis=0, dtype=np.float64)
    choice = best_of_n(aggregate(rewards + offsets, "mean"), [6])[0]
    # The chosen sample has the highest raw mean too, to the rounding of double precision.
    np.testing.assert_allclose(raw[posts, choice], raw.max(axis=1), atol=1e-9)
    one = rewards[:1] + offsets[:1]
    np.testing.assert_array_equal(best_of_n(aggregate(one, None), [6]), best_of_n(one[0], [6]))


@pytest.mark.parametrize(("aggregator", "by_numpy"), [("min", np.min), ("median", np.median)])
def test_standardising_changes_the_choice_of_order_statistics(aggregator, by_numpy):
    """Offsets decide who is the lowest, or in the middle, of three reward models."""
    rewards = np.array([[[0.0, 4.0, 2.0]], [[0.0, -4.0, 1.0]], [[0.0, 0.0, 0.5]]])
    offsets = np.array({"min": [-9.0, 0.0, 9.0], "median": [0.0, -9.0, 9.0]}[aggregator])
    rewards += offsets[:, None, None]
    raw = best_of_n(by_numpy(rewards, axis=0), [3])[0, 0]
    standardised = best_of_n(aggregate(rewards, aggregator), [3])[0, 0]
    assert (raw, standardised) == (1, 2)


def test_an_ensemble_standardises_over_all_samples_not_the_first_n():
    """The third sample, out of reach at n = 2, moves what MIN picks there."""
    first = np.array([[0.0, 1.0, 0.0]])
    second = np.array([[1.0, 0.0, 0.0]])
    models = reward_models("full", [0, 1], [0])
    (ranker,) = [r for r in rankers(models, ["min"], 5) if r.ensemble == "pretrain"]
    picks = []
    for third in (-9.0, 9.0):
        scores = {models[0].name: first + [0, 0, third], models[1].name: second}
        picks.append(rerank(scores, [ranker], [2])[ranker.name].sample_index.item())
    assert picks == [0, 1]


def test_choices_round_trip_through_the_table(tmp_path):
    models = reward_models("workshop", [0, 1], [0, 1])
    rng = np.random.default_rng(0)
    scores = {model.name: rng.normal(size=(5, 8)).astype("float32") for model in models}
    posts = np.array(list("abcde"), dtype=object)
    ns = [1, 2, 8]
    for name, choices in rerank(scores, rankers(models, ["mean"], 5), ns).items():
        path = tmp_path / f"{name}.parquet"
        write_table(to_table(choices, posts, ns), path, RERANK)
        read = from_table(read_table(path, RERANK), path, posts, ns)
        np.testing.assert_array_equal(read.sample_index, choices.sample_index)
        np.testing.assert_allclose(read.reward, choices.reward, rtol=1e-6)  # single precision


@pytest.mark.parametrize("damage", ["posts", "ns", "rows", "beyond n", "negative"])
def test_foreign_choices_are_refused(tmp_path, damage):
    models = reward_models("full", [0], [0])
    scores = {models[0].name: np.eye(3)}
    posts = np.array(list("abc"), dtype=object)
    (choices,) = rerank(scores, rankers(models, [], 5), [1, 2]).values()
    table = to_table(choices, posts, [1, 2])
    if damage == "posts":
        table["post_id"] = list("abdabc")
    elif damage == "ns":
        table["n"] = [1, 1, 1, 4, 4, 4]
    elif damage == "rows":
        table = table.iloc[:-1]
    else:
        table.loc[0, "sample_index"] = 1 if damage == "beyond n" else -1
    with pytest.raises(ArtifactError, match=r"choices\.parquet"):
        from_table(table, tmp_path / "choices.parquet", posts, [1, 2])


POSTS, SAMPLES = 4, 8
GRID = {"grid": "workshop", "pretrain_seeds": [0, 1], "finetune_seeds": [0, 1]}


@pytest.fixture
def scores(tmp_path):
    """Three score tables on disk, as one scale's reward models leave them."""
    rng = np.random.default_rng(0)
    paths = []
    for model in reward_models(**GRID):
        path = tmp_path / "scores" / f"{model.name}.parquet"
        write_table(score_table(rng.normal(size=POSTS * SAMPLES)), path, SCORES)
        paths.append(path)
    return paths


def score_table(rewards):
    keys = {
        "post_id": np.repeat([f"post{post}" for post in range(POSTS)], SAMPLES),
        "sample_index": np.tile(np.arange(SAMPLES), POSTS),
    }
    return pd.DataFrame(keys | {"reward": rewards})


def run(scores, output):
    names = [ranker.name for ranker in rankers(reward_models(**GRID), ["min"], 5)]
    choices = [output / f"{name}.parquet" for name in names]
    settings = {"aggregators": ["min"], "ensemble_size": 5, "best_of_n": [1, 2, 8]}
    adapter.rerank(scores=scores, **GRID, **settings, choices=choices)


def test_the_adapter_writes_one_table_a_ranker(scores, tmp_path):
    run(scores, tmp_path / "rerank")
    names = {ranker.name for ranker in rankers(reward_models(**GRID), ["min"], 5)}
    assert {path.stem for path in (tmp_path / "rerank").iterdir()} == names
    table = read_table(tmp_path / "rerank" / "single-pretrain0-finetune1.parquet", RERANK)
    rewards = read_table(scores[1], SCORES).set_index(["post_id", "sample_index"])["reward"]
    for (post, n), row in table.groupby(["post_id", "n"]):
        first = rewards[post][:n]
        assert row["sample_index"].item() == first.idxmax()
        assert row["reward"].item() == first.max()
    assert set(table["n"]) == {1, 2, 8}


@pytest.mark.parametrize(("size", "equal"), [(5, False), (3, False), (2, True)])
def test_the_log_has_the_sizes_of_ensembles_and_warns_where_they_differ(caplog, size, equal):
    caplog.set_level("INFO")
    models = reward_models("full", [0, 1, 2, 3], [0, 1])
    adapter.log_sizes(rankers(models, ["min", "mean"], size))
    pretrain = {5: "2 of 4", 3: "2 of 3", 2: "4 of 2"}[size]
    assert caplog.messages[:2] == [
        "finetune ensembles: 4 of 2 members",
        f"pretrain ensembles: {pretrain} members",
    ]
    assert (len(caplog.messages) == 2) == equal
    if not equal:
        assert "finetune ensembles have 2 members and pretrain" in caplog.messages[2]
        assert "ensemble_size: 2" in caplog.messages[2]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


def drop_column(path):
    pd.read_parquet(path).drop(columns="reward").to_parquet(path)


def put_nan(path):
    pd.read_parquet(path).assign(reward=np.nan).to_parquet(path)


def shift_samples(path):
    table = pd.read_parquet(path)
    table.assign(sample_index=(table["sample_index"] + 1) % SAMPLES).to_parquet(path)


def shuffle_rows(path):
    pd.read_parquet(path).iloc[::-1].to_parquet(path)


def drop_row(path):
    pd.read_parquet(path).iloc[:-1].to_parquet(path)


def rename_post(path):
    table = pd.read_parquet(path)
    table.replace({"post_id": {"post1": "post9"}}).to_parquet(path)


DAMAGES = [truncate, drop_column, put_nan, shift_samples, shuffle_rows, drop_row]


@pytest.mark.parametrize("which", [0, 2])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_scores_are_named_and_overwrite_nothing(scores, tmp_path, damage, which):
    run(scores, tmp_path / "rerank")
    before = {path: path.read_bytes() for path in (tmp_path / "rerank").iterdir()}
    damage(scores[which])
    with pytest.raises(ArtifactError, match=scores[which].name.replace(".", r"\.")):
        run(scores, tmp_path / "rerank")
    assert {path: path.read_bytes() for path in (tmp_path / "rerank").iterdir()} == before


def test_other_posts_are_named_with_their_row(scores, tmp_path):
    rename_post(scores[1])
    with pytest.raises(ArtifactError, match="row 8 is sample 0 of post post9, not .* post1"):
        run(scores, tmp_path / "rerank")


def test_missing_reward_model(scores, tmp_path):
    with pytest.raises(ArtifactError, match="--scores: none given for pretrain1-finetune0"):
        run(scores[:-1], tmp_path / "rerank")
