"""The data of the sample browser, on a made-up results folder."""

import base64
import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_aligned import (
    ALIGNED,
    COPIES,
    EIGHT_OF_DROPOUT,
    align_to_copies,
    make_aligned,
    of_aligned,
)
from fake_results import (
    DESIGN,
    MODELS,
    NEWER,
    NO_CHEAPER,
    POSTS,
    RANKERS,
    judges,
    make_results,
    of_grid,
    read_made,
    read_world,
    score_cheaper,
)
from test_evidence_tables import diagnose

from browser import browser
from underspec.analysis import newer_rankers
from underspec.analysis.statistics import kl_bound
from underspec.artifacts import POSTS as POSTS_SCHEMA
from underspec.artifacts import write_table
from underspec.errors import ArtifactError
from underspec.report.pages import packed
from underspec.report.sample_browser import (
    SHOWN_CHANCE,
    above_mean,
    as_many_as_fit,
    browsable,
    disagreement,
    first_of_text,
    selection,
    shown,
)

TEMPLATE = Path(__file__).parents[3] / "reports" / "pages" / "samples.html"
NS = [1, 4, 16]
NO_RLHF = ALIGNED | {"rankers": {}}
SOME_RANKERS = {"small": ["single-pretrain1-finetune0", "pretrain-finetune0-min"]}
RLHF_AT_SMALL = ALIGNED | {"rankers": SOME_RANKERS}


def posts_table(posts=POSTS):
    names = [f"post{post}" for post in range(posts)]
    rows = {"post_id": names, "split": "best_of_n", "reference": "gist"}
    return pd.DataFrame(rows | {"post": [f"<b>{name}</b> </script>" for name in names]})


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    make_results(folder, DESIGN)
    diagnose(folder)
    write_table(posts_table(), folder / "data" / "posts.parquet", POSTS_SCHEMA)
    return folder


@pytest.fixture(scope="module")
def data(results):
    return data_of(results)


def data_of(results, gold=True, **more):
    texts = pd.read_parquet(results / "samples" / "best_of_n.parquet")["text"]
    samples = texts.to_numpy().reshape(POSTS, -1)
    newer = newer_rankers.read(NEWER, similarity(results))
    return browsable(read_made(results, gold=gold), samples, posts_table(), newer, **more)


def similarity(results):
    found = pd.read_parquet(results / "diagnostics.parquet").similarity
    return found.to_numpy().reshape(POSTS, -1)


def test_every_pick_is_the_text_that_the_ranker_picked(results, data):
    world = read_world(results)
    assert data["ns"] == NS
    for scale, about in enumerate(data["scales"]):
        for post in data["posts"]:
            for row, n in enumerate(NS):
                picks = post["picks"][scale][row]
                for ranker, pick in zip(RANKERS, picks, strict=True):
                    choice = world["choice"][about["name"], ranker][post["id"], n]
                    assert post["texts"][pick] == world["text"][post["id"], choice]


def test_rewards_are_above_the_mean_of_the_post(results, data):
    world = read_world(results)
    judges = {"evaluator": world["evaluator"], "gold": world["gold"]}
    assert data["judges"] == list(judges)

    def expected(rewards, post, sample):
        mean = np.mean([value for (name, _), value in rewards.items() if name == post])
        return pytest.approx(rewards[post, sample] - mean, abs=0.0051)

    for post in data["posts"]:
        for candidate, sample in enumerate(post["samples"]):
            for values, rewards in zip(post["judges"], judges.values(), strict=True):
                assert values[candidate] == expected(rewards, post["id"], sample)
            for values, about in zip(post["rewards"], data["scales"], strict=True):
                for value, model in zip(values[candidate], MODELS, strict=True):
                    rewards = world["reward"][about["name"], model.name]
                    assert value == expected(rewards, post["id"], sample)


