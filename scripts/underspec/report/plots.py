"""The figures' drawing: panels by scale, curves against n with their intervals, legends.

The figures draw the tidy tables and compute nothing but where an interval ends. Marks, scales of
colour and facets are seaborn's; what it does not have (names at the ends of lines, an axis of the
KL) is added to its axes.
"""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn.objects as so
from IPython.display import SVG
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from underspec.report.look import COLOURS, GREY, MARKERS, face, scale_title
from underspec.report.words import reworded

LINE = so.Line()
PLAIN = so.Line(marker="")
FAINT = so.Line(linewidth=0.5, alpha=0.35, marker="")
BAND = so.Band(alpha=0.2, edgewidth=0)

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


def interval(table: pd.DataFrame, value: str, standard_error: str) -> pd.DataFrame:
    """`table` with `value`, and `low` and `high`, its 95 % interval from the standard error."""
    value, margin = table[value], 1.96 * table[standard_error]
    return table.assign(value=value, low=value - margin, high=value + margin)


def rows_of_panels(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Tables that have a column `value`, as one: each is the row of panels that its label names."""
    labelled = [table.assign(panel=label) for label, table in tables.items()]
    return pd.concat(labelled, ignore_index=True)


def panels(table: pd.DataFrame, x: str, by: str, share_y: str | bool = "row") -> so.Plot:
    """`value` against `x`, in a column of panels for each scale and a row for each `panel` of the
    table, coloured and marked by the column `by`. No mark is drawn yet.
    """
    order = {"col": list(table["scale"].unique()), "row": list(table["panel"].unique())}
    return (
        so.Plot(table, x=x, y="value", color=by, marker=by)
        .facet(col="scale", row="panel", order=order)
        .scale(color=COLOURS, marker=MARKERS, linestyle=None)
        .share(y=share_y)
        .theme(plt.rcParams)
    )


def n_scale(table: pd.DataFrame) -> so.Continuous:
    """Logarithmic, with every n of the table written as an integer."""
    ticks = so.Continuous(trans="log2").tick(at=sorted(table["n"].unique()))
    return ticks.label(like="{x:.0f}")


def against_n(table: pd.DataFrame, by: str, share_y: str | bool = "row") -> so.Plot:
    """`panels` against n."""
    return panels(table, "n", by, share_y).scale(x=n_scale(table))


def width(scales: int) -> float:
    """Inches of a figure with one panel per scale: three fill a page; fewer have their legend
    beside them."""
    return 1.6 + 1.8 * (scales + (scales < 3))


def draw(
    plot: so.Plot, table: pd.DataFrame, experiment: str, x_label: str = "n"
) -> tuple[Figure, np.ndarray]:
    """Draw `panels` of a table: the figure and its axes (rows, scales). Scales have their size as
    title, rows their label, and the figure says whether it is at paper scale.
    """
    labels = list(table["panel"].unique())
    sizes = table.groupby("scale", sort=False)["parameters"].first()
    figure = plt.figure(figsize=(width(len(sizes)), 0.75 + 1.65 * len(labels)))
    plot.on(figure).plot()
    figure.legends.clear()  # `legend` makes those that tell ideas apart, and not columns
    axes = np.array(figure.axes).reshape(len(labels), len(sizes))
    for axis in axes.flat:
        axis.set(title="", ylabel="", xlabel="")
    for axis, (scale, parameters) in zip(axes[0], sizes.items(), strict=True):
        axis.set_title(scale_title(scale, parameters))
    for axis, label in zip(axes[:, 0], labels, strict=True):
        axis.set_ylabel(label)
    for axis in axes[-1]:
        axis.set_xlabel(x_label)
    footer(figure, table, experiment)
    return figure, axes


def kl_axis(axis: Axes, table: pd.DataFrame) -> None:
    """A second row of numbers under n: the upper bound on the KL from the policy, in nats."""
    style = {"color": GREY, "fontsize": 6.5, "ha": "center", "va": "top"}
    for n, bound in table.groupby("n")["kl_bound"].first().items():
        axis.text(n, -0.33, f"{bound:.1f}", transform=axis.get_xaxis_transform(), **style)
    axis.text(0.5, -0.43, "upper bound on the KL, nats", transform=axis.transAxes, **style)


def footer(figure: Figure, table: pd.DataFrame, experiment: str) -> None:
    figure.supxlabel(face(table, experiment), x=0.995, ha="right", fontsize=6, color=GREY)


def scale_colours(scales: int) -> list[str]:
    """One colour per scale, darker as the scale grows."""
    return [to_hex(colour) for colour in plt.colormaps["BuPu"](np.linspace(0.45, 1, scales))]


def name_ends(axis: Axes, names: dict[str, str]) -> None:
    """Name lines where they end, right of `axis`, each in its colour; names: by colour.

    Of several lines in a colour the thickest is meant. Names that would overlap move apart.
    """
    low, high = axis.get_ylim()
    ends = []
    for colour, name in names.items():
        lines = [line for line in axis.lines if to_hex(line.get_color()) == colour.lower()]
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
    rows = [part for row in rows for part in _halved(row)]
    columns = max(len(row) for row in rows)
    padded = [row + [blank] * (columns - len(row)) for row in rows]
    figure.legend(
        handles=[entry for column in zip(*padded, strict=True) for entry in column],
        ncols=columns,
        loc="outside upper center",
        columnspacing=1.5,
        handlelength=2.4,
    )


def _halved(row: list[Line2D]) -> list[list[Line2D]]:
    """A row of a legend, in two if it would be wider than three panels."""
    middle = -(-len(row) // 2)
    return [row] if len(row) <= 4 else [row[:middle], row[middle:]]


def save(figure: Figure, path: str, words: Mapping[str, str] | None = None) -> SVG:
    """Write `path`.svg and `path`.pdf; equal figures give equal bytes, whatever the date. Returns
    the first, for the notebook to show. words: see `words.reworded`."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    for text in figure.findobj(Text) if words else ():
        text.set_text(reworded(text.get_text(), words))
    for _ in range(2):  # the layout needs two passes; after them all files are alike
        figure.get_layout_engine().execute(figure)
    figure.set_layout_engine("none")
    figure.savefig(f"{path}.svg", metadata={"Date": None})
    figure.savefig(f"{path}.pdf", metadata={"CreationDate": None})
    plt.close(figure)  # else the notebook would draw it again
    return SVG(filename=f"{path}.svg")
