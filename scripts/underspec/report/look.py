"""How figures, tables and pages name and colour things, the same everywhere.

One colour and one marker stand for one idea: a reward model alone, what shares its pretrained
checkpoint, and what comes from other checkpoints; or one way to choose.
"""

import re

import pandas as pd

from underspec.analysis import published
from underspec.csv_files import read_csv
from underspec.errors import ArtifactError

# Okabe and Ito's palette, which colour-blind readers can tell apart; markers as in the paper.
GREY = "#767676"
COLOURS = {
    "itself": "#D55E00",
    "single": "#D55E00",
    "same pretraining seed": "#0072B2",
    "finetune": "#0072B2",
    "other pretraining seed": "#009E73",
    "pretrain": "#009E73",
    "best possible": GREY,
    "gold rater": GREY,
    "best_of_n": "#000000",
    "soft": "#CC79A7",
    "poisson": "#E69F00",
    "pessimism": "#56B4E9",
    "mbr": "#882255",
    "uwo": "#999933",
    "warm": "#332288",
    "multihead": "#AA4499",
    "mc_dropout": "#661100",
}
MARKERS = {
    "itself": "s",
    "single": "s",
    "same pretraining seed": "o",
    "finetune": "o",
    "other pretraining seed": "^",
    "pretrain": "^",
    "best possible": "",
    "gold rater": "",
    "best_of_n": "",
    "soft": "v",
    "poisson": "P",
    "pessimism": "D",
    "mbr": "X",
    "uwo": "p",
    "warm": "<",
    "multihead": ">",
    "mc_dropout": "d",
}
DASHES = {"mean": "-", "median": ":", "min": "--", "mean_minus_stdev": "-."}
OTHER_DASHES = (0, (6, 2))  # of an aggregator that the paper does not have
LABELS = {
    "single": "single reward model",
    "finetune": "finetune ensemble",
    "pretrain": "pretrain ensemble",
    "mean_minus_stdev": "mean minus st. dev.",
    "mean_probability": "mean of probabilities",
    "best_of_n": "best-of-n",
    "soft": "soft best-of-n",
    "poisson": "best-of-Poisson",
    "mbr": "MBR best-of-n",
    "uwo": "UWO",
    "warm": "WARM",
    "multihead": "multi-head ensemble",
    "mc_dropout": "MC dropout",
}


def label(kind: str) -> str:
    """What figures and pages call a kind of ranker or a way to choose."""
    found = re.fullmatch(r"(mc_dropout)(\d+)", kind)  # with the number of its members
    return f"{LABELS[found[1]]} ({found[2]})" if found else LABELS.get(kind, kind)


def read(path: str) -> pd.DataFrame:
    """Read a tidy table. Raises ArtifactError if it cannot be read or has no rows."""
    table = read_csv(path)
    if table.empty:
        raise ArtifactError(f"{path}: has no rows; are there too few reward models in the grid?")
    return table


def one_aggregator(table: pd.DataFrame) -> pd.DataFrame:
    """Of every scale and ensemble, the rows of the mean, or if it is not there, of the aggregator
    that comes first."""
    first = table.sort_values("aggregator", key=lambda names: names != "mean", kind="stable")
    chosen = first.groupby(["scale", "ensemble"]).aggregator.transform("first")
    return table[table.aggregator == chosen[table.index]]


def most_members(table: pd.DataFrame) -> pd.DataFrame:
    """Of MC dropout with several numbers of members, the rows of the most, as "mc_dropout"."""
    members = table.ensemble.str.extract(r"^mc_dropout(\d+)$", expand=False).astype(float)
    kept = table[members.isna() | (members == members.max())]
    return kept.assign(ensemble=kept.ensemble.mask(members.notna(), "mc_dropout"))


def human(count: float) -> str:
    """A count of parameters as people say it: 950, 41k, 1.2M, 220M, 3B; 0 is unknown."""
    if not count:
        return "unknown"
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * size:
            digits = 1 if count < 9.95 * size else 0
            return f"{count / size:.{digits}f}".removesuffix(".0") + unit
    return f"{count:.0f}"


def scale_title(scale: str, parameters: float) -> str:
    return f"{scale} ({human(parameters)} parameters)" if parameters else scale


def at_paper_scale(table: pd.DataFrame) -> bool:
    """Whether every scale of `table` has the published number of parameters, or nearly so."""
    smallest = table.groupby("scale").parameters.min()
    return all(published.at_paper_scale(*each) for each in smallest.items())


def face(table: pd.DataFrame, experiment: str) -> str:
    """What every figure and table says on its face: the experiment, and if it has paper size."""
    return f"{experiment} · {'at' if at_paper_scale(table) else 'not at'} paper scale"
