"""`byzantine compare` and `plot`: what agreement costs under each rule book."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.chances import Range
from orchestrator.cli.rows import STYLE, as_csv, show

if TYPE_CHECKING:
    from orchestrator.costs import Cost
    from orchestrator.scenario import Scenario

USUAL = "oral,signed,phase-king,reliable-broadcast"
FIGURES = ("cost", "losses")
MEASURES = ("messages", "frames", "bytes", "rounds")


class Protocols(click.ParamType):  # type: ignore[type-arg]
    """Names of rule books that agree on a commander's order, with commas between."""

    name = "names"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        from orchestrator.costs import COMPARABLE

        if isinstance(value, tuple):
            return value
        names = tuple(part.strip() for part in str(value).split(","))
        for name in names:
            if name not in COMPARABLE:
                self.fail(f"{name!r} is none of {', '.join(COMPARABLE)}", param, ctx)
        return tuple(dict.fromkeys(names))


PROTOCOLS = click.option(
    "--protocols", type=Protocols(), default=USUAL, show_default=True,
    help="Rule books, with commas between.",
)  # fmt: skip


@click.command(short_help="One story by several rule books, side by side.")
@click.argument("scenario")
@PROTOCOLS
@click.option(
    "--backend", type=click.Choice(("processes", "simulation")), default="simulation",
    show_default=True,
)  # fmt: skip
@click.option(
    "--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Change a field: m=2, n=7."
)
@STYLE
def compare(
    scenario: str, protocols: tuple[str, ...], backend: str, settings: tuple[str, ...], style: str
) -> None:
    """Play SCENARIO by each rule book, and print what each took in one table.

    The traitors, the order and the seed are the scenario's; what it expects is left out, since it
    was expected of its own rule book. Verifications are of signatures, ms the last decision's.
    """
    from orchestrator import costs
    from orchestrator.backends import BackendError
    from orchestrator.cli.run import backends
    from orchestrator.exitcodes import ExitCode

    told = _retold(scenario, protocols, settings)
    try:
        with backends(backend) as make:
            rows = [_row(one) for one in costs.compare(told, make)]
    except BackendError as fault:
        click.echo(str(fault), err=True)
        raise click.exceptions.Exit(ExitCode.INFRASTRUCTURE) from None
    first = told[0]
    title = f"{first.name}: n = {first.n}, m = {first.m}, {len(first.traitors)} traitors, {backend}"
    show(rows, style, title)


def _retold(name: str, protocols: tuple[str, ...], settings: tuple[str, ...]) -> list[Scenario]:
    from orchestrator import costs
    from orchestrator.cli import scenarios
    from orchestrator.scenario import ScenarioError

    try:
        story = scenarios.load(name, (*settings, "expect={}"))
        if story.commander is None or story.protocol.value not in costs.COMPARABLE:
            raise click.UsageError(
                f"{story.name} is played by {story.protocol.value}, and has nothing in common with "
                f"others: compare takes {', '.join(costs.COMPARABLE)}"
            )
        told = costs.retold(story, protocols)
        for one in told:
            scenarios.check_playable(one)
        return told
    except ScenarioError as fault:
        click.echo(str(fault), err=True)
        raise click.exceptions.Exit(2) from None


def _row(cost: Cost) -> dict[str, Any]:
    left_out = ("n", "m")
    return {name: value for name, value in vars(cost).items() if name not in left_out}


@click.command(short_help="Draw cost against n and m, or losses.")
@click.argument("figure", type=click.Choice(FIGURES))
@PROTOCOLS
@click.option("--of", "measure", type=click.Choice(MEASURES), default="messages", show_default=True)
@click.option("-n", "n", type=Range(2, 64), default="4..16", show_default=True, help="With m = 1.")
@click.option(
    "-m", "m", type=Range(0, 10), default="1..4", show_default=True, help="With n = 4m + 1."
)
@click.option("--messages", type=Range(1, 16), default="1,2,3,4,8,12", show_default=True)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path),
    help="The picture: .svg, .png or .pdf.  [default: numbers on standard output]",
)  # fmt: skip
@click.option(
    "--format", "style", type=click.Choice(("csv", "json")), default="csv", show_default=True
)
def plot(
    figure: str,
    protocols: tuple[str, ...],
    measure: str,
    n: tuple[int, ...],
    m: tuple[int, ...],
    messages: tuple[int, ...],
    out: Path | None,
    style: str,
) -> None:
    """Draw a figure, or give its numbers.

    \b
    cost     what loyal runs take against n and against m, measured in the simulator
    losses   the chance that two generals agree, against N messages and how many are lost
    """
    rows = list(_costs(protocols, n, m) if figure == "cost" else _losses(messages))
    if out is None:
        show(rows, style)
        return
    if out.suffix not in (".svg", ".png", ".pdf"):
        raise click.UsageError(f"--out takes .svg, .png or .pdf, not {out.suffix or 'no ending'!r}")
    try:
        from orchestrator import figures
    except ImportError:
        hint = "drawing takes matplotlib: pip install 'byzantine[plot]'; without --out, numbers"
        raise click.UsageError(hint) from None
    drawn = figures.cost(rows, measure) if figure == "cost" else figures.losses(rows)
    drawn.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)
    out.with_suffix(".csv").write_text(as_csv(rows))
    click.echo(f"{out}, and its numbers in {out.with_suffix('.csv')}")


def _costs(
    protocols: tuple[str, ...], n: tuple[int, ...], m: tuple[int, ...]
) -> Iterator[dict[str, Any]]:
    """A row a run; what is too large, or below a bound, is left out and said to be."""
    from orchestrator.costs import measured
    from orchestrator.scenario import ScenarioError

    for against, name, a, b in _points(protocols, n, m):
        try:
            yield {"against": against, **vars(measured(name, a, b))}
        except ScenarioError as fault:
            click.echo(f"left out: {fault.problems[0].message}", err=True)


def _points(
    protocols: Iterable[str], n: tuple[int, ...], m: tuple[int, ...]
) -> Iterator[tuple[str, str, int, int]]:
    from node.protocols.catalogue import PROTOCOLS

    for name in protocols:
        least = PROTOCOLS[name].generals_min
        yield from (("n", name, a, 1) for a in n if a >= least(1))
        yield from (("m", name, 4 * b + 1, b) for b in m if b)


def _losses(messages: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    from orchestrator.losses import all_losses

    for count in messages:
        played = all_losses(count)
        for percent in range(0, 101, 5):
            rate = percent / 100
            yield {
                "N": count,
                "rate": rate,
                "agree": played.agreement(rate),
                "both attack": played.attack(rate),
            }
