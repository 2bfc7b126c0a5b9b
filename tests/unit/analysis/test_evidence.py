"""The evidence for claims: estimates against the tables, resamples against results made of them."""

from dataclasses import replace

import numpy as np
import pytest
from fake_results import (
    DESIGN,
    MODELS,
    NEWER,
    POSTS,
    SAMPLES_A_POST,
    make_results,
    mc_dropout,
    read_made,
    run,
)

from underspec.analysis import bootstrap, newer_rankers, quantities
from underspec.analysis.ensembles import AGGREGATORS, aggregate, standardise
from underspec.analysis.published import kind_name
from underspec.analysis.rerank import best_of_n
from underspec.analysis.selection_rules import RULES, Candidates
from underspec.analysis.statistics import in_policy_units, pick
from underspec.artifacts import EVIDENCE, read_table, write_table
from underspec.grid import RewardModel

GRIDS = {
    "workshop": {},
    "full": {"grid": "full"},
    # Seeds that do not rise, two disjoint ensembles of each kind, a checkpoint that is in none.
    "groups": {
        "grid": "full",
        "pretrain_seeds": [2, 0, 5, 1, 3],
        "finetune_seeds": [1, 0, 2, 4],
        "ensemble_size": 2,
    },
}


SIMILARITY = np.random.default_rng(5).random((12, 16))


