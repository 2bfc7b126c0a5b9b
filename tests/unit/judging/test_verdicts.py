"""From answers to verdicts, against plain loops; which texts are compared; the judge by gold."""

import itertools
import re
from pathlib import Path

import fake_results
import numpy as np
import pandas as pd
import pytest
from fake_aligned import ALIGNED, make_aligned
from fake_results import DESIGN, make_results
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from test_asking import PROMPT, comparisons, posts_of

from judge_comparisons import judge_comparisons
from judge_tables import judge_tables
from underspec.analysis import claims
from underspec.artifacts import ANSWERS, COMPARISONS, EVIDENCE, read_table, write_table
from underspec.errors import ArtifactError, ConfigError
from underspec.grid import rankers, reward_models
from underspec.judging import gold_judge
from underspec.judging.answer_file import opened
from underspec.judging.asking import ask
from underspec.judging.chat import Server
from underspec.judging.comparisons import judged_rankers
from underspec.judging.prompts import read_prompt, verdict
from underspec.judging.questions import Request, questions
from underspec.judging.verdicts import verdicts

WHAT = ["first", "second", "tie", "refused", "unparsed", "rejected"]
PATH = Path("answers.parquet")


def answers_of(table, verdict_of):
    """An answer for each question; verdict_of: from (post, first, second) to verdicts."""
    rows = []
    for row in table.itertuples():
        for first, second in ((row.text, row.other), (row.other, row.text)):
            for i, said in enumerate(verdict_of(row.post_id, first, second)):
                rows.append((row.post_id, first, second, i, said))
    found = pd.DataFrame(rows, columns=["post_id", "first", "second", "answer_index", "verdict"])
    found = found.assign(answer="", model="m", key=[f"k{i}" for i in range(len(found))])
    return found.assign(attempts=1, prompt_tokens=5, completion_tokens=1)


def swapped(table):
    return table.rename(columns={"text": "other", "other": "text"})


def by_hand(in_order, in_other):
    """The share of answers for `text` and its majority, from two lists of verdicts."""
    points = {"first": 1.0, "tie": 0.5, "second": 0.0}
    mine = [points[each] for each in in_order if each in points]
    other = [1 - points[each] for each in in_other if each in points]
    if not mine or not other:
        return None, None
    share = (np.mean(mine) + np.mean(other)) / 2
    return share, 0.5 if abs(share - 0.5) < 1e-9 else float(share > 0.5)


SAID = st.lists(st.sampled_from(WHAT), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(SAID, SAID), min_size=1, max_size=6))
def test_the_majority_is_that_of_a_plain_loop_and_turns_with_the_texts(said):
    table = comparisons(len(said) + 1)
    lists = {}
    for row, (mine, other) in zip(table.itertuples(), said, strict=False):
        lists[row.post_id, row.text], lists[row.post_id, row.other] = mine, other
    answers = answers_of(table[:-1], lambda post, first, second: lists[post, first])
    found = verdicts(table, answers, PATH)
    turned = verdicts(swapped(table), answers, PATH)
    for i, pair in enumerate(said):
        share, majority = by_hand(*pair)
        if share is None:
            assert np.isnan(found.majority[i]) and np.isnan(found.preference[i])
        else:
            assert found.majority[i] == majority
            assert found.preference[i] == pytest.approx(share, abs=1e-12)
    assert found.same.tolist() == [False] * len(said) + [True]
    assert found.majority[-1] == found.preference[-1] == 0.5 and np.isnan(found.of_first[-1])
    # A over B is 1 - B over A; position bias and consistency do not depend on the names.
    np.testing.assert_array_equal(found.majority, 1 - turned.majority)
    np.testing.assert_allclose(found.preference, 1 - turned.preference, atol=1e-12)
    np.testing.assert_allclose(found.of_first, turned.of_first, atol=1e-12)
    np.testing.assert_array_equal(found.consistent, turned.consistent)


def test_a_judge_that_reads_no_further_than_the_first_text_decides_nothing():
    table = comparisons(5)
    found = verdicts(table, answers_of(table[:-1], lambda *_: ["first"] * 3), PATH)
    assert set(found.majority) == {0.5} and set(found.of_first[:-1]) == {1.0}
    assert set(found.consistent[:-1]) == {0.0}


def test_answers_about_other_comparisons_are_refused():
    table = comparisons(5)
    answers = answers_of(table[:2], lambda *_: ["first"])
    with pytest.raises(ArtifactError, match="answers.parquet: has no answers about 2 comparisons"):
        verdicts(table, answers, PATH)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Verdict: A", "first"),
        ("They differ.\n\n**Verdict: B**\n\n", "second"),
        ("verdict :  tie.", "tie"),
        ("A", "first"),
        ("`B`", "second"),
        ("Verdict: A\nThank you", None),
        ("Verdict: A or B", None),
        ("Verdict: C", None),
        ("Summary A is better", None),
        ("Verdict: AB", None),
        ("", None),
        (" \n ", None),
    ],
)
def test_an_answer_says_its_verdict_in_its_last_line_or_none(answer, said):
    assert verdict(answer) == said


