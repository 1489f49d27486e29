"""`python -m benchmarks [NAME ...]` measures and prints a table; exit 1 where a ratio is missed."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterable, Iterator

import click
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Alone, Faster, Row, Within

#: One module a benchmark, in the order in which they run.
NAMES = (
    "peer_grpc",
    "limit_rounds",
    "limit_signed",
    "limit_muster",
    "limit_containers",
    "simulated_hundred",
    "replicated",
    "simulated_runs",
    "oral_arithmetic",
    "signed_limit",
    "audits",
    "peers_alone",
)


@click.command(name="benchmarks")
@click.argument("names", nargs=-1, type=click.Choice(NAMES), metavar="[NAME]...")
@click.option("--list", "listed", is_flag=True, help="Name the benchmarks and run none.")
@click.option(
    "--times", default=5, show_default=True, type=click.IntRange(1, 1000), help="Runs of each side."
)
def main(names: tuple[str, ...], listed: bool, times: int) -> None:
    """Measure ours beside its peers and limits: the benchmarks NAMEd, or all of them."""
    if listed:
        _print_names()
        return
    measured = list(_measured(names or NAMES, times))
    Console(width=None if sys.stdout.isatty() else 150).print(_table(measured))
    if any(not row.holds for row in measured if isinstance(row, Faster | Within)):
        sys.exit(1)


def _print_names() -> None:
    width = max(map(len, NAMES))
    for name in NAMES:
        text = inspect.getdoc(importlib.import_module(f"benchmarks.{name}")) or ""
        click.echo(f"{name:{width}}  {text.partition(chr(10))[0]}")


def _measured(names: Iterable[str], times: int) -> Iterator[Row]:
    """The rows of each benchmark. Imported when its turn comes: forks should start from little."""
    for name in names:
        click.echo(f"measuring {name}", err=True)
        yield from importlib.import_module(f"benchmarks.{name}").rows(times)


def _table(measured: Iterable[Row]) -> Table:
    table = Table("what", "ours", "peer or limit", "ratio", "wanted")
    for row in measured:
        if isinstance(row, Alone):
            table.add_row(row.what, "", str(row.peer), "", "")
            continue
        verdict = ""
        if isinstance(row, Faster | Within):
            verdict = f"{row.wanted}: {'[green]held[/]' if row.holds else '[red]missed[/]'}"
        table.add_row(row.what, str(row.ours), str(row.peer), f"{row.ratio:.3g}", verdict)
    return table


if __name__ == "__main__":
    main()