def test_candidates_are_distinct_texts_and_begin_with_the_policy_s(results, data):
    world = read_world(results)
    for post in data["posts"]:
        assert post["samples"][0] == 0
        assert len(set(post["texts"])) == len(post["texts"])
        assert post["texts"] == [world["text"][post["id"], index] for index in post["samples"]]


def test_parting_is_one_minus_the_mean_agreement_of_pairs(results, data):
    singles = [
        index for index, ranker in enumerate(RANKERS.values()) if ranker.ensemble == "single"
    ]
    for post in data["posts"]:
        for scale in range(len(data["scales"])):
            for row in range(len(NS)):
                picks = [post["picks"][scale][row][ranker] for ranker in singles]
                pairs = [a != b for i, a in enumerate(picks) for b in picks[i + 1 :]]
                assert post["apart"][scale][row] == pytest.approx(np.mean(pairs), abs=0.0051)


def test_what_newer_rankers_often_take_is_listed_with_its_probability(results, data):
    world, read = read_world(results), read_made(results)
    newer = newer_rankers.read(NEWER, similarity(results))
    posts = np.arange(POSTS)
    assert data["newer"][:2] == ["UWO", "soft best-of-n"]
    assert data["kinds"] == ["single", "finetune", "pretrain"]
    for scale in range(len(data["scales"])):
        chances = newer_rankers.chances(read.scales[scale], newer, NS, posts)
        for index, post in enumerate(data["posts"]):
            for row, way in np.ndindex(len(NS), len(NEWER)):
                listed = {
                    post["texts"][candidate]: shares
                    for candidate, *shares in post["taken"][scale][row][way]
                }
                expected = {}
                for kind in data["kinds"]:
                    if (list(NEWER)[way], kind) not in chances:
                        continue
                    for sample, share in enumerate(
                        chances[list(NEWER)[way], kind][row, index].tolist()
                    ):
                        text = world["text"][post["id"], sample]
                        of_kind = expected.setdefault(text, {})
                        of_kind[kind] = of_kind.get(kind, 0) + 100 * share
                often = {t for t, of in expected.items() if max(of.values()) >= SHOWN_CHANCE}
                assert set(listed) == often
                for text, shares in listed.items():
                    for kind, share in zip(data["kinds"], shares, strict=True):
                        if share is None:
                            assert (list(NEWER)[way], kind) == ("uwo", "single")
                        else:
                            assert share == pytest.approx(expected[text][kind], abs=0.5001)


def test_without_newer_rankers_there_is_nothing_to_choose(results):
    texts = pd.read_parquet(results / "samples" / "best_of_n.parquet")["text"]
    newer = newer_rankers.read(dict.fromkeys(NEWER), similarity(results))
    read = read_made(results)
    data = browsable(read, texts.to_numpy().reshape(POSTS, -1), posts_table(), newer)
    assert data["newer"] == [] and data["posts"][0]["taken"] == [[[]] * len(NS)] * 2


def test_cheaper_ensembles_can_be_chosen_like_newer_rankers(results, data, tmp_path):
    """Here they have the rewards of rankers of the grid, whose picks are then theirs."""
    folder = shutil.copytree(results, tmp_path / "results")
    for about in data["scales"]:
        cheaper = score_cheaper(folder, about["name"])
    found = embedded(write(folder, tmp_path / "samples.html", cheaper=cheaper))
    assert found["newer"] == [*data["newer"], "WARM", "multi-head ensemble"]
    assert found["kinds"] == [*data["kinds"], "warm", "multihead"]
    same = {"warm": "single-pretrain0-finetune0", "multihead": "finetune-pretrain0-mean"}
    same = {kind: list(RANKERS).index(name) for kind, name in same.items()}
    for post, without in zip(found["posts"], data["posts"], strict=True):
        assert (post["texts"], post["picks"]) == (without["texts"], without["picks"])
        for scale, row in np.ndindex(len(data["scales"]), len(NS)):
            *newer, warm, multihead = post["taken"][scale][row]
            assert newer == [
                [[*each, None, None] for each in taken] for taken in without["taken"][scale][row]
            ]
            picks = post["picks"][scale][row]
            assert warm == [[picks[same["warm"]], None, None, None, 100, None]]
            assert multihead == [[picks[same["multihead"]], None, None, None, None, 100]]