@pytest.fixture(scope="module", params=GRIDS)
def found(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("results")
    design = DESIGN | GRIDS[request.param]
    make_results(folder, design)
    tables = run(folder, design)
    read = read_made(folder, design)
    scale = read.scales[0]
    drawn = bootstrap.draw(scale.models, scale.rewards.shape[1], 30, scale.scale)
    newer = newer_rankers.read(NEWER, SIMILARITY)
    tables["rankers"] = newer_rankers.table(scale, read.metrics, newer)
    return tables, read, scale, drawn, quantities.evidence(scale, read.metrics, 0.8, drawn, newer)


def test_agreement_with_people_is_that_of_the_reward_models_drawn(found):
    """As a share of how well people agree; with the texts as they are."""
    _, read, scale, drawn, without = found
    rng, count = np.random.default_rng(1), len(scale.models)
    learned, elsewhere = rng.uniform(0.2, 0.8, (2, count)), rng.uniform(-0.2, 0.8, count)
    training = [
        {"accuracy": 0.6, "parameters": 1}
        | {
            "domains": {
                "a": {"correlation": 0.5 * first, "people": 0.5, "learned": True},
                "b": {"correlation": 0.9 * second, "people": 0.9, "learned": True},
                "c": {"correlation": 0.8 * third, "people": 0.8, "learned": False},
            }
        }
        for first, second, third in zip(*learned, elsewhere, strict=True)
    ]
    newer = newer_rankers.read(NEWER, SIMILARITY)
    rated = replace(scale, training=training)
    values = quantities.evidence(rated, read.metrics, 0.8, drawn, newer)
    name = "agreement with people elsewhere", 0
    assert name not in without
    for resample in (0, 7):
        draws = np.repeat(np.arange(count), drawn.models[:, 1, resample].astype(int))
        assert values[name][1, resample] == pytest.approx(elsewhere[draws].mean(), rel=1e-5)
        spread = values["spread of agreement where learned", 0][1, resample]
        assert spread == pytest.approx(learned[:, draws].std(axis=1).mean(), rel=1e-3, abs=1e-3)
    assert values["agreement with people where learned", 0][0] == pytest.approx(learned.mean())


def test_the_first_resample_is_what_the_tables_say(found):
    tables, _, scale, _, quantities = found
    close = {"rel": 1e-4, "abs": 1e-5}  # single precision, and six digits in the tables

    def rows(name, **wanted):
        table = tables[name]
        for column, value in {"scale": scale.scale, **wanted}.items():
            table = table[table[column] == value]
        return table.iterrows()

    checked = 0
    for _, row in rows("figure1", ranker="all"):
        estimate = quantities[f"reward by {row.judge}", row.n][:, 0]
        assert estimate == pytest.approx([row.reward] * 3, **close)
        checked += 1
    for _, row in rows("figure2"):
        estimate = quantities[f"agreement, {row.pair}", row.n][:, 0]
        assert estimate == pytest.approx([row.agreement] * 3, **close)
        checked += 1
    for _, row in rows("figure3", ranker="all"):
        ratio = quantities["correlation ratio", row.n][:, 0]
        assert ratio**2 == pytest.approx([row.share] * 3, **close)
        checked += 1
    for _, row in rows("figure4", n=16):
        kind = "single" if row.ensemble == "single" else f"{row.ensemble} {row.aggregator}"
        for metric in ("reward", "win_rate"):
            estimate = quantities[f"{metric} of {kind}", 16][:, 0]
            assert estimate == pytest.approx([row[metric]] * 3, **close)
            checked += 1
    assert checked == 3 * 4 + 2 * 3 + 4 + 2 * 5
    accuracy = tables["accuracy"].query("scale == @scale.scale").accuracy
    assert quantities["accuracy", 0][1, 0] == pytest.approx(accuracy.mean())
    assert quantities["highest accuracy", 0][1, 0] == pytest.approx(accuracy.max())
    assert quantities["accuracy range", 0][1, 0] == pytest.approx(np.ptp(accuracy), rel=1e-4)


def test_posts_alone_leave_the_reward_models_as_they_are(found):
    """A resample of the posts gives what posts repeated so often would give."""
    _, read, scale, drawn, quantities = found
    for kind, aggregator in ("pretrain", "min"), ("finetune", "mean"):
        of_kind = [scale.choices[ranker.name][-1] for ranker in scale.kinds[kind, aggregator]]
        values = [np.take_along_axis(read.metrics["reward"], c[:, None], axis=1) for c in of_kind]
        np.testing.assert_allclose(
            quantities[f"reward of {kind} {aggregator}", 16][0],
            drawn.posts @ np.mean(values, axis=0)[:, 0] / 12,
            rtol=1e-4,
        )
    agreement = quantities["agreement, other pretraining seed", 4][0]
    assert not np.isnan(agreement).any()


def test_seeds_alone_leave_the_posts_as_they_are(found):
    """Here there are as many of them as of the others, so nothing is missing."""
    _, read, scale, drawn, quantities = found
    for name, (posts, both, seeds) in quantities.items():
        assert posts[0] == both[0] == pytest.approx(seeds[0]), name
    accuracy = quantities["accuracy", 0]
    np.testing.assert_allclose(accuracy[1], accuracy[2])  # no posts vary it
    single = np.stack([pick(read.metrics["reward"], each[-1:]) for each in scale.singles])[:, 0]
    means = single.mean(axis=1) @ drawn.models[:, 1] / drawn.models[:, 1].sum(axis=0)
    np.testing.assert_allclose(quantities["reward of single", 16][2], means, rtol=1e-4)


def test_of_many_resamples_only_some_draw_seeds_alone(found, monkeypatch):
    """What they find does not depend on how many there are."""
    monkeypatch.setattr(bootstrap, "SEED_DRAWS", 7)
    _, read, scale, drawn, before = found
    newer = newer_rankers.read(NEWER, SIMILARITY)
    after = quantities.evidence(scale, read.metrics, 0.8, drawn, newer)
    for name, values in after.items():
        np.testing.assert_allclose(values[:2], before[name][:2], rtol=1e-6)
        np.testing.assert_allclose(values[2, :8], before[name][2, :8], rtol=1e-6)
        assert np.isnan(values[2, 8:]).all()


def test_what_only_one_checkpoint_has_does_not_shrink_with_seeds(found):
    """It is absent from the resamples that have not drawn this checkpoint, two of them at least
    drawn; on the full grid every checkpoint has all."""
    _, read, scale, drawn, evidence = found
    workshop = len(scale.models) < 6
    several = (np.diff(drawn.drawn_seeds) != 0).any(axis=1)
    without_first = several & (drawn.drawn_seeds != 0).all(axis=1)
    assert without_first.any()
    for (name, _), (_, *with_seeds) in evidence.items():
        if name not in quantities.EXTREMES:
            (absent,) = {bool(np.isnan(each[without_first]).all()) for each in with_seeds}
            assert absent or not any(np.isnan(each[several]).any() for each in with_seeds)
            grid = "workshop" if workshop else "full"
            assert quantities.shrinks_with_seeds(name, grid) != absent, name


def by_hand(read, scale, drawn, resample, kind, aggregator, rule="best_of_n"):
    """The evaluator's reward of ensembles of the reward models that one resample drew, as loops."""
    seeds = list(dict.fromkeys(model.pretrain_seed for model in scale.models))
    weights = drawn.posts[resample]
    values = []
    if kind == "pretrain":
        drawn_seeds = [seeds[seed] for seed in drawn.drawn_seeds[resample]]
        sequences = [
            [RewardModel(seed, finetuning) for seed in drawn_seeds]
            for finetuning in {model.finetune_seed for model in scale.models}
            if all(RewardModel(seed, finetuning) in scale.models for seed in seeds)
        ]
    else:
        sequences = [
            [scale.models[model] for model in slot if model >= 0]
            for slot in drawn.drawn[resample]
            if (slot >= 0).sum() > 1
        ]
    size = len(scale.kinds[kind, "mean"][0].members)
    ensembles = [
        sequence[end - size : end]
        for sequence in sequences
        for end in range(size, len(sequence) + 1, size)
    ]
    for members in ensembles:
        rewards = scale.rewards[[scale.models.index(model) for model in members]]
        chosen = chances_by_hand(rewards, aggregator, rule)
        values.append((read.metrics["reward"] * chosen).sum(axis=1) @ weights / len(weights))
    return np.mean(values) if values else np.nan


def chances_by_hand(rewards, aggregator, rule):
    """How an ensemble chooses among 16 samples: (posts, samples), in the unit over all posts."""
    if aggregator in ("mean", "min") and rule == "best_of_n":
        index = best_of_n(aggregate(rewards, aggregator), [16])[0]
        return np.eye(16)[index]
    members = standardise(rewards)
    unit = members.mean(axis=0).std()  # the mean over samples is 0
    if aggregator == "uwo":
        return np.eye(16)[AGGREGATORS["uwo"](members / unit, **NEWER["uwo"]).argmax(axis=1)]
    mean = Candidates(members.mean(axis=0) / unit, in_policy_units(SIMILARITY))
    return RULES[rule](mean, 16, **NEWER[rule])


NEWER_WAYS = [("uwo", "best_of_n"), *(("mean", rule) for rule in NEWER if rule != "uwo")]


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
@pytest.mark.parametrize("way", NEWER_WAYS, ids="-".join)
def test_newer_rankers_are_put_together_again_in_every_resample(found, kind, way):
    _, read, scale, drawn, quantities = found
    values = quantities[f"reward of {kind_name(kind, *way)}", 16][1]
    expected = [by_hand(read, scale, drawn, i, kind, *way) for i in range(31)]
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)
    assert len(set(np.round(values, 6))) > 3


