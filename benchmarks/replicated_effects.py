"""`python -m benchmarks.replicated_effects`: what each optimisation is worth, what replicas cost.

Every row is the whole with one thing changed: one switch off, or more replicas. A row is measured
once a round, all rows in each round, and its figures are the best of them: what else a machine does
makes a figure worse and never better. In memory, on one machine: replicas share its cores, so that
n replicas cost more here than on n machines.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import click

from benchmarks.replicated import (
    WARM,
    Ask,
    driven,
    many_at_a_time,
    median_s,
    one_at_a_time,
    replicas,
)
from node.protocols.pbft.configuration import Authentication
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
HEADS = (
    "puts/s, 1",
    "puts/s, 32 clients",
    "puts/s, 256",
    "gets/s, 1",
    "gets/s, 256",
    "gets/s, 32 x 4 KiB",
)
CLIENTS = 32
WIDTH = 60

Figures = tuple[float, ...]


@click.command()
@click.option("--times", default=3, show_default=True, type=click.IntRange(1, 100))
def main(times: int) -> None:
    """Measure the optimisations, then n = 4, 7, 10, 13: a table and a picture."""
    changes = _best(times, CHANGES)
    print(_table("four replicas, MACs", changes))
    sizes = _best(times, {f"n = {n}": {"n": n} for n in SIZES})
    print(_table("more replicas", sizes))
    for column in (0, 1, 2):
        print(_plot(HEADS[column], {name: row[column] for name, row in sizes.items()}))


def _best(times: int, settings: dict[str, dict[str, Any]]) -> dict[str, Figures]:
    taken: dict[str, list[Figures]] = {name: [] for name in settings}
    for _ in range(times):
        for name, changed in settings.items():
            taken[name].append(_measured(**changed))
    return {name: tuple(map(max, zip(*rows, strict=True))) for name, rows in taken.items()}


def _measured(n: int = 4, **switches: Any) -> Figures:
    """Operations a second, in the order of the heads: one at a time, or so many outstanding.

    One client lets operations travel together, so that 256 are a few requests. The 32 clients have
    one each, which the primary may batch.
    """
    with replicas(n, CLIENTS, is_durable=False, **switches) as folder:
        with Client(folder) as client:
            for number in range(WARM):
                client.put(f"k{number}", b"")
            one_put = median_s(one_at_a_time(client))
            puts = driven(many_at_a_time(client), 256, AMOUNT[256])
            one_get = median_s(one_at_a_time(client, is_reading=True))
            gets = driven(many_at_a_time(client, is_reading=True), 256, AMOUNT[256])
            for number in range(WARM):
                client.put(f"k{number}", LARGE)
            large = driven(many_at_a_time(client, is_reading=True, keys=WARM), 32, AMOUNT[32])
        with ExitStack() as opened:
            clients = [opened.enter_context(Client(folder)) for _ in range(CLIENTS)]
            apart = driven(_one_each(clients), CLIENTS, AMOUNT[32])
    return tuple(1 / seconds for seconds in (one_put, apart, puts, one_get, gets, large))


def _one_each(clients: Iterable[Client]) -> Ask:
    """Whoever has nothing under way asks next."""
    idle = deque(map(many_at_a_time, clients))

    def ask(number: int, on_done: Callable[[], None]) -> None:
        one = idle.popleft()

        def done() -> None:
            idle.append(one)
            on_done()

        one(number, done)

    return ask


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
