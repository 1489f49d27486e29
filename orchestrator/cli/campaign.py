"""`byzantine sweep`, `shrink`, `bounds`: many runs, the smallest failing one, the theorems."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from orchestrator.sweep import Campaign, Cell, Draw, Summary

#: Failures that are spelt out; the others are counted, and each is a file.
TOLD_MAX = 10


@click.command(short_help="Play many runs over a grid, and say what broke.")
@click.argument("scenario", nargs=-1)
@click.option("--runs", type=click.IntRange(1), default=200, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="The first one.")
@click.option("--jobs", type=click.IntRange(1), help="Processes.  [default: one a core]")
@click.option(
    "--protocol", "protocols", multiple=True,
    help="Of the grid; may be repeated.  [default: oral, signed, interactive-consistency]",
)  # fmt: skip
@click.option("-n", "ns", multiple=True, type=int, help="How many generals; may be repeated.")
@click.option("-m", "ms", multiple=True, type=int, help="How many traitors; may be repeated.")
@click.option("--strategy", "strategies", multiple=True, help="Of traitors; may be repeated.")
@click.option("-c", "--process-faults", type=click.IntRange(0), help="Traitors a run, at most.")
@click.option(
    "-d", "--network-faults", type=click.IntRange(0), default=2, show_default=True,
    help="Misfortunes a run, at most.",
)  # fmt: skip
@click.option("--beyond", type=click.IntRange(0), default=0, help="Faulty generals above m.")
@click.option(
    "--format", "style", type=click.Choice(("table", "json", "junit")), default="table",
    show_default=True,
)  # fmt: skip
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("runs/sweep"),
    show_default=True, help="Where failing scenarios go.",
)  # fmt: skip
def sweep(
    scenario: tuple[str, ...],
    runs: int,
    seed: int,
    jobs: int | None,
    style: str,
    out: Path,
    **grid: Any,
) -> int:
    """Play many runs in the simulator: each drawn from its seed, or scenarios with many seeds.

    \b
    byzantine sweep --runs 1000
    byzantine sweep --protocol oral -n 3 -m 1 --beyond 0
    byzantine sweep scenarios/chaos/lossy-relays.yaml --runs 50

    Within the bounds nothing may break: exit code 1 where a promise that was owed did, 5 where an
    audit failed, 3 where an outcome is unknown. Every failing run is left as a scenario.
    """
    from orchestrator.sweep import Drawn, Repeated, Summary
    from orchestrator.sweep import sweep as play_all

    campaign = None
    draws: list[Draw] = [Repeated(one) for one in _loaded(scenario)]
    if not draws:
        campaign = _campaign(**grid)
        draws = [Drawn(campaign)]
    summary = Summary()
    for draw in draws:
        with _progress(runs) as advance:
            part = play_all(draw, range(seed, seed + runs), jobs, advance)
        _leave(part, draw, out)
        summary.merge(part)
    if style == "json":
        click.echo(json.dumps(_fields(summary, campaign)))
    elif style == "junit":
        click.echo(_junit(summary), nl=False)
    else:
        _tell(summary, campaign, out)
    return int(summary.exit_code())


@click.command(short_help="Make a failing scenario as small as it can be.")
@click.argument("scenario")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path),
    help="The small scenario's file.  [default: beside it, NAME-small.yaml]",
)  # fmt: skip
def shrink(scenario: str, output: Path | None) -> int:
    """Leave out of a scenario whatever it fails without, and write what is left as a file.

    \b
    byzantine shrink runs/sweep/sweep-17.yaml
    """
    from orchestrator.cli import scenarios
    from orchestrator.shrink import failure_of
    from orchestrator.shrink import shrink as make_small

    whole = _loaded((scenario,))[0]
    outcome, broken = failure_of(whole)
    if outcome == "pass":
        raise click.UsageError(f"{scenario} passes: there is no failure to keep while it shrinks")
    steps = 0

    def on_smaller(_: Any) -> None:
        nonlocal steps
        steps += 1

    small = make_small(whole, on_smaller)
    place = output or scenarios.path_of(scenario).with_name(f"{small.name}.yaml")
    place.write_text(small.resolved_yaml())
    told = f"{outcome}: {', '.join(sorted(broken)) or 'nothing'} broken"
    click.echo(
        f"{told}; {steps} steps smaller: n={small.n}, m={small.m}, "
        f"{len(small.traitors)} traitors, {len(small.chaos)} steps of chaos"
    )
    click.echo(f"byzantine run {place}")
    return 0


@click.command(short_help="See a theorem's bound: broken below it, and not at it.")
@click.option("--protocol", type=click.Choice(("oral", "signed")), required=True)
@click.option("-m", "m_max", type=click.IntRange(1, 3), default=1, show_default=True)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("runs/bounds"),
    show_default=True, help="Where counterexamples go.",
)  # fmt: skip
@click.option("--format", "style", type=click.Choice(("table", "json")), default="table")
def bounds(protocol: str, m_max: int, out: Path, style: str) -> int:
    """Search the smallest counterexample below each bound, and the same at the bound.

    Exit code 1 where a search finds what a theorem forbids, or does not find what it promises.
    """
    from orchestrator.bounds import cases, search
    from orchestrator.shrink import shrink as make_small

    is_right = True
    for number, case in enumerate(cases(protocol, m_max), start=1):
        with _progress(case.ways) as advance:
            found = search(case, advance)
        is_right &= found.is_as_the_theorem_says
        how = "all" if found.is_exhaustive else "not all: some, drawn at random,"
        line = {
            "case": case.title,
            "theorem": case.theorem,
            "tried": found.tried,
            "exhaustive": found.is_exhaustive,
            "broken": found.broken is not None,
            "as_the_theorem_says": found.is_as_the_theorem_says,
        }
        if found.broken is not None:
            small = make_small(found.broken)
            out.mkdir(parents=True, exist_ok=True)
            place = out / f"{protocol}-{number}.yaml"
            place.write_text(small.resolved_yaml())
            line |= {"why": found.why, "scenario": str(place)}
        if style == "json":
            click.echo(json.dumps(line))
            continue
        click.secho(f"{case.title}  ({case.theorem})", bold=True)
        if found.broken is None:
            click.echo(
                f"  nothing breaks: {how} of {case.ways:,} ways to lie were played "
                f"({found.tried:,})"
            )
        else:
            click.echo(f"  broken at try {found.tried:,}: {found.why}")
            click.echo(f"  byzantine run --backend simulation {line['scenario']}")
        if not found.is_as_the_theorem_says:
            click.secho("  this is not what the theorem says", fg="red")
    return 0 if is_right else 1


def _loaded(names: tuple[str, ...]) -> list[Any]:
    from orchestrator.cli import scenarios
    from orchestrator.scenario import ScenarioError

    try:
        return [scenarios.load(name) for name in names]
    except ScenarioError as fault:
        click.echo(str(fault), err=True)
        raise click.exceptions.Exit(2) from None


def _campaign(
    protocols: tuple[str, ...],
    ns: tuple[int, ...],
    ms: tuple[int, ...],
    strategies: tuple[str, ...],
    process_faults: int | None,
    network_faults: int,
    beyond: int,
) -> Campaign:
    from orchestrator.sweep import DRAWN, Campaign

    unknown = [name for name in strategies if name not in DRAWN]
    if unknown:
        listed = ", ".join(DRAWN)
        raise click.UsageError(f"a sweep draws parameters of {listed}, not of {unknown[0]}")
    return Campaign(
        cells=tuple(_cells(protocols or ("oral", "signed", "interactive-consistency"), ns, ms)),
        strategies=strategies or DRAWN,
        process_faults=process_faults,
        network_faults=network_faults,
        beyond=beyond,
    )


def _cells(protocols: tuple[str, ...], ns: tuple[int, ...], ms: tuple[int, ...]) -> Iterator[Cell]:
    """The grid: where no n is given, the bound of each protocol and two more."""
    from node.protocols import catalogue
    from orchestrator.sweep import Cell

    for protocol in protocols:
        if protocol not in catalogue.PROTOCOLS:
            listed = ", ".join(catalogue.PROTOCOLS)
            raise click.UsageError(f"there is no protocol {protocol!r}: there are {listed}")
        overs = ("oral", "signed") if protocol == "interactive-consistency" else (None,)
        for over in overs:
            for m in ms or (1, 2):
                least = catalogue.PROTOCOLS[over or protocol].generals_min(m)
                for n in ns or range(min(least, 3 * m + 1), min(least, 3 * m + 1) + 2):
                    if not 0 <= m < n:
                        raise click.UsageError(f"m must be below n: not m={m} of n={n}")
                    yield Cell(protocol, n, m, over)


def _leave(summary: Summary, draw: Draw, out: Path) -> None:
    """Each failing run as a scenario that can be played again."""
    for finding in summary.failures:
        out.mkdir(parents=True, exist_ok=True)
        scenario = draw(finding.seed)
        (out / f"{scenario.name}-{finding.seed}.yaml").write_text(scenario.resolved_yaml())
        finding.files.append(str(out / f"{scenario.name}-{finding.seed}.yaml"))


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Any], None]]:
    """A bar on stderr while it lasts, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("playing", total=total)
        yield lambda done: bar.advance(task)