def test_without_gold_there_is_one_judge_less(results):
    assert data_of(results, gold=False)["judges"] == ["evaluator"]


def test_of_many_posts_half_are_those_that_part_most(results, data):
    fewer = data_of(results, most=4)
    assert fewer["posts_in_all"] == POSTS and len(fewer["posts"]) == 4
    kept = {post["id"] for post in fewer["posts"]}
    apart = {p["id"]: np.mean([each[-1] for each in p["apart"]]) for p in data["posts"]}
    assert kept >= set(sorted(apart, key=apart.get, reverse=True)[:2])
    assert data_of(results, most=4) == fewer


def test_posts_are_left_out_until_the_rest_fits(results, data):
    whole = len(packed(data))

    def make(**most):
        return data_of(results, **most)

    assert as_many_as_fit(make, whole) == data
    fewer = as_many_as_fit(make, whole - 1)
    assert len(packed(fewer)) < whole
    assert 1 <= len(fewer["posts"]) < POSTS and fewer["posts_in_all"] == POSTS
    assert len(as_many_as_fit(make, 0)["posts"]) == 1  # an empty page would help nobody


def test_selection_keeps_the_order_and_draws_the_rest():
    apart = np.linspace(1, 0, 100)
    kept = selection(apart, 10)
    assert list(kept) == sorted(set(kept)) and len(kept) == 10
    assert set(kept) >= set(range(5)) and kept[-1] > 20
    assert list(selection(apart, 100)) == list(range(100))


def test_one_reward_model_cannot_part():
    assert disagreement(np.ones((1, 3, 4), dtype=int)).tolist() == np.zeros((3, 4)).tolist()


def test_duplicates_are_their_first():
    assert first_of_text(np.array([[5, 7, 5, 7, 1]])).tolist() == [[0, 1, 0, 1, 4]]


@pytest.mark.parametrize(
    ("ns", "expected"), [([1, 2, 4, 8], [1, 4, 8]), ([2, 64, 16], [16, 64]), ([32], [32])]
)
def test_the_n_shown(ns, expected):
    assert shown(ns) == expected


def test_above_mean_of_single_precision():
    rewards = np.array([[1e4, 1e4 + 1]], dtype=np.float32)
    assert above_mean(rewards).tolist() == [[-0.5, 0.5]]


def write(results, output, cheaper=NO_CHEAPER, aligned=NO_RLHF, gold=True):
    browser(
        **of_grid(results),
        **judges(results, gold),
        **of_aligned(results),
        aligned=aligned,
        posts=results / "data" / "posts.parquet",
        design=DESIGN,
        newer=NEWER,
        cheaper=cheaper,
        experiment="tiny",
        template=TEMPLATE,
        output=output,
    )
    return output.read_text()


def embedded(html):
    """The page's data; NaN and infinity, which browsers do not read, are no JSON."""
    packed = base64.b64decode(html.split('id="data">')[1].split("</script>")[0])
    return json.loads(gzip.decompress(packed), parse_constant=pytest.fail)


def test_the_page_is_whole_whatever_the_texts_hold(results, data, tmp_path):
    html = write(results, tmp_path / "report" / "samples.html")
    assert embedded(html) == json.loads(json.dumps(data))
    assert "tiny · not at paper scale" in html
    assert "http" not in html


def test_posts_that_are_missing_are_named(results, tmp_path):
    write_table(posts_table(POSTS - 1), tmp_path / "data" / "posts.parquet", POSTS_SCHEMA)
    for name in ("samples", "scores", "rerank", "reward_models", "diagnostics.parquet"):
        (tmp_path / name).symlink_to(results / name)
    with pytest.raises(ArtifactError, match=r"posts\.parquet: lacks posts.*post11"):
        write(tmp_path, tmp_path / "samples.html")


