"""One look for all figures, and the helpers that more than one notebook uses.

The figures draw the tidy tables and compute nothing but where an interval ends. One colour and
one marker stand for one idea throughout: a reward model alone, what shares its pretrain, and
what comes from other pretrains.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from underspec.analysis import published
from underspec.csv_files import read_csv
from underspec.errors import ArtifactError

# Okabe and Ito's palette, which colour-blind readers can tell apart; markers as in the paper.
GREY = "#767676"
COLOURS = {
    "itself": "#D55E00",
    "single": "#D55E00",
    "same pretrain": "#0072B2",
    "finetune": "#0072B2",
    "other pretrain": "#009E73",
    "pretrain": "#009E73",
    "best possible": GREY,
    "gold rater": GREY,
}
MARKERS = {
    "itself": "s",
    "single": "s",
    "same pretrain": "o",
    "finetune": "o",
    "other pretrain": "^",
    "pretrain": "^",
    "best possible": "",
    "gold rater": "",
}
DASHES = {"mean": "-", "median": ":", "min": "--", "mean_minus_stdev": "-."}
OTHER_DASHES = (0, (6, 2))  # of an aggregator that the paper does not have
LABELS = {
    "single": "single reward model",
    "finetune": "finetune ensemble",
    "pretrain": "pretrain ensemble",
    "mean_minus_stdev": "mean minus st. dev.",
}
FAINT = {"linewidth": 0.5, "alpha": 0.35, "zorder": 1}

STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so figures look alike everywhere
    "font.size": 7,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.6,
    "figure.dpi": 150,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,
    "svg.hashsalt": "underspec",  # ids from the content alone: equal figures, equal files
}


def use_style() -> None:
    """Make the look of this module the current one, whatever the user's matplotlibrc says."""
    matplotlib.rcdefaults()
    plt.rcParams.update(STYLE)


def read(path: str) -> pd.DataFrame:
    """Read a tidy table. Raises ArtifactError if it cannot be read or has no rows."""
    table = read_csv(path)
    if table.empty:
        raise ArtifactError(f"{path}: has no rows; are there too few reward models in the grid?")
    return table


