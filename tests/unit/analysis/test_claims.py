"""The claims file: what it may hold, and how it is judged."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import yaml
from fake_results import NEWER

from underspec.analysis import claims, newer_rankers
from underspec.analysis.published import PARAMETERS, read_table1
from underspec.analysis.quantities import Quantity
from underspec.errors import ArtifactError

ROOT = Path(__file__).parents[3]
CLAIMS_FILE = ROOT / "reports/claims.yaml"
TABLE1 = read_table1(ROOT / "reports/published/table1.csv")
RNG = np.random.default_rng(0)


def around(value, error=0.01) -> np.ndarray:
    """A quantity (DRAWS, resamples) that is `value`, give or take."""
    values = RNG.normal(value, error, (3, 201))
    values[:, 0] = value
    return values


def found(
    quantities: dict[Quantity, float],
    scales=("base",),
    paper=False,
    posts=200,
    pretraining_seeds=5,
    grid="full",
    world="debian",
):
    sizes = {scale: PARAMETERS[scale] if paper else 1000.0 for scale in scales}
    evidence = {
        scale: {("parameters", 0): np.full((3, 201), sizes[scale])}
        | {("posts", 0): np.full((3, 201), float(posts))}
        | {quantity: around(value) for quantity, value in quantities.items()}
        for scale in scales
    }
    return claims.Found(evidence, [1, 2, 16, 64], pretraining_seeds, grid, 5, world)


def claim(**keys) -> claims.Claim:
    return claims.Claim(**({"id": "a", "claim": "b", "place": "c", "scales": ["base"]} | keys))


def judge(entry: claims.Claim, what) -> dict:
    (row,) = claims.verdicts([entry], what).to_dict("records")
    return row


@pytest.mark.parametrize(
    ("more", "less", "verdict"),
    [(0.5, 0.3, "supported"), (0.3, 0.5, "contradicted"), (0.4, 0.395, "undecided")],
)
def test_a_direction(more, less, verdict):
    row = judge(claim(more="x", less="y"), found({("x", 0): more, ("y", 0): less}))
    assert row["verdict"] == row["these_models"] == verdict
    assert row["estimate"] == pytest.approx(more - less)
    assert (row["more"], row["less"]) == (more, less)
    assert row["low"] < row["estimate"] < row["high"]
    assert row["posts_low"] < row["estimate"] < row["posts_high"]
    assert row["distinct_resamples"] == 126


def test_all_of_one_side_must_exceed_all_of_the_other():
    quantities = {("a", 64): 0.9, ("b", 64): 0.5, ("c", 64): 0.7, ("d", 64): 0.1}
    row = judge(claim(more=["a", "b"], less=["c", "d"], n="largest"), found(quantities))
    assert row["estimate"] == pytest.approx(0.5 - 0.7)
    assert row["verdict"] == "contradicted"


def test_terms_may_have_an_n_a_scale_and_a_minus_of_their_own():
    what = found({("x", 2): 0.2, ("x", 64): 0.9, ("y", 64): 0.3}, scales=("base", "xl"))
    growth = claim(more={"quantity": "x", "n": "largest"}, less={"quantity": "x", "n": "smallest"})
    assert judge(growth, what)["estimate"] == pytest.approx(0.7)
    gap = claim(more={"quantity": "x", "minus": "y", "scale": "xl"}, less=0.5, n=64)
    assert judge(gap, what)["estimate"] == pytest.approx(0.1)


def test_names_of_what_a_claim_compares():
    entry = claim(
        more=["a", {"quantity": "b", "minus": "c", "n": 2}], less=[{"range": ["d", "e"]}, 0.5]
    )
    assert claims.quantity_names(entry) == set("abcde")
    assert claims.quantity_names(claim(equals="x")) == {"x"}


@pytest.mark.parametrize("world", ["debian", "micro_tldr"])
def test_what_was_chosen_by_the_recipe_of_a_world_is_marked_there(world):
    entry = claim(more="x", less=0.1, chosen_by_recipe=["micro_tldr"])
    what = found({("x", 0): 0.5}, world=world)
    assert judge(entry, what)["chosen_by_recipe"] == (world == "micro_tldr")
    assert judge(entry, what)["verdict"] == "supported"  # the mark changes no verdict
    assert not judge(claim(more="x", less=0.1), what)["chosen_by_recipe"]


def test_the_shipped_claims_that_a_recipe_chose():
    """What docs/regime.md asks for: agreement, and accuracy that rises with scale."""
    chosen = {entry.id for entry in claims.read_claims(CLAIMS_FILE) if entry.chosen_by_recipe}
    accuracy = {"accuracy, large above base", "accuracy, xl above large"}
    assert chosen == accuracy | {"different pretraining seeds agree less"}


@pytest.mark.parametrize(("other", "freedom"), [(1.0, 8), (1e-3, 4), (0.0, 4)])
def test_scales_that_vary_by_their_own_seeds_add_degrees_of_freedom(other, freedom):
    """Five seeds each: 4 degrees of freedom if one scale causes all of the variance, 8 if each
    causes as much."""
    what, entry = found({}, scales=("base", "xl")), {"quantity": "x", "scale": "base"}
    noise = np.random.default_rng(0).normal(0, 0.1, (2, 1, 20_001)) * [[0], [1], [1]]
    noise[..., 0] = 0
    what.evidence["base"]["x", 0] = 0.5 + noise[0]
    what.evidence["xl"]["x", 0] = 0.6 + other * noise[1]
    row = judge(claim(more=entry | {"scale": "xl"}, less=entry, scales=[""]), what)
    error = math.sqrt(5 / 4 * (1 + other**2)) * 0.1
    reach = scipy.stats.t.ppf(0.975, freedom) * error
    assert row["high"] - row["estimate"] == pytest.approx(reach, rel=0.02)
    assert row["estimate"] == pytest.approx(0.1)


def test_a_claim_may_compare_a_scale_with_several_others():
    what, entry = found({("x", 0): 0.5}, scales=("base", "large", "xl")), {"quantity": "x"}
    entry = claim(
        more=entry | {"scale": "xl"},
        less=[entry | {"scale": "base"}, entry | {"scale": "large"}],
        scales=[""],
    )
    row = judge(entry, what)
    assert row["low"] < row["estimate"] == 0 < row["high"]


SEEDS_NEEDED = {
    "decided": ("x", 0.5, {}, False),
    "undecided": ("x", 0.005, {}, True),
    "no interval": ("x", 0.005, {"pretraining_seeds": 1}, False),
    "an extreme": ("accuracy range", 0.005, {}, False),
    "every checkpoint finetuned": ("reward of finetune mean", 0.005, {}, True),
    "one checkpoint finetuned": ("reward of finetune mean", 0.005, {"grid": "workshop"}, False),
}


@pytest.mark.parametrize(
    ("name", "value", "keys", "given"), SEEDS_NEEDED.values(), ids=SEEDS_NEEDED
)
def test_how_many_seeds_would_decide_what_is_undecided(name, value, keys, given):
    what = found({}, **keys)
    what.evidence["base"][name, 0] = RNG.normal(value, [[0.001], [0.01], [0.01]], (3, 201))
    what.evidence["base"][name, 0][:, 0] = value
    row = judge(claim(more=name, less=0.0), what)
    assert math.isnan(row["pretraining_seeds_needed"]) != given
    if given:
        assert row["pretraining_seeds_needed"] > 5


def test_seeds_that_decide_on_pretrain_ensembles_fill_them():
    signs = np.append(0, np.tile([-1, 1], 100))  # first the data
    seeds = 0.5 + np.array([[0.001], [0.28], [0.28]]) * signs
    what = found({})
    what.evidence["base"] |= {("x", 0): seeds, ("reward of pretrain mean", 0): seeds}
    needed = [
        judge(claim(more=name, less=0.0), what)["pretraining_seeds_needed"]
        for name in ("x", "reward of pretrain mean")
    ]
    assert needed[1] == 5 * math.ceil(needed[0] / 5) and needed[0] % 5


def test_a_range_and_a_constant():
    quantities = {("a", 0): 0.9, ("b", 0): 0.5, ("c", 0): 0.7}
    row = judge(claim(more=0.5, less={"range": ["a", "b", "c"]}), found(quantities))
    assert row["estimate"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"more": "x", "less": "unknown", "n": 16}, "no unknown at n = 16"),
        ({"more": {"quantity": "x", "n": 32}, "less": 0.0}, "no x at n = 32"),
        ({"more": "x", "less": "x", "scales": ["xl"], "n": 16}, "no scale xl"),
    ],
)
def test_what_an_experiment_lacks_is_undecided_and_says_why(keys, reason):
    what = found({("x", 16): 0.5})
    row = judge(claim(**keys), what)
    assert row["verdict"] == "undecided" and row["reason"] == f"this experiment has {reason}"
    assert np.isnan(row["estimate"])
    assert claims.verdicts([claim(**keys, ours=True)], what).empty  # ours are left out


@pytest.mark.parametrize(
    ("paper", "world", "value", "verdict"),
    [
        (False, "tldr", 0.66, "undecided"),
        (True, "helpful", 0.66, "undecided"),
        (True, "helpful", 0.9, "undecided"),
        (True, "tldr", 0.66, "supported"),
        (True, "tldr", 0.9, "contradicted"),
    ],
)
def test_numbers_are_tested_at_the_published_sizes_and_posts_alone(paper, world, value, verdict):
    entry = claim(equals="x", published={"base": [0.654, 0.667]})
    row = judge(entry, found({("x", 0): value}, paper=paper, world=world))
    assert row["verdict"] == verdict
    assert row["estimate"] == value and row["published"] == "0.654 to 0.667"


ONE = {
    "post": ({"posts": 1}, "no interval: one post says nothing about others", "undecided"),
    "pretraining seed": (
        {"pretraining_seeds": 1},
        "no interval: one pretraining seed says nothing about others",
        "supported",
    ),
}


@pytest.mark.parametrize(("few", "reason", "these_models"), ONE.values(), ids=ONE)
def test_one_of_a_kind_decides_nothing(few, reason, these_models):
    """With one pretraining seed the posts still say something about the reward models at hand."""
    row = judge(claim(more="x", less=0.1), found({("x", 0): 0.5}, **few))
    assert row["verdict"] == "undecided" and row["reason"].startswith(reason)
    assert row["these_models"] == these_models
    assert row["estimate"] == pytest.approx(0.4)
    assert np.isnan(row["low"]) and np.isnan(row["high"])
    entry = claim(equals="x", published={"base": [0.4, 0.6]})
    row = judge(entry, found({("x", 0): 0.9}, paper=True, world="tldr", **few))
    assert row["verdict"] == "undecided" and row["reason"].startswith(reason)


@pytest.mark.parametrize(("seeds", "freedom"), [(5, 4), (2, 1)])
def test_rlhf_has_as_many_pretraining_seeds_as_its_policies(seeds, freedom):
    """The t quantile, of a variance that seeds alone cause."""
    names = ("RLHF reward of single", "RLHF units of single")
    what = found({})
    what.evidence["base"][names[1], 0] = np.full((3, 201), float(seeds))
    noise = np.random.default_rng(0).normal(0, 0.1, 201)
    noise[0] = 0
    what.evidence["base"][names[0], 0] = 0.5 + np.stack([0 * noise, noise, noise])
    row = judge(claim(more=names[0], less=0.0), what)
    error = noise[1:].std() * math.sqrt(seeds / (seeds - 1))
    quantile = scipy.stats.t.ppf(0.975, freedom)
    assert row["high"] - row["estimate"] == pytest.approx(quantile * error, rel=1e-6)
    assert math.isnan(row["pretraining_seeds_needed"])


def test_of_one_pretraining_seed_rlhf_decides_nothing():
    what = found({("RLHF reward of single", 0): 0.5})
    what.evidence["base"]["RLHF units of single", 0] = np.ones((3, 201))
    row = judge(claim(more="RLHF reward of single", less=0.0), what)
    assert row["verdict"] == "undecided"
    assert row["reason"].startswith("no interval: one aligned ranker says nothing")


def test_a_claim_about_rlhf_that_was_not_run_is_left_out():
    """An experiment need not have RLHF, at any scale; a claim that names what it lacks stays."""
    entries = [
        claim(id=f"x{name}", more=f"{name}reward of single", less=0.0) for name in ("RLHF ", "")
    ]
    rows = claims.verdicts(entries, found({("x", 0): 1.0})).to_dict("records")
    assert [row["id"] for row in rows] == ["x"]
    assert rows[0]["reason"] == "this experiment has no reward of single"


def test_a_claim_about_mc_dropout_that_was_not_asked_for_is_left_out():
    entry = claim(more="x", less="reward of mc_dropout32 mean")
    without = {("x", 0): 1.0, ("reward of mc_dropout8 mean", 0): 0.5}
    assert claims.verdicts([entry], found(without)).empty
    row = judge(entry, found(without | {("reward of mc_dropout32 mean", 0): 0.75}))
    assert row["estimate"] == pytest.approx(0.25)


def test_rlhf_that_lacks_a_kind_of_ranker_says_which():
    what = found({("RLHF reward of single", 0): 1.0, ("RLHF units of single", 0): 3.0})
    row = judge(claim(more="RLHF reward of pretrain mean", less="RLHF reward of single"), what)
    lacking = "no policy aligned to rankers of the kind pretrain mean"
    assert row["reason"] == f"this experiment has {lacking}"


def test_a_claim_about_a_judge_has_the_units_of_its_contest():
    won, units = ("judge " + name + " of single over policy" for name in ("win rate", "units"))
    what = found({(won, 0): 0.5})
    what.evidence["base"][units, 0] = np.ones((3, 201))
    row = judge(claim(more=won, less=0.5), what)
    assert row["reason"].startswith("no interval: one judged ranker says nothing")
    row = judge(claim(more="judge win rate of pretrain over single", less=0.5), what)
    assert row["reason"] == "this experiment has no verdict of a judge on pretrain over single"
    assert claims.verdicts([claim(more=won, less=0.5)], found({("x", 0): 1.0})).empty


def test_a_difference_that_no_resample_changes_decides_nothing():
    what = found({})
    what.evidence["base"]["x", 0] = np.full((3, 201), 0.5)
    row = judge(claim(more="x", less=0.1, note="ours"), what)
    assert row["verdict"] == "undecided"
    assert row["reason"] == "no interval: no resample differs from the data; ours"
    assert np.isnan(row["low"])


@pytest.mark.parametrize("low", [0.1, 0.5 - 1e-9])
def test_rounding_decides_nothing(low):
    """Nor does it for the reward models at hand."""
    what, noise = found({}), 1 + 1e-8 * np.random.default_rng(0).normal(size=(3, 201))
    what.evidence["base"]["x", 0] = 0.5 * noise
    row = judge(claim(more="x", less=low), what)
    assert (row["verdict"], row["these_models"]) == ("undecided", "undecided")
    assert row["reason"] == "no interval: no resample differs from the data"
    assert np.isnan([row["low"], row["posts_low"]]).all()


def test_either_kind_of_reward_has_claims_on_accuracy():
    entries = claims.read_claims(CLAIMS_FILE) + claims.numbers_of_table1(TABLE1)
    of_kinds = {
        kind: [entry for entry in entries if entry.reward in (None, kind)]
        for kind in ("preference", "pointwise")
    }
    about_accuracy = [
        sum("accura" in entry.claim for entry in of_kind) for of_kind in of_kinds.values()
    ]
    assert min(about_accuracy) >= 4
    said = " ".join(f"{entry.claim} {entry.place}" for entry in of_kinds["pointwise"])
    assert "comparisons" not in said and "judgements" in said
    assert not any(
        entry.chosen_by_recipe and "accura" in entry.claim for entry in of_kinds["pointwise"]
    )


def test_the_claims_file_is_complete():
    entries = claims.read_claims(CLAIMS_FILE)
    ids = [entry.id for entry in entries]
    assert len(set(ids)) == len(ids)
    assert all(entry.place and (entry.published or entry.ours) for entry in entries)
    places = " ".join(entry.place for entry in entries)
    for part in ("section 2.2", "section 3", "Figure 1", "Figure 2", "Figure 3", "Figure 4"):
        assert part in places


def test_every_number_of_table1_is_a_claim():
    numbers = claims.numbers_of_table1(TABLE1)
    assert len(numbers) == 2 * len(TABLE1) == 54
    (best,) = [
        entry
        for entry in numbers
        if entry.equals == "win_rate of pretrain mean" and "xl" in entry.published
    ]
    assert np.mean(best.published["xl"]) == pytest.approx(0.9)


def test_every_quantity_of_the_claims_file_is_one_that_evidence_finds(tmp_path):
    """A misspelt name would be undecided for ever. Those of a judge: test_verdicts."""
    from fake_aligned import ALIGNED, align_to_copies, make_aligned
    from fake_results import DESIGN, make_results, mc_dropout, read_made

    from underspec.analysis import rlhf, shared_error, styles
    from underspec.analysis.aligned_policies import AlignedTables
    from underspec.analysis.bootstrap import draw
    from underspec.analysis.quantities import (
        evaluator_length_coefficient,
        evidence,
        of_cheaper_ensembles,
    )
    from underspec.analysis.results import read_cheaper
    from underspec.cheaper_ensembles import cheaper_ensembles

    design = DESIGN | {"aggregators": ["mean", "median", "min", "mean_minus_stdev"]}
    make_results(tmp_path, design)
    read = read_made(tmp_path, design)
    metrics = read.metrics | {
        name: read.metrics["gold"] for name in ("biased_words", "label_utility")
    }
    drawn = draw(read.scales[0].models, 12, 100, "small")
    newer = newer_rankers.read(NEWER, RNG.random(metrics["gold"].shape))
    domain = {"texts": 9, "correlation": 0.4, "people": 0.9}
    domains = {str(learned): domain | {"learned": learned} for learned in (True, False)}
    trainings = [training | {"domains": domains} for training in read.scales[0].training]
    known = evidence(replace(read.scales[0], training=trainings), metrics, 0.8, drawn, newer)
    known |= evaluator_length_coefficient(metrics, RNG.normal(size=metrics["gold"].shape), drawn)
    dropout = mc_dropout(tmp_path, read, design["pretrain_seeds"], [8, 32])
    known |= of_cheaper_ensembles(dropout, read.scales[0], metrics, drawn)
    make_aligned(tmp_path, design)
    chosen = align_to_copies(tmp_path, design)
    ensembles = cheaper_ensembles(chosen, design["finetune_seeds"], 2)
    cheaper = read_cheaper(
        tmp_path / "scores", read.scales[0], read.layout, ensembles, design["aggregators"]
    )
    of_scale = replace(read.scales[0], cheaper=cheaper)
    small = [*ALIGNED["rankers"]["small"], "mc_dropout8-pretrain0-mean"]
    settings = ALIGNED["kl_coefficients"], [0]
    kinds = ("samples", "scores", "diagnostics")
    tables = AlignedTables(*(tmp_path / kind / "aligned" for kind in kinds))
    aligned = rlhf.read(
        tables, tmp_path / "diagnostics.parquet", read, of_scale, small, *settings, drawn
    )
    known |= rlhf.evidence(aligned)
    of_errors = shared_error.split(read.scales[0], metrics["gold"], drawn)
    known |= shared_error.quantities(of_errors, design["best_of_n"])
    models = [*read.scales[0].models, *dropout.models]
    rewards = {model.name: RNG.normal(size=(12, styles.TEXTS)) for model in models}
    styled = styles.Styled(rewards, *list(rewards.values())[:2], {})
    known |= styles.quantities(styles.accuracy(read.scales[0], styled, drawn, dropout))
    names = {name for name, _ in known}
    entries = claims.read_claims(CLAIMS_FILE) + claims.numbers_of_table1(TABLE1)
    for entry in entries:
        wanted = {name for name in claims.quantity_names(entry) if not name.startswith("judge ")}
        assert wanted <= names, entry.id


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"id": "x", "claim": "y", "place": "z", "more": "a"}, "needs either `more` and `less`"),
        (
            {"id": "x", "claim": "y", "place": "z", "more": "a", "less": "b", "equals": "c"},
            "needs either",
        ),
        ({"id": "x", "claim": "y", "place": "z", "mroe": "a"}, "mroe"),
        ({"id": "x", "claim": "y"}, "place"),
        (
            {"id": "x", "claim": "y", "place": "z", "more": "a", "less": "b"}
            | {"chosen_by_recipe": ["micro_tldr", "tldr2"]},
            "chosen_by_recipe.1: Value error, no world tldr2; there are c4, debian",
        ),
        ("just words", "claims.yaml"),
    ],
)
def test_a_bad_claims_file_is_refused_by_name(tmp_path, entry, message):
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump([entry]))
    with pytest.raises(ArtifactError, match=r"claims\.yaml: ") as caught:
        claims.read_claims(path)
    assert message in str(caught.value)


def test_a_ledger_that_is_no_yaml_is_refused(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text("- {id: [")
    with pytest.raises(ArtifactError, match="not a claims file"):
        claims.read_claims(path)


def test_the_table_has_its_columns_even_if_empty():
    assert list(claims.verdicts([], found({})).columns) == claims.COLUMNS
    assert isinstance(claims.verdicts([], found({})), pd.DataFrame)


@pytest.mark.parametrize("text", ["", "7", "{id: [", "- {id: a, id: b}", b"\xff\xfe"])
def test_a_ledger_that_cannot_be_read_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "claims.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ArtifactError, match=r"claims\.yaml: ") as caught:
        claims.read_claims(path)
    assert "\n" not in str(caught.value)