def test_the_first_resample_of_newer_rankers_is_what_their_table_says(found):
    tables, _, scale, _, quantities = found
    table = tables["rankers"].query("n == 16")
    for _, row in table.iterrows():
        for metric in ("reward", "win_rate", "gold"):
            name = f"{metric} of {kind_name(row.ensemble, row.aggregator, row.rule)}"
            estimate = quantities[name, 16][:, 0]
            assert estimate == pytest.approx([row[metric]] * 3, rel=1e-4, abs=1e-5)
    assert len(table) == 1 + 2 * 2 + 4 * 3 + 2  # single, ensembles, rules, UWO


def test_without_newer_rankers_the_paper_s_are_the_same(found):
    _, read, scale, drawn, with_newer = found
    newer = newer_rankers.read(dict.fromkeys(NEWER), SIMILARITY)
    without = quantities.evidence(scale, read.metrics, 0.8, drawn, newer)
    assert without.keys() < with_newer.keys()
    for name, values in without.items():
        np.testing.assert_array_equal(values, with_newer[name])


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
@pytest.mark.parametrize("aggregator", ["mean", "min"])
def test_ensembles_are_put_together_again_in_every_resample(found, kind, aggregator):
    _, read, scale, drawn, quantities = found
    values = quantities[f"reward of {kind} {aggregator}", 16][1]
    expected = [by_hand(read, scale, drawn, i, kind, aggregator) for i in range(31)]
    np.testing.assert_allclose(values, expected, rtol=1e-4)
    assert len(set(np.round(values, 6))) > 3


