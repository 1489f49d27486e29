"""`byzantine accuracy`: whether the audit exposes every liar and accuses no one falsely."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from orchestrator.accuracy import Tally


@click.command(short_help="Audit the audit: over many drawn runs.")
@click.option("--runs", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option("--format", "style", type=click.Choice(("text", "json")), default="text")
def accuracy(runs: int, seed: int, style: str) -> int:
    """Play accountable runs with every strategy, and count whom their audits expose.

    They are drawn from the seed and simulated on all cores. Exit code 1 if a loyal general is
    exposed, or a liar is not.
    """
    from orchestrator.accuracy import measured

    started_s = time.monotonic()
    with _progress(runs) as progress:
        tally = measured(runs, seed, progress)
    if style == "json":
        click.echo(json.dumps({**vars(tally), "holds": tally.holds}))
    else:
        _tell(tally, time.monotonic() - started_s)
    return 0 if tally.holds else 1


def _tell(tally: Tally, seconds: float) -> None:
    told = ", ".join(f"{name} {times:,}" for name, times in sorted(tally.told.items()))
    click.echo(f"{tally.runs:,} runs in {seconds:.0f} s; who lied: {told}")
    lines = (
        ("loyal generals", tally.loyal, "exposed", tally.loyal_exposed),
        ("liars", tally.liars, "exposed", tally.liars_exposed),
        ("who only withheld", tally.withholders, "suspected", tally.withholders_noticed),
    )
    for who, count, what, found in lines:
        click.echo(f"  {who:<18} {count:>8,}   {what:<9} {found:>8,}")
    for wrong in tally.wrong:
        click.echo(f"  {wrong}", err=True)
    verdict = "accurate and complete" if tally.holds else "NOT accurate and complete"
    click.secho(f"  {verdict}", fg="green" if tally.holds else "red")


@contextmanager
def _progress(runs: int) -> Iterator[Callable[[int], None]]:
    """How far it is, on stderr, on a terminal only."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done: None
        return
    with console.status(f"0 of {runs:,} runs") as status:
        yield lambda done: status.update(f"{done:,} of {runs:,} runs")