@settings(deadline=None)
@given(st.text())
def test_any_answer_is_read(answer):
    found = verdict(answer)
    assert found in (None, "first", "second", "tie")
    last = [line for line in answer.splitlines() if line.strip()][-1:]
    assert found is None or re.search("a|b|tie", last[0], re.IGNORECASE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("$post $first", "needs .first, .post, .second"),
        ("$post $first $second $third", "no others"),
        ("$post $first $second costs 5 $ or more", "two"),
        (b"$post \xff", "UTF-8"),
        (None, "no such file"),
    ],
)
def test_a_prompt_that_lacks_something_is_named(text, said, tmp_path):
    path = tmp_path / "prompt.txt"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=f"prompt.txt.*{said}"):
        read_prompt(path)


def test_the_judge_by_gold_has_the_win_rate_that_its_noise_gives(tmp_path, monkeypatch):
    """4 standard errors: of the share of answers, and of the majority of 2 x 3 with ties, whose
    chance is the binomial's."""
    table = comparisons(301)
    margin = dict(zip(table.text, np.random.default_rng(1).normal(0.3, 1, 301), strict=True))

    def gold_reward(rater, posts, samples):
        assert rater == "made up"
        return np.array([margin.get(text, 0.0) for text in samples.text])

    monkeypatch.setattr(gold_judge, "gold_reward", gold_reward)
    posts = posts_of(table)
    every = questions(table, posts, read_prompt(PROMPT), Request("gold", 0.5, 9, 1), 3)
    transport, named = gold_judge.gold_judge("made up", posts, every)
    with opened(tmp_path / "answers.jsonl") as file:
        server = Server("http://gold", 60, 1, transport=transport)
        found = verdicts(table, ask(named, server, file, 2), PATH)
    chance = 1 / (1 + np.exp(-np.array([margin[text] for text in table.text[:-1]]) / 0.5))
    win = binom.sf(3, 6, chance) + binom.pmf(3, 6, chance) / 2
    preference, majority = found.preference[:-1], found.majority[:-1]
    assert abs((preference - chance).mean()) < 4 * np.sqrt((chance * (1 - chance) / 6).mean() / 300)
    assert abs((majority - win).mean()) < 4 * np.sqrt((win * (1 - win)).mean() / 300)
    assert abs(np.nanmean(found.of_first) - 0.5) < 4 * 0.5 / np.sqrt(6 * 300)
    # Another rater's answers are not taken for its own.
    margin[table.text[0]] += 1
    _, renamed = gold_judge.gold_judge("made up", posts, every)
    assert not {each.key for each in named} & {each.key for each in renamed}


