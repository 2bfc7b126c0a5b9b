"""The claims file, and the verdict of an experiment on each of the paper's claims."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import AfterValidator, ValidationError

from underspec.analysis.bootstrap import distinct
from underspec.analysis.frontier import fewest
from underspec.analysis.intervals import (
    NORMAL_95,
    Variance,
    independent_sets,
    over_posts,
    over_posts_and_seeds,
    variance_of,
)
from underspec.analysis.published import at_paper_scale, kind_name
from underspec.analysis.quantities import (
    DRAWS,
    OF_JUDGE,
    OF_MC_DROPOUT,
    OF_RLHF,
    Quantity,
    shrinks_with_seeds,
)
from underspec.analysis.seeds_needed import seeds_needed
from underspec.data import worlds
from underspec.errors import ArtifactError, ConfigError
from underspec.schema import RewardKind, Section
from underspec.yaml_map import read_yaml

COLUMNS = ["id", "kind", "claim", "place", "ours", "scale", "published", "more", "less"]
COLUMNS += ["estimate", "low", "high", "verdict", "reason"]
COLUMNS += ["posts_low", "posts_high", "these_models", "distinct_resamples"]
COLUMNS += ["chosen_by_recipe", "pretraining_seeds_needed"]


class Term(Section):
    """A quantity; n and scale are the claim's unless given here."""

    quantity: str
    minus: str | None = None
    n: int | str | None = None
    scale: str | None = None


class Range(Section):
    """The highest of some quantities minus the lowest."""

    range: list[str]


def _known(world: str) -> str:
    if world not in worlds.names():
        raise ValueError(f"no world {world}; there are {', '.join(worlds.names())}")
    return world


Side = float | str | Term | Range
# What an experiment need not have, by how the names of its quantities begin: what an interval over
# seeds counts, and what is missing where a kind of ranker is.
OPTIONAL = {
    OF_RLHF: ("aligned ranker", "policy aligned to rankers of the kind"),
    OF_JUDGE: ("judged ranker", "verdict of a judge on"),
}


class Claim(Section):
    """An entry of the claims file, whose head says what the keys mean."""

    id: str
    claim: str
    place: str
    published: str | dict[str, str | list[float]] = ""
    ours: bool = False
    reward: RewardKind | None = None
    chosen_by_recipe: list[Annotated[str, AfterValidator(_known)]] = []
    note: str = ""
    scales: list[str] = [""]
    n: int | str | None = None
    more: Side | list[Side] | None = None
    less: Side | list[Side] | None = None
    equals: str | None = None


PAPER_SCALES = ["base", "large", "xl"]


class Missing(Exception):
    """The experiment lacks what a claim is about; says what."""


class Untested(Missing):
    """An experiment need not have this part; its claims are then left out."""