@pytest.fixture(scope="module")
def rlhf(tmp_path_factory):
    """A results folder with aligned policies."""
    folder = tmp_path_factory.mktemp("rlhf")
    make_results(folder, DESIGN)
    make_aligned(folder, DESIGN)
    write_table(posts_table(), folder / "data" / "posts.parquet", POSTS_SCHEMA)
    return folder


def of_policy(folder, scale, ranker, coefficient, seed=0):
    """All tables of an aligned policy as one, by post_id and sample_index."""
    name = f"aligned/{scale}/{ranker}/kl{coefficient}-seed{seed}.parquet"
    tables = [
        pd.read_parquet(folder / kind / name).set_index(["post_id", "sample_index"])
        for kind in ("samples", "scores", "diagnostics")
    ]
    return pd.concat(tables, axis=1)


@pytest.mark.parametrize("aligned", [ALIGNED, RLHF_AT_SMALL], ids=["both scales", "one scale"])
def test_paths_lead_from_the_sft_policy_to_the_smallest_coefficient(rlhf, tmp_path, aligned):
    world, found = read_world(rlhf), embedded(write(rlhf, tmp_path / "a.html", aligned=aligned))
    assert found["kl_coefficients"] == [0.8, 0.2, 0.05]
    for scale, about in enumerate(found["scales"]):
        names = aligned["rankers"].get(about["name"], [])
        assert [list(RANKERS)[index] for index in about["aligned"]] == names
        for path, name in enumerate(names):
            policies = [of_policy(rlhf, about["name"], name, each) for each in (0.8, 0.2, 0.05)]
            of_sft = [
                pd.Series(world["reward"][about["name"], member.name])
                for member in RANKERS[name].members
            ]
            constants = [rewards.mean() for rewards in of_sft]
            combined = np.min if RANKERS[name].aggregator == "min" else np.mean

            def own(rewards, constants=constants, combined=combined):
                return combined(np.subtract(rewards, constants))

            for post in found["posts"]:
                id_ = post["id"]
                sft = pd.DataFrame(
                    {
                        "own": [own([each[id_, i] for each in of_sft]) for i in range(16)],
                        "evaluator": [world["evaluator"][id_, i] for i in range(16)],
                        "gold": [world["gold"][id_, i] for i in range(16)],
                    }
                )
                best = world["choice"][about["name"], name][id_, 16]
                expected = [
                    (world["text"][id_, 0], 0.0, *(sft.loc[0] - sft.mean())),
                    (world["text"][id_, best], kl_bound(16), *(sft.loc[best] - sft.mean())),
                ]
                for policy in policies:
                    first = policy.loc[id_, 0]
                    rewards = [first[member.name] for member in RANKERS[name].members]
                    gains = [own(rewards), first["evaluator"], first["gold"]] - sft.mean()
                    expected.append((first["text"], first["kl"], *gains))
                points = post["aligned"][scale][path]
                assert len(points) == len(expected)
                for (text, *values), (expected_text, *numbers) in zip(
                    points, expected, strict=True
                ):
                    assert post["texts"][text] == expected_text
                    assert values == pytest.approx(numbers, abs=0.0051)


def test_paths_of_policies_aligned_to_cheaper_ensembles(rlhf, tmp_path):
    """Here they have the rewards of rankers of the grid, whose picks and paths are then theirs."""
    folder = shutil.copytree(rlhf, tmp_path / "results")
    cheaper = align_to_copies(folder, DESIGN)
    score_cheaper(folder, "large", EIGHT_OF_DROPOUT)
    aligned = ALIGNED | {"rankers": {"small": [*COPIES, *COPIES.values()]}}
    found = embedded(write(folder, tmp_path / "a.html", cheaper=cheaper, aligned=aligned))
    about, large = found["scales"]
    assert len(about["rankers"]) == len(RANKERS) + len(COPIES) and not large["aligned"]
    paths = [about["rankers"][index] for index in about["aligned"]]
    assert [path["ensemble"] for path in paths[:3]] == ["warm", "multihead", "mc_dropout8"]
    assert {tuple(path["members"]) for path in paths[:3]} == {(0, 1)}  # of the pretraining seed
    for post in found["posts"]:
        of_paths, _ = post["aligned"]
        assert of_paths[:3] == of_paths[3:]


