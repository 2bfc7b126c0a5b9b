"""What rankers take for the truth, and what of their errors they share: by hand, by simulation."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fake_results import DESIGN, EVALUATOR, POSTS, make_results, read_made

from underspec.analysis import feature_coefficients, shared_error, styles
from underspec.analysis.bootstrap import draw
from underspec.analysis.statistics import in_policy_units, pick
from underspec.analysis.within_posts import coefficients, sums_of_products
from underspec.artifacts import STYLES as SCHEMA
from underspec.artifacts import scores_by, write_table
from underspec.cheaper_ensembles import McDropout, rankers
from underspec.data.styles import STYLES
from underspec.errors import ArtifactError

RNG = np.random.default_rng(0)
CLOSE = {"rel": 1e-4, "abs": 1e-5}  # resamples are in single precision


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    make_results(folder, DESIGN | {"grid": "full"})
    return read_made(folder, DESIGN | {"grid": "full"})


def resamples(of_scale, posts=POSTS):
    return draw(of_scale.models, posts, 100, of_scale.scale)


def test_coefficients_are_those_of_least_squares():
    terms = RNG.normal(size=(3, 30, 16)) * np.array([1, 20, 1e-3])[:, None, None]
    reward = terms[0] - terms[1] + RNG.normal(size=(30, 16))
    products = sums_of_products(reward, *terms).sum(axis=0)
    within = [each - each.mean(axis=1, keepdims=True) for each in (*terms, reward)]
    columns = np.stack([each.ravel() for each in within], axis=1)
    expected = np.linalg.lstsq(columns[:, :3], columns[:, 3], rcond=None)[0]
    assert coefficients(products[0, 1:], products[1:, 1:]) == pytest.approx(expected)


def test_terms_that_only_vary_together_have_no_coefficients():
    term = RNG.normal(size=(30, 16))
    products = sums_of_products(term, term, 2 * term).sum(axis=0)
    assert np.isnan(coefficients(products[0, 1:], products[1:, 1:])).all()


def test_a_feature_coefficient_is_that_of_a_regression(results):
    of_scale = results.scales[0]
    shape = of_scale.texts.shape
    features = {"copied_words": RNG.normal(size=shape), "numerals": RNG.integers(0, 3, shape)}
    features["list_items"] = np.zeros(shape)
    found = feature_coefficients.table(
        of_scale, features, results.metrics, resamples(of_scale), pretraining_seeds=3
    )
    assert set(found.feature) == {"copied_words", "numerals"}
    columns = [features[name] for name in ("copied_words", "numerals")]
    columns = np.stack(
        [(each - each.mean(axis=1, keepdims=True)).ravel() for each in columns], axis=1
    )
    rewards = {
        "gold rater": [results.metrics["gold"]],
        "evaluator": [results.metrics["reward"]],
        "single": of_scale.rewards,
        "pretrain": [of_scale.rewards_of(ranker) for ranker in of_scale.kinds["pretrain", "mean"]],
    }
    for kind, of_kind in rewards.items():
        fitted = [
            np.linalg.lstsq(columns, in_policy_units(each).ravel(), rcond=None)[0]
            for each in of_kind
        ]
        values = found[found.ensemble == kind]["value"].to_numpy()
        assert values == pytest.approx(np.mean(fitted, axis=0), **CLOSE), kind
        assert (found[found.ensemble == kind]["low"] < values).all()


def test_the_parts_of_an_error_sum_to_it_and_the_gap_is_by_hand(results):
    of_scale, gold = results.scales[0], results.metrics["gold"]
    found = shared_error.split(of_scale, gold, resamples(of_scale))
    for of_parts in found.values():
        whole = of_parts.pop(shared_error.WHOLE)
        assert sum(of_parts.values()) == pytest.approx(whole, nan_ok=True, **CLOSE)
    found = shared_error.split(of_scale, gold, resamples(of_scale))
    errors = in_policy_units(of_scale.rewards) - in_policy_units(gold)
    picked = [pick(errors, choices) for choices in of_scale.singles]  # (judges, ns, posts) each
    own = np.array([each[i] for i, each in enumerate(picked)])
    whole = {"gap": own.mean(axis=(0, 2)), "squared error": (own**2).mean(axis=(0, 2))}
    seeds = np.array([model.pretrain_seed for model in of_scale.models])
    other = [each[seeds != seeds[i]].mean(axis=0) for i, each in enumerate(picked)]
    shared = {"gap": np.mean(other, axis=(0, 2)), "squared error": (own * other).mean(axis=(0, 2))}
    for name in shared_error.MEASURES:
        assert found[name][shared_error.WHOLE][:, 0, 0] == pytest.approx(whole[name], **CLOSE)
        assert found[name]["shared"][:, 0, 0] == pytest.approx(shared[name], **CLOSE)
    (name, n), *_ = shared_error.quantities(found, of_scale.ns)
    assert n == of_scale.ns[0] and "by other pretraining seeds" in name


def test_finds_planted_variances_of_an_error():
    """On texts that nobody chose: one post of 20,000 texts, effects of seeds drawn for each."""
    texts, models = 20_000, [(seed, k) for seed in range(3) for k in range(2)]
    draws = [RNG.normal(0, np.sqrt(v), (k, texts)) for v, k in ((1.0, 1), (0.5, 3), (0.25, 6))]
    errors = np.stack([draws[0][0] + draws[1][p] + draws[2][2 * p + k] for p, k in models])
    squares = shared_error.error_measures(errors, ranker=0)[1].mean(axis=-1)
    found = shared_error.parts(np.array([squares[0], squares[1], squares[2:].mean()]))
    assert found == pytest.approx(
        {"whole": 1.75, "shared": 1.0, "pretraining seed": 0.5, "finetuning seed": 0.25}, abs=0.06
    )


def test_an_experiment_without_a_second_seed_has_the_parts_it_can_tell(results):
    of_scale = results.scales[0]
    gold = results.metrics["gold"]
    first = [i for i, model in enumerate(of_scale.models) if model.finetune_seed == 0]
    models = [of_scale.models[i] for i in first]
    lone = replace(of_scale, models=models, rewards=of_scale.rewards[first])
    found = shared_error.split(lone, gold, resamples(lone))
    table = shared_error.table(lone, found, pretraining_seeds=3)
    assert set(table.part) == {"whole", "shared"}


def make_styles(folder, models):
    """Styles of 8 posts, and reward models that like words: the first is right all the same."""
    rows = [
        (f"post{post}", 2 * i + wrong, style, 1 - wrong, "word " * (5 * i + 5), 1.0 - wrong)
        for post in range(8)
        for i, style in enumerate(STYLES)
        for wrong in (0, 1)
    ]
    columns = ["post_id", "sample_index", "style", "right", "text", "gold"]
    table = pd.DataFrame(rows, columns=columns)
    write_table(table, folder / "styles.parquet", SCHEMA)
    words = table.text.str.split().str.len()
    rewards = {name: 3 * table.right + (words / 5 if i else 0.0) for i, name in enumerate(models)}
    keys = table[["post_id", "sample_index"]]
    write_table(keys.assign(**rewards), folder / "grid.parquet", scores_by(models))
    evaluator = EVALUATOR.rpartition("/")[2]
    scores = keys.assign(**{evaluator: words - 0.0})
    write_table(scores, folder / f"{evaluator}.parquet", scores_by([evaluator]))
    scores = {folder / "grid.parquet": models}
    return folder / "styles.parquet", scores, folder / f"{evaluator}.parquet"


def test_accuracy_in_every_cell_is_by_hand(results, tmp_path):
    of_scale = results.scales[0]
    names = [model.name for model in of_scale.models]
    styled = styles.read_styled(*make_styles(tmp_path, names))
    assert styled.words == {"concise": 5, "plain": 10, "wordy": 15}
    found = styles.accuracy(of_scale, styled, resamples(of_scale, posts=8))
    table = styles.table(of_scale, styled, found, pretraining_seeds=3)
    value = table.set_index(["ensemble", "minus", "right", "wrong", "difficulty"])[
        "value"
    ].sort_index()
    assert (value["gold rater", ""] == 1).all()
    of_evaluator = value["evaluator", "", "all", "all"]
    assert of_evaluator.to_dict() == {"hard": 0, "normal": 0.5, "easy": 1}  # words alone
    assert value["evaluator", "", "plain", "wordy", "hard"] == 0
    assert (value["single", "", "all", "all"] == 1).all()  # 3 for the truth, 2 for the words
    wrong_by_words = 2.5 * (np.arange(6) % 2 == 0)
    weak = {name: rewards - wrong_by_words for name, rewards in styled.rewards.items()}
    weaker = replace(styled, rewards=weak)
    found = styles.accuracy(of_scale, weaker, resamples(of_scale, posts=8))
    quantity = styles.quantities(found)["hard accuracy of single", 0][0, 0]
    assert quantity == pytest.approx(1 / len(names), abs=1e-6)  # only the first
    table = styles.table(of_scale, weaker, found, pretraining_seeds=3)
    gains = table[(table.minus == "single") & (table.difficulty == "hard")]
    assert set(gains.ensemble) == {"finetune", "pretrain"}


def test_a_cheaper_ensemble_is_right_where_the_mean_of_its_members_is(results, tmp_path):
    of_scale = results.scales[0]
    styled = styles.read_styled(*make_styles(tmp_path, [model.name for model in of_scale.models]))
    seeds = sorted({model.pretrain_seed for model in of_scale.models})
    ensembles = [McDropout(seed, 0, (2,)) for seed in seeds]
    cheaper = replace(of_scale, rankers=rankers(ensembles, ["mean", "min"]))
    right, words = 1.0 - np.arange(6) % 2, np.arange(6) / 2
    of_first, of_others = (6 * right - words, words), (words, words)
    for ensemble, (one, other) in zip(ensembles, [of_first] + [of_others] * 9, strict=False):
        members = dict(zip(ensemble.tables, (one, other), strict=True))
        styled.rewards.update({name: np.tile(each, (8, 1)) for name, each in members.items()})
    found = styles.accuracy(of_scale, styled, resamples(of_scale, posts=8), cheaper)
    assert set(found) == {
        "single",
        "finetune",
        "pretrain",
        "mc_dropout2",
        "evaluator",
        "gold rater",
    }
    hard = styles.quantities(found)["hard accuracy of mc_dropout2 mean", 0]
    assert hard[0, 0] == pytest.approx(1 / len(seeds))
    table = styles.table(of_scale, styled, found, pretraining_seeds=3)
    gains = table[(table.ensemble == "mc_dropout2") & (table.minus == "single")]
    assert gains[gains.difficulty == "hard"].value.iloc[-1] == pytest.approx(1 / len(seeds) - 1)
    without = replace(of_scale, rankers=rankers(ensembles[1:], ["mean"]))  # a seed has none
    found = styles.accuracy(of_scale, styled, resamples(of_scale, posts=8), without)
    assert "mc_dropout2" not in found


def test_texts_in_another_order_are_refused(results, tmp_path):
    names = [model.name for model in results.scales[0].models]
    paths = make_styles(tmp_path, names)
    table = pd.read_parquet(paths[0])
    write_table(table.assign(right=1 - table.right), paths[0], SCHEMA)
    with pytest.raises(ArtifactError, match=r"styles.parquet: a post does not have its 6 texts"):
        styles.read_styled(*paths)
    with pytest.raises(ArtifactError, match=r"column gone is missing"):
        texts, scores, evaluator = make_styles(tmp_path, names)
        styles.read_styled(texts, dict.fromkeys(scores, ["gone"]), evaluator)