@pytest.mark.parametrize("grid", ["workshop", "full"])
def test_a_single_reward_model_of_each_pretraining_seed_and_the_mean_of_ensembles_are_judged(grid):
    models = reward_models(grid, [1, 2, 3], [4, 5])
    kinds = judged_rankers(rankers(models, ["min", "mean"], 5), 2)
    assert {kind: [each.name for each in found] for kind, found in kinds.items()} == {
        "single": ["single-pretrain1-finetune4", "single-pretrain2-finetune4"],
        "finetune mean": ["finetune-pretrain1-mean", "finetune-pretrain2-mean"][
            : 1 if grid == "workshop" else 2
        ],
        "pretrain mean": ["pretrain-finetune4-mean", "pretrain-finetune5-mean"][
            : 1 if grid == "workshop" else 2
        ],
    }
    without_mean = judged_rankers(rankers(models, ["median", "min"], 5), 2)
    assert list(without_mean) == ["single", "finetune median", "pretrain median"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Results of a made-up experiment with RLHF, compared by a judge that goes by the evaluator."""
    folder = tmp_path_factory.mktemp("judged")
    make_results(folder, DESIGN)
    make_aligned(folder, DESIGN)
    judge_comparisons(
        **fake_results.of_grid(folder),
        **fake_results.judges(folder),
        diagnostics=folder / "diagnostics.parquet",
        **{f"aligned_{kind}": folder / kind / "aligned" for kind in ("samples", "scores")},
        aligned_diagnostics=folder / "diagnostics/aligned",
        aligned=ALIGNED,
        design=DESIGN,
        rankers=5,
        posts=10,
        output=folder / "comparisons.parquet",
    )
    compared = read_table(folder / "comparisons.parquet", COMPARISONS)
    by_text = {}
    aligned = compared.kl_coefficient.notna()  # whose rewards do not depend on the text alone here
    for row in pd.concat([compared[aligned], compared[~aligned]]).itertuples():
        by_text[row.post_id, row.text] = row.reward
        by_text[row.post_id, row.other] = row.other_reward

    def of_pair(post, first, second):
        return ["first" if by_text[post, first] > by_text[post, second] else "second"] * 2

    every = answers_of(compared[compared.text != compared.other], of_pair)
    every = every.drop_duplicates(["post_id", "first", "second", "answer_index"])
    write_table(every, folder / "answers.parquet", ANSWERS)
    judge_tables(
        comparisons=folder / "comparisons.parquet",
        answers=folder / "answers.parquet",
        design={key: value for key, value in DESIGN.items() if key != "scales"},
        resamples=200,
        evidence=[folder / "evidence" / scale / "judge.parquet" for scale in DESIGN["scales"]],
        table=folder / "judge.csv",
    )
    return folder


def test_contests_compare_what_rankers_chose_at_the_largest_n(made):
    compared = read_table(made / "comparisons.parquet", COMPARISONS)
    world = fake_results.read_world(made)
    for row in compared[compared.kl_coefficient.isna()].itertuples():
        sides = ((row.better_ranker, row.text), (row.worse_ranker, row.other))
        for ranker, text in sides:
            chosen = (
                0 if ranker == "policy" else world["choice"][row.scale, ranker][row.post_id, 16]
            )
            assert text == world["text"][row.post_id, chosen]
    pairs = compared.groupby(["scale", "better", "worse", "kl_coefficient"], dropna=False)
    counts = {key[:3]: len(rows) for key, rows in pairs}
    assert counts["small", "single", "policy"] == counts["small", "pretrain mean", "single"] == 30
    assert counts["small", "finetune mean", "policy"] == 10
    aligned = compared[compared.kl_coefficient.notna()]
    assert set(aligned.better) == {"RLHF single", "RLHF finetune mean", "RLHF pretrain mean"}
    assert set(aligned.kl_coefficient) == set(ALIGNED["kl_coefficients"])
    assert set(aligned.better_ranker[aligned.scale == "small"]) == {
        *("single-pretrain0-finetune0", "finetune-pretrain0-mean", "pretrain-finetune0-mean")
    }


def test_a_judge_that_goes_by_the_evaluator_has_its_win_rates(made):
    table = pd.read_csv(made / "judge.csv")
    assert set(table.better[table.kl_coefficient.notna()]) > {"RLHF single", "RLHF pretrain mean"}
    table = table[table.kl_coefficient.isna()]
    np.testing.assert_allclose(table.win_rate, table.by_evaluator, atol=1e-5)
    np.testing.assert_allclose(table.win_rate, table.preference, atol=1e-5)
    assert set(table["first"]) == {0.5} and set(table.consistent) == {1}
    assert set(table.without_verdict) == {0} and (table.by_gold != table.by_evaluator).any()
    compared = read_table(made / "comparisons.parquet", COMPARISONS)
    compared = compared[compared.kl_coefficient.isna()]
    keys = ["scale", "better", "worse"]
    alike = (compared.text == compared.other).groupby([compared[key] for key in keys]).mean()
    found = table.set_index(keys).same
    assert found.to_dict() == pytest.approx(alike.to_dict(), abs=1e-5) and found.nunique() > 1
    single = table[(table.better == "single") & (table.worse == "policy")]
    assert (single.low < single.posts_low).all() and (single.high > single.posts_high).all()
    alone = table[table.better == "finetune mean"]  # one ranker says nothing about other seeds
    assert alone.low.isna().all() and (alone.posts_low.notna() == (alone.win_rate < 1)).all()
    for scale, rows in table.groupby("scale"):
        evidence = read_table(made / "evidence" / scale / "judge.parquet", EVIDENCE)
        of_data = evidence[(evidence["resample"] == 0) & (evidence.drawn == "posts")]
        found = of_data.set_index("quantity").value
        for row in rows[rows.kl_coefficient.isna()].itertuples():
            name = f"{row.better} over {row.worse}"
            assert found[f"judge win rate of {name}"] == pytest.approx(row.win_rate, abs=1e-5)
        assert found["judge units of single over policy"] == 3
        assert not [name for name in found.index if "RLHF" in name]


def test_every_quantity_of_a_claim_about_a_judge_is_found(made):
    entries = claims.read_claims(fake_results.PUBLISHED.parents[1] / "claims.yaml")
    names = set().union(*map(claims.quantity_names, entries))
    evidence = read_table(made / "evidence/small/judge.parquet", EVIDENCE)
    of_judge = {name for name in names if name.startswith("judge ")}
    assert len(of_judge) == 4 and of_judge <= set(evidence.quantity)


def test_every_contest_is_over_the_same_posts(made):
    compared = read_table(made / "comparisons.parquet", COMPARISONS)
    keys = ["scale", "better", "worse", "kl_coefficient", "pair"]
    posts = [list(rows.post_id) for _, rows in compared.groupby(keys, dropna=False)]
    assert all(first == second for first, second in itertools.pairwise(posts))
    assert len(posts[0]) == 10