def test_at_a_scale_without_rlhf_there_are_no_paths(rlhf, tmp_path):
    html = write(rlhf, tmp_path / "samples.html", aligned=RLHF_AT_SMALL)
    found = embedded(html)
    assert 'id="rlhf"' in html
    assert [len(about["aligned"]) for about in found["scales"]] == [2, 0]
    assert all([len(each) for each in post["aligned"]] == [2, 0] for post in found["posts"])


def test_without_rlhf_nothing_of_it_is_on_the_page(rlhf, tmp_path):
    html = write(rlhf, tmp_path / "samples.html")
    found = embedded(html)
    assert 'id="rlhf"' not in html and "After RLHF" not in html
    assert found["kl_coefficients"] == []
    assert all(post["aligned"] == [[], []] for post in found["posts"])


def test_what_rankers_pick_is_the_same_with_and_without_rlhf(rlhf, tmp_path):
    without = embedded(write(rlhf, tmp_path / "without.html"))
    found = embedded(write(rlhf, tmp_path / "with.html", aligned=ALIGNED))
    for post, before in zip(found["posts"], without["posts"], strict=True):
        assert post["texts"][: len(before["texts"])] == before["texts"]
        same = post.keys() - {"texts", "aligned"}
        assert {key: post[key] for key in same} == {key: before[key] for key in same}


def test_a_text_of_a_post_is_stored_once(rlhf, tmp_path):
    """Here policies write the same texts again and again, some of them the SFT policy's."""
    found = embedded(write(rlhf, tmp_path / "samples.html", aligned=ALIGNED))
    shared = 0
    for post in found["posts"]:
        assert len(set(post["texts"])) == len(post["texts"])
        written = {text for paths in post["aligned"] for points in paths for text, *_ in points}
        assert written >= set(range(len(post["samples"]), len(post["texts"])))
        later = [each[0] for paths in post["aligned"] for points in paths for each in points[2:]]
        shared += len(later) - len(set(later))
    assert shared > 0


def test_an_empty_text_is_kept(rlhf, tmp_path):
    folder = shutil.copytree(rlhf, tmp_path / "results")
    name = "aligned/small/pretrain-finetune0-min/kl0.05-seed0.parquet"
    table = pd.read_parquet(folder / "samples" / name)
    table.assign(text="").to_parquet(folder / "samples" / name, index=False)
    found = embedded(write(folder, tmp_path / "samples.html", aligned=RLHF_AT_SMALL))
    assert {post["texts"][post["aligned"][0][1][-1][0]] for post in found["posts"]} == {""}


def test_aligned_policies_without_gold(rlhf, tmp_path):
    html = write(rlhf, tmp_path / "samples.html", aligned=RLHF_AT_SMALL, gold=False)
    lengths = {
        len(point)
        for post in embedded(html)["posts"]
        for points in post["aligned"][0]
        for point in points
    }
    assert lengths == {len(["text", "kl", "own", "evaluator"])}


def test_a_missing_policy_is_named(rlhf, tmp_path):
    folder = shutil.copytree(rlhf, tmp_path / "results")
    name = "aligned/small/pretrain-finetune0-min/kl0.2-seed0.parquet"
    (folder / "scores" / name).unlink()
    with pytest.raises(ArtifactError, match=name):
        write(folder, tmp_path / "samples.html", aligned=RLHF_AT_SMALL)