@dataclass(frozen=True)
class Found:
    """What an experiment has to say: its evidence by scale, its ns, how many pretraining seeds, its
    grid and the size of its pretrain ensembles, and its world."""

    evidence: Mapping[str, Mapping[Quantity, np.ndarray]]
    ns: list[int]
    pretraining_seeds: int
    grid: str | list
    ensemble_size: int
    world: str
    unit: str = "pretraining seed"  # what `pretraining_seeds` counts
    only_seeds_of: str | None = None  # a scale: those of the others are as in the data

    @property
    def posts(self) -> int:
        """How many posts the rankers chose for: the same at every scale."""
        return int(self.quantity("posts", None, next(iter(self.evidence)))[0, 0])

    def at_paper_scale(self, scale: str) -> bool:
        return at_paper_scale(scale, self.quantity("parameters", None, scale)[0, 0])

    def quantity(self, name: str, n: int | str | None, scale: str) -> np.ndarray:
        """(DRAWS, resamples). Raises Missing if the experiment does not have it."""
        if scale not in self.evidence:
            raise Missing(f"no scale {scale}")
        found = self.evidence[scale]
        number = self._n(n)
        if (name, number) not in found and (name, 0) not in found:
            raise Missing(f"no {name}" + (f" at n = {number}" if number else ""))
        values = found.get((name, number), found.get((name, 0)))
        if self.only_seeds_of in (None, scale):
            return values
        return np.broadcast_to(values[:, :1], values.shape)

    def about(self, claim: Claim, scale: str) -> "Found":
        """The same for a claim about RLHF or a prompted judge, which have pretraining seeds, or
        other units (see `frontier.units`), of their own. What names no kind is of single reward
        models. Raises Untested if this scale has no RLHF, no judge, or no MC dropout of every
        pretraining seed."""
        names = quantity_names(claim)
        not_there = names - {name for name, _ in self.evidence.get(scale, {})}
        part = next((each for each in OPTIONAL for name in names if name.startswith(each)), None)
        if any(OF_MC_DROPOUT in name for name in not_there):
            raise Untested(f"no {part + 'of ' if part else ''}MC dropout at {scale}")
        if part is None:
            return self
        if not any(name.startswith(part) for name, _ in self.evidence.get(scale, {})):
            raise Untested(f"no {part.strip()} at {scale}")
        unit, lacking = OPTIONAL[part]
        of_part = [name for name in names if name.startswith(part)]
        kinds = sorted({name.partition(" of ")[2] or "single" for name in of_part})
        for kind in kinds:
            if (f"{part}units of {kind}", 0) not in self.evidence[scale]:
                raise Missing(f"no {lacking} {kind}")
        numbers = [self.quantity(f"{part}units of {kind}", None, scale)[0, 0] for kind in kinds]
        return replace(self, pretraining_seeds=int(fewest(numbers)), unit=unit)

    def _n(self, n: int | str | None) -> int:
        above_one = [each for each in self.ns if each > 1] or self.ns
        return {None: 0, "largest": above_one[-1], "smallest": above_one[0]}.get(n, n)


def read_claims(path: Path) -> list[Claim]:
    """The claims of the claims file. Raises ArtifactError, naming the file and the entry's key."""
    try:
        claims = [Claim.model_validate(entry) for entry in read_yaml(path)]
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        entry = first["input"] if not first["loc"] else key
        raise ArtifactError(f"{path}: {entry}: {first['msg']}") from None
    except (ConfigError, TypeError) as error:
        raise ArtifactError(f"{path}: not a claims file ({error}); restore it") from None
    for claim in claims:
        if (claim.equals is None) == (claim.more is None or claim.less is None):
            raise ArtifactError(f"{path}: {claim.id}: needs either `more` and `less`, or `equals`")
    return claims


def numbers_of_table1(published: pd.DataFrame) -> list[Claim]:
    """A claim for every number of the published Table 1, which is of preference rewards."""
    claims = []
    for row in published.to_dict("records"):
        kind = kind_name(row["ensemble"], row["aggregator"])
        for name, label in (("reward", "Evaluator's reward"), ("win_rate", "Win rate")):
            reach = NORMAL_95 * row[f"{name}_standard_error"]
            claims.append(
                Claim(
                    id=f"table 1, {name.replace('_', ' ')}, {kind.replace('_', ' ')}",
                    claim=f"{label}, {kind.replace('_', ' ')}",
                    place="Table 1",
                    reward="preference",
                    published={row["scale"]: [row[name] - reach, row[name] + reach]},
                    n="largest",
                    equals=f"{name} of {kind}",
                )
            )
    return claims


def about_scales(claims: list[Claim], scales: list[str]) -> list[Claim]:
    """The claims as they are about other scales than the paper's: what it says at each of its own
    is a claim at each of these, and what names a scale stays if these have it."""
    found = []
    for claim in claims:
        if claim.scales == PAPER_SCALES and not claim.equals:
            found.append(claim.model_copy(update={"scales": scales}))
        elif claim.equals:
            published = {name: each for name, each in claim.published.items() if name in scales}
            found.append(claim.model_copy(update={"published": published}))
        elif {*claim.scales, *(term.scale or "" for term in _terms(claim))} <= {"", *scales}:
            found.append(claim)
    return found