def _tell(summary: Summary, campaign: Campaign | None, out: Path) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from orchestrator.scenario import Outcome

    drawn = Table(box=box.SIMPLE_HEAD)
    drawn.add_column("played")
    for outcome in Outcome:
        drawn.add_column(outcome.value, justify="right")
    for cell, counts in sorted(summary.cells.items()):
        drawn.add_row(cell, *(str(counts[outcome]) for outcome in Outcome))
    width = None if sys.stdout.isatty() else 120
    Console(file=sys.stdout, width=width, highlight=False).print(drawn)
    click.echo(f"{summary.runs} runs, {len(summary.failures)} failures")
    never = summary.never_exercised(campaign)
    click.echo(f"never exercised: {', '.join(never) or 'nothing'}")
    for finding in summary.failures[:TOLD_MAX]:
        click.secho(f"seed {finding.seed}: {finding.outcome.value}: {finding.told()}", fg="red")
        for file in finding.files:
            click.echo(f"  byzantine run --backend simulation {file}")
            click.echo(f"  byzantine shrink {file}")
    if len(summary.failures) > TOLD_MAX:
        click.echo(f"and {len(summary.failures) - TOLD_MAX} more in {out}")


def _fields(summary: Summary, campaign: Campaign | None) -> dict[str, Any]:
    return {
        "runs": summary.runs,
        "cells": {
            cell: {outcome.value: count for outcome, count in counts.items()}
            for cell, counts in sorted(summary.cells.items())
        },
        "never_exercised": summary.never_exercised(campaign),
        "failures": [
            {
                "seed": f.seed,
                "cell": f.cell,
                "outcome": f.outcome.value,
                "why": f.told(),
                "scenarios": f.files,
            }
            for f in summary.failures
        ],
    }


def _junit(summary: Summary) -> str:
    from xml.etree import ElementTree

    suite = ElementTree.Element("testsuite", name="byzantine sweep")
    failures = {cell: [f for f in summary.failures if f.cell == cell] for cell in summary.cells}
    for cell, counts in sorted(summary.cells.items()):
        name = f"{counts.total()} runs"
        case = ElementTree.SubElement(suite, "testcase", classname=cell, name=name)
        if failures[cell]:
            first = failures[cell][0]
            told = f"seed {first.seed}: {first.outcome.value}"
            failure = ElementTree.SubElement(case, "failure", message=told)
            failure.text = "\n".join(f"seed {f.seed}: {f.told()}" for f in failures[cell])
    suite.set("tests", str(len(summary.cells)))
    suite.set("failures", str(sum(map(bool, failures.values()))))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