def human(count: float) -> str:
    """A count of parameters as people say it: 950, 41k, 1.2M, 220M, 3B."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * size:
            digits = 1 if count < 9.95 * size else 0
            return f"{count / size:.{digits}f}".removesuffix(".0") + unit
    return f"{count:.0f}"


def scale_title(scale: str, parameters: float) -> str:
    return f"{scale} ({human(parameters)} parameters)"


def at_paper_scale(table: pd.DataFrame) -> bool:
    """Whether every scale of `table` has the published number of parameters, or nearly so."""
    smallest = table.groupby("scale").parameters.min()
    return all(published.at_paper_scale(*each) for each in smallest.items())


def interval(table: pd.DataFrame, value: str, standard_error: str) -> pd.DataFrame:
    """`table` with `low` and `high`, the 95 % interval of `value` from its standard error."""
    margin = 1.96 * table[standard_error]
    return table.assign(low=table[value] - margin, high=table[value] + margin)


def width(scales: int) -> float:
    """Inches of a figure with one panel a scale: three fill a page; fewer have their legend
    beside them."""
    return 1.6 + 1.8 * (scales + (scales < 3))


def panels(
    table: pd.DataFrame, labels: Sequence[str], experiment: str, share_rows: bool = True
) -> tuple[Figure, np.ndarray]:
    """One column a scale, titled with its size, and one row a y label, all against n.

    Returns the figure and its axes (rows, scales), scales in the order of `table`. Panels of a
    row share their y axis if `share_rows`, so that scales can be compared.
    """
    sizes = table.groupby("scale", sort=False).parameters.first()
    figure, axes = plt.subplots(
        len(labels),
        len(sizes),
        figsize=(width(len(sizes)), 0.75 + 1.65 * len(labels)),
        sharex=True,
        sharey="row" if share_rows else "none",
        squeeze=False,
    )
    for axis, (scale, parameters) in zip(axes[0], sizes.items(), strict=True):
        axis.set_title(scale_title(scale, parameters))
    for axis, label in zip(axes[:, 0], labels, strict=True):
        axis.set_ylabel(label)
    for axis in axes[-1]:
        axis.set_xlabel("n")
    n_axis(axes[0, 0], table.n)
    footer(figure, table, experiment)
    return figure, axes


def n_axis(axis: Axes, ns: pd.Series) -> None:
    """Logarithmic n with every n of the experiment, written as an integer."""
    ns = sorted(ns.unique())
    axis.set_xscale("log", base=2)
    axis.set_xticks(ns, labels=[str(n) for n in ns])
    axis.minorticks_off()


def kl_axis(axis: Axes, table: pd.DataFrame) -> None:
    """A second scale under n: the upper bound on the KL divergence from the policy, in nats."""
    bounds = table.groupby("n").kl_bound.first()
    second = axis.secondary_xaxis(-0.3)
    second.set_xticks(bounds.index, labels=[f"{bound:.1f}" for bound in bounds])
    second.minorticks_off()
    second.spines["bottom"].set_visible(False)
    second.tick_params(length=0, colors=GREY, labelsize=6.5)
    second.set_xlabel("upper bound on the KL, nats", color=GREY, fontsize=6.5)


def face(table: pd.DataFrame, experiment: str) -> str:
    """What every figure and table says on its face: the experiment, and if it has paper size."""
    return f"{experiment} · {'at' if at_paper_scale(table) else 'not at'} paper scale"


def footer(figure: Figure, table: pd.DataFrame, experiment: str) -> None:
    figure.supxlabel(face(table, experiment), x=0.995, ha="right", fontsize=6, color=GREY)


def scale_colours(scales: int) -> list[str]:
    """One colour a scale, darker as the scale grows."""
    return [to_hex(colour) for colour in plt.colormaps["BuPu"](np.linspace(0.45, 1, scales))]


def curve(axis: Axes, table: pd.DataFrame, value: str, colour: str, marker: str, **style) -> None:
    """Draw `value` against n, and the interval from `low` to `high` as a band."""
    table = table.sort_values("n")
    axis.plot(table.n, table[value], color=colour, marker=marker, **style)
    axis.fill_between(table.n, table.low, table.high, color=colour, alpha=0.2, linewidth=0)


def name_ends(axis: Axes, names: dict[str, str]) -> None:
    """Name lines where they end, right of `axis`, each in its colour; names: by colour.

    Of several lines in a colour the thickest is meant. Names that would overlap move apart.
    """
    low, high = axis.get_ylim()
    ends = []
    for colour, name in names.items():
        lines = [line for line in axis.lines if line.get_color() == colour]
        if lines:
            end = max(lines, key=Line2D.get_linewidth).get_ydata()[-1]
            ends.append(((end - low) / (high - low), name, colour))
    ends.sort()
    # Generous: the panel shrinks when the legend takes its place.
    line_height = plt.rcParams["font.size"] * 1.5 / 72 / axis.get_window_extent().height
    line_height *= axis.figure.dpi
    heights = [line_height * (name.count("\n") + 1) for _, name, _ in ends]
    top = 0.0
    places = []
    for (end, _, _), height in zip(ends, heights, strict=True):
        places.append(max(end, top + height / 2))
        top = places[-1] + height / 2
    excess = max(0.0, top - 1)
    for place, (_, name, colour) in zip(places, ends, strict=True):
        axis.annotate(
            name,
            (1.04, place - excess),
            xycoords="axes fraction",
            color=colour,
            va="center",
            linespacing=0.95,
        )


def handle(label: str, colour: str = GREY, marker: str = "", **style) -> Line2D:
    """An entry of a legend."""
    return Line2D([], [], label=label, color=colour, marker=marker, **style)


def legend(figure: Figure, *rows: list[Line2D]) -> None:
    """A legend above the panels that keeps the given rows; beside them if they are few."""
    blank = handle("", linestyle="none")
    if figure.axes[0].get_gridspec().ncols < 3:
        handles = [entry for row in rows for entry in [*row, blank]][:-1]
        figure.legend(handles=handles, loc="outside right center", handlelength=2.4)
        return
    columns = max(len(row) for row in rows)
    padded = [row + [blank] * (columns - len(row)) for row in rows]
    figure.legend(
        handles=[entry for column in zip(*padded, strict=True) for entry in column],
        ncols=columns,
        loc="outside upper center",
        columnspacing=1.5,
        handlelength=2.4,
    )


def save(figure: Figure, path: str) -> None:
    """Write `path`.svg and `path`.pdf; equal figures give equal bytes, whatever the date."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    for _ in range(2):  # the layout needs two passes; after them all files are alike
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    figure.savefig(f"{path}.svg", metadata={"Date": None})
    figure.savefig(f"{path}.pdf", metadata={"CreationDate": None})