def verdicts(claims: list[Claim], found: Found) -> pd.DataFrame:
    """One row a claim and scale, with COLUMNS.

    kind: direction or number; more, less: the two sides; estimate: their difference (of a number:
    ours); low, high: its interval over posts and seeds, which decides the verdict (none with one
    post, one pretraining seed, or a difference that no resample changes: then undecided);
    posts_low, posts_high: that over posts alone, as in the paper; these_models: its verdict, on the
    reward models at hand; distinct_resamples: how many there are of the pretraining seeds;
    chosen_by_recipe: whether the recipe of this world was chosen so that the claim holds;
    pretraining_seeds_needed: of an undecided direction, how many would decide it (see
    `seeds_needed`), where that can be said (see `shrinks_with_seeds`).
    """
    rows = [row for claim in claims for row in _rows(claim, found)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows(claim: Claim, found: Found) -> Iterator[dict]:
    for scale in claim.published if claim.equals else claim.scales:
        published = claim.published
        kind = "number" if claim.equals else "direction"
        about = {"id": claim.id, "kind": kind, "claim": claim.claim, "place": claim.place}
        about |= {"ours": claim.ours, "chosen_by_recipe": found.world in claim.chosen_by_recipe}
        about |= {"scale": scale, "published": _text(published, scale)}
        try:
            judge = _number if claim.equals else _direction
            outcome = judge(claim, scale, found.about(claim, scale))
        except Missing as missing:
            if claim.ours or isinstance(missing, Untested):
                continue
            outcome = {"verdict": "undecided", "reason": f"this experiment has {missing}"}
        reason = outcome["reason"] + (f"; {claim.note}" if claim.note else "")
        yield about | outcome | {"reason": reason}


def _direction(claim: Claim, scale: str, found: Found) -> dict:
    more, less = _sides(claim, scale, found)
    size = max(abs(more[0, 0]), abs(less[0, 0]))
    sets = _sets_of_seeds(claim, scale, found)
    measured = _measured(more - less, found, size, sets)
    verdict = _side_of_0(measured["low"], measured["high"])
    if verdict == "undecided" and not math.isnan(measured["low"]):
        variance = variance_of(*(more - less), found.pretraining_seeds, size, sets)
        needed = _seeds_needed(claim, measured["estimate"], variance, found)
        measured["pretraining_seeds_needed"] = needed
    where = {"supported": "lies above 0", "contradicted": "lies below 0", "undecided": "holds 0"}
    return measured | {
        "more": float(more[0, 0]),
        "less": float(less[0, 0]),
        "verdict": verdict,
        "reason": _no_interval(measured["low"], found) or f"the interval {where[verdict]}",
        "these_models": _side_of_0(measured["posts_low"], measured["posts_high"]),
    }


def _sides(claim: Claim, scale: str, found: Found) -> tuple[np.ndarray, np.ndarray]:
    more = [_side(each, claim, scale, found) for each in listed(claim.more)]
    less = [_side(each, claim, scale, found) for each in listed(claim.less)]
    return np.minimum.reduce(more), np.maximum.reduce(less)


def _sets_of_seeds(claim: Claim, scale: str, found: Found) -> float:
    """Every scale has seeds of its own: how many such sets a claim rests on."""
    scales = {term.scale or scale for term in _terms(claim)}
    if len(scales) < 2:
        return 1.0
    parts = (_sides(claim, scale, replace(found, only_seeds_of=each)) for each in scales)
    return independent_sets([(more - less)[2] for more, less in parts])


def _terms(claim: Claim) -> list[Term]:
    return [each for each in [*listed(claim.more), *listed(claim.less)] if isinstance(each, Term)]


def _side_of_0(low: float, high: float) -> str:
    """The verdict of an interval; without bounds (NaN) there is none."""
    return "supported" if low > 0 else "contradicted" if high < 0 else "undecided"


def _number(claim: Claim, scale: str, found: Found) -> dict:
    measured = _measured(found.quantity(claim.equals, claim.n, scale), found)
    if reason := _not_comparable(found, scale) or _no_interval(measured["low"], found):
        return measured | {"verdict": "undecided", "reason": reason}
    low, high = claim.published[scale]
    meets = measured["low"] <= high and measured["high"] >= low
    return measured | {
        "verdict": "supported" if meets else "contradicted",
        "reason": f"the intervals {'meet' if meets else 'do not meet'}",
    }


def _not_comparable(found: Found, scale: str) -> str | None:
    """Why our number cannot be the published one, which is of TL;DR, if it cannot."""
    if found.world != "tldr":
        return "other posts than TL;DR's: shown for orientation"
    if not found.at_paper_scale(scale):
        return "models of another size: shown for orientation"
    return None


def _measured(values: np.ndarray, found: Found, size: float = 0.0, sets: float = 1.0) -> dict:
    """`size`: of the numbers that `values` are differences of; sets: of seeds."""
    posts = over_posts(values[0], size)
    both = over_posts_and_seeds(*values, found.pretraining_seeds, size, sets)
    bounds = {"low": both.low, "high": both.high, "posts_low": posts.low, "posts_high": posts.high}
    if found.posts < 2:  # drawn again and again it is the same
        bounds = dict.fromkeys(bounds, math.nan)
    resamples = distinct(found.pretraining_seeds)
    return {"estimate": both.estimate, "distinct_resamples": resamples} | bounds


def _seeds_needed(claim: Claim, estimate: float, variance: Variance, found: Found) -> float:
    """NaN if the claim is about something that more seeds need not make more certain."""
    names = quantity_names(claim)
    if not all(shrinks_with_seeds(name, found.grid) for name in names):
        return math.nan
    of_ensembles = any(" of pretrain " in name for name in names)
    return seeds_needed(estimate, variance, found.ensemble_size if of_ensembles else 1)


def _no_interval(low: float, found: Found) -> str | None:
    """Why there is no interval over posts and seeds, if its bound is NaN."""
    if not math.isnan(low):
        return None
    if found.posts < 2:
        return "no interval: one post says nothing about others"
    if found.pretraining_seeds < 2:
        return f"no interval: one {found.unit} says nothing about others"
    return "no interval: no resample differs from the data"


def _side(side: Side, claim: Claim, scale: str, found: Found) -> np.ndarray:
    if isinstance(side, float | int):
        return np.full((len(DRAWS), 1), float(side))
    if isinstance(side, Range):
        values = [found.quantity(name, claim.n, scale) for name in side.range]
        return np.maximum.reduce(values) - np.minimum.reduce(values)
    term = Term(quantity=side) if isinstance(side, str) else side
    n, scale = term.n or claim.n, term.scale or scale
    value = found.quantity(term.quantity, n, scale)
    return value - found.quantity(term.minus, n, scale) if term.minus else value


def quantity_names(claim: Claim) -> set[str]:
    """The names of what a claim compares."""
    names = set()
    for side in [claim.equals, *listed(claim.more), *listed(claim.less)]:
        if isinstance(side, Range):
            names |= set(side.range)
        elif isinstance(side, Term):
            names |= {side.quantity, side.minus}
        elif isinstance(side, str):
            names.add(side)
    return names - {None}


def listed(sides: Side | list[Side]) -> list[Side]:
    return sides if isinstance(sides, list) else [sides]


def _text(published: str | dict, scale: str) -> str:
    value = published.get(scale, "") if isinstance(published, dict) else published
    return f"{value[0]:.3f} to {value[1]:.3f}" if isinstance(value, list) else value
