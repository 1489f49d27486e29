"""`python -m benchmarks.replicated_effects`: what each optimisation is worth, what replicas cost.

Every row is the whole with one thing changed: one switch off, or more replicas. A row is measured
once a round, all rows in each round, and its figures are the medians. In memory, on one machine:
replicas share its cores, so that n replicas cost more here than n machines would.
"""

from __future__ import annotations

from statistics import median
from typing import Any

import click

from benchmarks.replicated import WARM, driven, many_at_a_time, median_s, one_at_a_time, replicas
from node.protocols.pbft.configuration import Authentication
from node.protocols.pbft.messages import CLIENT_WINDOW
from orchestrator.client import Client

SIZES = (4, 7, 10, 13)
#: The name of a row, and what is changed.
CHANGES: dict[str, dict[str, Any]] = {
    "all of them": {},
    "signatures, not MACs": {"authentication": Authentication.SIGNATURES},
    "no batching": {"has_batching": False},
    "no digest replies": {"has_digest_replies": False},
    "no tentative execution": {"has_tentative_execution": False},
    "no piggybacked commits": {"has_piggybacked_commits": False},
    "no read-only requests": {"has_read_only": False},
}
#: Operations of a run with so many outstanding.
AMOUNT = {32: 2_000, 256: 10_000}
LARGE = b"v" * 4096
HEADS = ("puts/s, 1", "puts/s, 32", "puts/s, 256", "gets/s, 1", "gets/s, 256", "gets/s, 32 x 4 KiB")
WIDTH = 60

Figures = tuple[float, ...]


@click.command()
@click.option("--times", default=3, show_default=True, type=click.IntRange(1, 100))
def main(times: int) -> None:
    """Measure the optimisations, then n = 4, 7, 10, 13: a table and a picture."""
    changes = _medians(times, CHANGES)
    print(_table("four replicas, MACs", changes))
    sizes = _medians(times, {f"n = {n}": {"n": n} for n in SIZES})
    print(_table("more replicas", sizes))
    for column in (0, 1, 2):
        print(_plot(HEADS[column], {name: row[column] for name, row in sizes.items()}))


def _medians(times: int, settings: dict[str, dict[str, Any]]) -> dict[str, Figures]:
    taken: dict[str, list[Figures]] = {name: [] for name in settings}
    for _ in range(times):
        for name, changed in settings.items():
            taken[name].append(_measured(**changed))
    return {name: tuple(map(median, zip(*rows, strict=True))) for name, rows in taken.items()}


def _measured(n: int = 4, **switches: Any) -> Figures:
    """Operations a second, in the order of the heads.

    The 32 are a request each, as of 32 clients who do not know each other; the 256 are of one
    client, who lets operations travel together.
    """
    with replicas(n, is_durable=False, **switches) as folder:
        with Client(folder) as client:
            for number in range(WARM):
                client.put(f"k{number}", b"")
            one_put = median_s(one_at_a_time(client))
            puts = driven(many_at_a_time(client), 256, AMOUNT[256])
            one_get = median_s(one_at_a_time(client, is_reading=True))
            gets = driven(many_at_a_time(client, is_reading=True), 256, AMOUNT[256])
        with Client(folder, requests_max=CLIENT_WINDOW) as client:
            apart = driven(many_at_a_time(client), 32, AMOUNT[32])
            for number in range(WARM):
                client.put(f"k{number}", LARGE)
            large = driven(many_at_a_time(client, is_reading=True, keys=WARM), 32, AMOUNT[32])
    return tuple(1 / seconds for seconds in (one_put, apart, puts, one_get, gets, large))


def _table(title: str, rows: dict[str, Figures]) -> str:
    width = max(map(len, (title, *rows)))
    lines = [f"{title:<{width}}" + "".join(f"{head:>{_column(head)}}" for head in HEADS)]
    for name, row in rows.items():
        cells = (f"{amount:>{_column(head)},.0f}" for head, amount in zip(HEADS, row, strict=True))
        lines.append(f"{name:<{width}}" + "".join(cells))
    return "\n".join(lines) + "\n"


def _column(head: str) -> int:
    return len(head) + 2


def _plot(title: str, bars: dict[str, float]) -> str:
    most = max(bars.values())
    lines = [
        f"{name:<7}{amount:>9,.0f}  {'#' * round(WIDTH * amount / most)}"
        for name, amount in bars.items()
    ]
    return "\n".join((title, *lines)) + "\n"


if __name__ == "__main__":
    main()
