"""Win rates by a judge, a row a contest, and what claims about the judge rest on.

Intervals over posts and seeds are those of RLHF (see `frontier.draws`): single reward models and
finetune ensembles are drawn with their pretraining seeds; a pretrain ensemble stays, because the
judge was not asked about those that a resample would put together.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from underspec.analysis.bootstrap import Resamples
from underspec.analysis.frontier import draws, units
from underspec.analysis.intervals import mean_and_error, with_intervals
from underspec.analysis.quantities import OF_JUDGE, UNITS_OF_JUDGE, Quantity
from underspec.grid import Ranker, RewardModel
from underspec.judging.chat import REJECTED, WITHOUT_VERDICT
from underspec.judging.comparisons import POLICY, RLHF
from underspec.judging.questions import ORDERS
from underspec.judging.verdicts import PAIR, Verdicts, verdicts

CONTEST = ["better", "worse", "kl_coefficient"]


@dataclass(frozen=True)
class Contest:
    """One contest of a scale: comparisons and verdicts by pair of rankers and post.

    drawn_rankers: of each pair, the one whose seeds an interval draws; verdicts: (pairs, posts).
    """

    about: dict
    rows: pd.DataFrame
    drawn_rankers: list[Ranker]
    verdicts: Verdicts

    def by_pair(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(values, dtype=float).reshape(len(self.drawn_rankers), -1)

    def win_rate(self, models: list[RewardModel], weights: Resamples) -> np.ndarray:
        """(DRAWS, resamples): a mean over the comparisons that have a verdict."""
        drawn = draws(self.drawn_rankers, models, weights)
        every = list(range(len(self.drawn_rankers)))
        majority = self.by_pair(self.verdicts.majority)
        judged = np.isfinite(majority)
        won, number = (
            drawn.over_paths(drawn.over_posts(np.asarray(each, dtype=float)), every)
            for each in (np.where(judged, majority, 0), judged)
        )
        return np.divide(won, number, out=np.full_like(won, np.nan), where=number > 0)


def read_contests(
    comparisons: pd.DataFrame, answers: pd.DataFrame, rankers: list[Ranker], path: Path
) -> list[Contest]:
    """The contests of one scale, whose rows `comparisons` (artifacts.COMPARISONS) has.

    Raises ArtifactError, naming `path`, that of the answers, if these are about others.
    """
    by_name = {ranker.name: ranker for ranker in rankers}
    found = []
    comparisons = comparisons.assign(kl_coefficient=comparisons.get("kl_coefficient", np.nan))
    for key, rows in comparisons.groupby(CONTEST, sort=False, dropna=False):
        column = "better_ranker" if key[1] == POLICY else "worse_ranker"
        drawn = [by_name[name] for name in rows.groupby("pair")[column].first()]
        about = dict(zip(CONTEST, key, strict=True))
        found.append(Contest(about, rows, drawn, verdicts(rows, answers, path)))
    return found


def table(
    contests: list[Contest],
    answers: pd.DataFrame,
    models: list[RewardModel],
    weights: Resamples,
) -> pd.DataFrame:
    """A row a contest.

    win_rate of `better` over `worse`: the share of comparisons that it wins by majority, ties one
    half; low and high over posts and seeds, posts_low and posts_high over posts. preference: the
    share of answers. by_evaluator, by_gold: the win rate by these on the same comparisons.
    comparisons: with a verdict; same: the share of all whose texts look alike; without_verdict: how
    many have none. first: the share of answers for the text that stood first, and its standard
    error; consistent: the share of comparisons with the same majority in both orders. Then how many
    answers there are, and of which kind.
    """
    rows = []
    for contest in contests:
        first = contest.rows.iloc[0]
        about = {"scale": first["scale"], "parameters": int(first["parameters"])} | contest.about
        rows.append(
            about
            | _win_rate(contest, models, weights)
            | _beside(contest)
            | _bias(contest)
            | _counts(contest, answers)
        )
    return pd.DataFrame(rows)


def _win_rate(contest: Contest, models: list[RewardModel], weights: Resamples) -> dict:
    found = with_intervals(contest.win_rate(models, weights), units(contest.drawn_rankers))
    return {"win_rate": found.pop("value")} | found


def _beside(contest: Contest) -> dict:
    """Other win rates on the comparisons that have a verdict."""
    judged = np.isfinite(contest.verdicts.majority)
    found = {"preference": _mean(contest.verdicts.preference)}
    for name, metric in (("by_evaluator", "reward"), ("by_gold", "gold")):
        if metric in contest.rows:
            sign = np.sign(contest.rows[metric] - contest.rows[f"other_{metric}"])
            found[name] = _mean((1 + sign.to_numpy()[judged]) / 2)
    return found


def _bias(contest: Contest) -> dict:
    verdict = contest.verdicts
    by_post = contest.by_pair(verdict.of_first)
    asked = np.isfinite(by_post)
    posts = np.where(asked, by_post, 0).sum(axis=0)[asked.any(axis=0)]
    mean, error = mean_and_error(posts / asked.sum(axis=0)[asked.any(axis=0)])
    return {
        "comparisons": int(np.isfinite(verdict.majority).sum()),
        "same": verdict.same.mean(),
        "without_verdict": int(np.isnan(verdict.majority).sum()),
        "first": float(mean),
        "first_standard_error": float(error),
        "consistent": _mean(verdict.consistent),
    }


def _counts(contest: Contest, answers: pd.DataFrame) -> dict:
    """Each answer once, also where several comparisons of the contest rest on it."""
    asked = contest.rows[~contest.verdicts.same]
    pairs = [asked[["post_id", *order]].set_axis(PAIR, axis=1) for order in ORDERS]
    of_contest = answers.merge(pd.concat(pairs).drop_duplicates(), on=PAIR)
    counts = Counter(of_contest.verdict)
    return {"answers": len(of_contest)} | {
        name: counts[name] for name in ("tie", *WITHOUT_VERDICT, REJECTED)
    }


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else np.nan


def evidence(
    contests: list[Contest], models: list[RewardModel], weights: Resamples
) -> Mapping[Quantity, np.ndarray]:
    """What claims compare, (DRAWS, resamples) each: win rates between kinds of rankers."""
    found = {}
    for contest in contests:
        better, worse = contest.about["better"], contest.about["worse"]
        if not better.startswith(RLHF):
            values = contest.win_rate(models, weights)
            number = float(units(contest.drawn_rankers))
            contestants = f"{better} over {worse}"
            found[f"{OF_JUDGE}win rate of {contestants}", 0] = values
            found[f"{UNITS_OF_JUDGE}{contestants}", 0] = np.full_like(values, number)
    return {quantity: values for quantity, values in found.items() if np.isfinite(values[0, 0])}