def test_pairs_count_as_often_as_both_were_drawn(found):
    _, _, scale, drawn, quantities = found
    texts = np.stack(
        [
            np.take_along_axis(
                scale.texts, scale.choices[f"single-{model.name}"][2][:, None], axis=1
            )[:, 0]
            for model in scale.models
        ]
    )
    values = quantities["agreement, same pretraining seed", 4][1]
    for resample in range(31):
        weights, total, number = drawn.models[:, 1, resample], 0.0, 0
        for i, first in enumerate(scale.models):
            for j, second in enumerate(scale.models[:i]):
                if first.pretrain_seed == second.pretrain_seed:
                    times = (drawn.drawn_seeds[resample] == drawn.seed_of_model[i]).sum()
                    pairs = weights[i] * weights[j] / max(times, 1)
                    total += pairs * (texts[i] == texts[j]) @ drawn.posts[resample] / 12
                    number += pairs
        expected = total / number if number else np.nan
        assert values[resample] == pytest.approx(expected, rel=1e-4, nan_ok=True)


def test_a_judge_is_not_its_own_copy(found):
    """A reward model drawn twice is no second judge of its own pretraining seed."""
    _, _, scale, drawn, quantities = found
    seeds = np.array([model.pretrain_seed for model in scale.models])
    for resample, value in enumerate(quantities["reward by same pretraining seed", 4][1]):
        weights = drawn.models[:, 1, resample] > 0
        distinct = [weights[seeds == seed].sum() for seed in set(seeds)]
        exists = max(distinct) > 1 and sum(count > 0 for count in distinct) > 1
        assert np.isnan(value) != exists


def test_survives_its_table(found, tmp_path):
    found = found[-1]
    path = tmp_path / "resamples.parquet"
    write_table(quantities.to_table(found), path, EVIDENCE)
    back = quantities.from_table(read_table(path, EVIDENCE))
    assert back.keys() == found.keys()
    for quantity, values in found.items():
        np.testing.assert_array_equal(back[quantity], values)


def test_the_gold_rater_chooses_by_gold(found):
    _, read, _, drawn, quantities = found
    gold, reward = read.metrics["gold"], read.metrics["reward"]
    chosen = reward[np.arange(len(gold)), gold.argmax(axis=1)]
    for values in quantities["reward of gold rater", 16][:2]:  # no seeds vary it
        np.testing.assert_allclose(values, drawn.posts @ chosen / 12, rtol=1e-4)
    assert quantities["gold of gold rater", 16][0, 0] == pytest.approx(gold.max(axis=1).mean())


def test_without_an_evaluator_there_is_no_worth(found):
    _, _, scale, drawn, _ = found
    newer = newer_rankers.read(NEWER, SIMILARITY)
    names = {name for name, _ in quantities.evidence(scale, {}, 0.8, drawn, newer)}
    assert not any(" of single" in name or " of pretrain" in name for name in names)
    assert "correlation ratio" in names


def test_the_evaluators_length_coefficient_in_repeated_posts(found):
    _, read, _, drawn, _ = found
    words = np.random.default_rng(1).integers(3, 30, read.metrics["gold"].shape)
    ((_, coefficient),) = quantities.evaluator_length_coefficient(
        read.metrics, words, drawn
    ).items()
    counts = drawn.posts[5].astype(int)
    repeated = {name: np.repeat(v, counts, axis=0) for name, v in read.metrics.items()}
    one = bootstrap.draw(MODELS, counts.sum(), 1, "small")
    ((_, again),) = quantities.evaluator_length_coefficient(
        repeated, np.repeat(words, counts, axis=0), one
    ).items()
    assert coefficient[0, 5] == pytest.approx(again[0, 0])
    assert isinstance(coefficient, np.ndarray) and coefficient.shape == (3, 31)


