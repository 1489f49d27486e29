"""Pictures of rows of numbers: the one importer of matplotlib, imported by one command alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]

mpl.rcParams["svg.hashsalt"] = "byzantine"
_MARKS = "osD^vPX*"


def cost(rows: Rows, measure: str) -> Figure:
    """What loyal runs took: against n with m = 1 on the left, against m with n = 4m + 1."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, against in zip(figure.subplots(1, 2, sharey=True), ("n", "m"), strict=True):
        here = [row for row in rows if row["against"] == against]
        _lines(axes, here, key="protocol", x=against, y=measure)
        fixed = "m = 1" if against == "n" else "n = 4m + 1"
        axes.set(xlabel=f"{against}, with {fixed}", yscale="log")
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.axes[0].set_ylabel(f"{measure} of a loyal run")
    figure.axes[0].legend()
    return figure


def losses(rows: Rows) -> Figure:
    """The chance that two generals decide alike, and that both attack, against the loss rate."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    titles = {"agree": "both do the same", "both attack": "both attack"}
    for axes, (field, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        _lines(axes, rows, key="N", x="rate", y=field)
        axes.set(
            xlabel="chance that a message is lost", ylabel="chance", title=title, ylim=(0, 1.02)
        )
    figure.axes[0].legend(title="messages")
    return figure


def _lines(axes: Axes, rows: Rows, *, key: str, x: str, y: str) -> None:
    """A line for each value of `key`."""
    for number, name in enumerate(dict.fromkeys(row[key] for row in rows)):
        points = [(row[x], row[y]) for row in rows if row[key] == name]
        mark = _MARKS[number % len(_MARKS)]
        axes.plot(*zip(*points, strict=True), marker=mark, markersize=4, label=str(name))
    axes.grid(alpha=0.3)