def test_cheaper_ensembles_are_drawn_with_their_pretraining_seed(tmp_path):
    """By hand, where the workshop grid has several reward models of one seed and one of others."""
    make_results(tmp_path, DESIGN)
    read = read_made(tmp_path)
    scale, seeds = read.scales[0], DESIGN["pretrain_seeds"]
    drawn = bootstrap.draw(scale.models, scale.rewards.shape[1], 30, scale.scale)
    cheaper = mc_dropout(tmp_path, read, seeds, [2, 3])
    found = quantities.of_cheaper_ensembles(cheaper, scale, read.metrics, drawn)
    assert found.keys() == {
        (f"{metric} of mc_dropout{members} {how}", 16)
        for metric in read.metrics
        for members in (2, 3)
        for how in ("mean", "min")
    }
    for metric, of_samples in read.metrics.items():
        of_seed = [
            pick(of_samples, cheaper.choices[f"mc_dropout3-pretrain{seed}-min"][-1:])[0]
            for seed in seeds
        ]
        posts = drawn.posts / drawn.posts.sum(axis=1, keepdims=True)
        means = np.array([posts @ each for each in of_seed])  # (seeds, resamples)
        which = drawn.drawn_seeds  # (resamples, seeds)
        expected = np.take_along_axis(means.T, which, axis=1).mean(axis=1)
        as_they_are, both, alone = found[f"{metric} of mc_dropout3 min", 16]
        np.testing.assert_allclose(as_they_are, means.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(both, expected, rtol=1e-5)
        over_posts = np.array([each.mean() for each in of_seed])
        np.testing.assert_allclose(alone, over_posts[which].mean(axis=1), rtol=1e-5)


def test_cheaper_ensembles_of_some_pretraining_seeds_say_nothing_about_others(tmp_path):
    make_results(tmp_path, DESIGN)
    read = read_made(tmp_path)
    scale = read.scales[0]
    drawn = bootstrap.draw(scale.models, scale.rewards.shape[1], 30, scale.scale)
    cheaper = mc_dropout(tmp_path, read, DESIGN["pretrain_seeds"][:-1], [2, 3])
    assert quantities.of_cheaper_ensembles(cheaper, scale, read.metrics, drawn) == {}


def test_posts_are_evaluated_in_blocks(found, monkeypatch):
    """Of 12 posts: 5, 5 and 2."""
    monkeypatch.setattr(quantities, "POSTS_AT_ONCE", 5)
    _, read, scale, drawn, before = found
    newer = newer_rankers.read(NEWER, SIMILARITY)
    after = quantities.evidence(scale, read.metrics, 0.8, drawn, newer)
    for name, values in after.items():
        np.testing.assert_allclose(values, before[name], rtol=1e-6, err_msg=str(name))


def test_ensembles_see_the_first_n_where_more_samples_were_drawn(tmp_path):
    design = DESIGN | {"best_of_n": [1, 4]}
    make_results(tmp_path, design)
    read = read_made(tmp_path, design)
    scale = read.scales[0]
    drawn = bootstrap.draw(scale.models, POSTS, 10, scale.scale)
    none = newer_rankers.read(dict.fromkeys(NEWER), np.zeros((POSTS, SAMPLES_A_POST)))
    found = quantities.evidence(scale, read.metrics, 0.8, drawn, none)
    for kind, rankers in scale.kinds.items():
        chosen = [pick(read.metrics["reward"], scale.choices[each.name][-1:]) for each in rankers]
        estimate = found[f"reward of {kind_name(*kind)}", 4][0, 0]
        assert estimate == pytest.approx(np.mean(chosen), rel=1e-4)


def test_accuracy_in_a_resample_is_that_of_the_reward_models_it_drew(tmp_path):
    make_results(tmp_path, DESIGN)
    read = read_made(tmp_path)
    scale = read.scales[0]
    drawn = bootstrap.draw(scale.models, POSTS, 30, scale.scale)
    none = newer_rankers.read(dict.fromkeys(NEWER), np.zeros((POSTS, SAMPLES_A_POST)))
    found = quantities.evidence(scale, read.metrics, 0.8, drawn, none)
    accuracy = np.array([training["accuracy"] for training in scale.training])
    counts = drawn.models[:, 1]
    np.testing.assert_allclose(
        found["accuracy", 0][1], accuracy @ counts / counts.sum(axis=0), rtol=1e-5
    )
