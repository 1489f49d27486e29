"""`byzantine up`, `status` and `order`: a cluster that lasts, and order after order for it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from orchestrator.cli.engine import ALLOW_REMOTE
from orchestrator.cli.kv import describing_service, placing_service, put_up
from orchestrator.cli.run import describing

if TYPE_CHECKING:
    from orchestrator.results import Result

CLUSTER = click.option("--cluster", metavar="ID", help="Which one, if there are several.")


@click.command(short_help="Put up a lasting cluster of generals.")
@click.option(
    "-n", "n", type=click.IntRange(2, 100), default=4, show_default=True, help="How many generals."
)
@ALLOW_REMOTE
@placing_service
@describing_service
def up(n: int, allow_remote: bool, service: str | None, **described: Any) -> None:
    """Put up a cluster of containers that last: `order` has them play, `down` removes them.

    With --service it is n replicas of a service instead, among processes of this machine or in
    containers: `byzantine kv` uses them, and `byzantine kv down` stops them. The options after
    --service are theirs.
    """
    if service is not None:
        put_up(n, service, **described)
        return
    from orchestrator import camp
    from orchestrator.backends import lasting
    from orchestrator.engine import EngineError, connect

    started_s = time.monotonic()
    try:
        found = lasting.put_up(connect(allow_remote=allow_remote), n)
    except EngineError as error:
        _fail(error)
    took_s = time.monotonic() - started_s
    click.echo(f"{camp.project_of(found.id)}  {n} generals in {took_s:.1f} s")


@click.command(short_help="Who of a lasting cluster is there, and well.")
@CLUSTER
@ALLOW_REMOTE
@click.option(
    "--format", "style", type=click.Choice(("table", "json")), default="table", show_default=True
)
def status(cluster: str | None, allow_remote: bool, style: str) -> int:
    """Ask every general of the cluster how he is: his container, and the fingerprint of his key.

    Exit code 4 if one of them does not answer.
    """
    from orchestrator import camp
    from orchestrator.backends import lasting
    from orchestrator.engine import EngineError, connect
    from orchestrator.exitcodes import ExitCode

    try:
        engine = connect(allow_remote=allow_remote)
        found = lasting.find(engine, cluster)
        members = lasting.members(engine, found)
    except EngineError as error:
        _fail(error)
    if style == "json":
        click.echo(json.dumps([vars(one) for one in members], indent=2))
    else:
        click.echo(camp.project_of(found.id))
        for one in members:
            word = click.style("healthy" if one.fingerprint else "ill    ", fg=_colour(one.ailment))
            told = one.fingerprint or one.ailment
            click.echo(f"{one.general:>8}  {one.container}  {one.state:<8}  {word}  {told}")
    is_well = not any(one.ailment for one in members)
    return ExitCode.AS_EXPECTED if is_well else ExitCode.INFRASTRUCTURE


@click.command(short_help="Give a lasting cluster an order.")
@click.argument("order", metavar="ORDER")
@describing
@click.option("--seed", type=click.IntRange(min=0), help="For traitors that draw chance.")
@click.option(
    "--format", "style", type=click.Choice(("table", "json", "junit")), default="table",
    show_default=True, help="json: the run as one object.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("runs"),
    show_default=True, help="Where run directories go.",
)  # fmt: skip
@CLUSTER
@ALLOW_REMOTE
def order(
    order: str,
    seed: int | None,
    style: str,
    out: Path,
    cluster: str | None,
    allow_remote: bool,
    **options: Any,
) -> int:
    """Give the cluster's commander ORDER, and tell what each counted and what the loyal agree on.

    Who betrays, and how, may be another in every order.

    \b
    byzantine order attack --protocol oral -m 3 --traitor 3,4,7=parity
    byzantine order retreat --protocol signed -m 2 --traitor 0=silent
    """
    from orchestrator.backends import lasting
    from orchestrator.cli.run import chosen, play_all, seeding
    from orchestrator.engine import EngineError, connect

    try:
        found = lasting.find(connect(allow_remote=allow_remote), cluster)
    except EngineError as error:
        _fail(error)
    options["protocol"] = options["protocol"] or "oral"
    described = {**options, "n": len(found.containers), "order": order}
    wanted = chosen((), described, seeding(seed))
    return play_all(
        wanted,
        lambda: lasting.Lasting(found, allow_remote=allow_remote),
        out,
        style,
        _consensus,
    )


def _consensus(result: Result) -> str:
    """The last line of the report: what those who are loyal have agreed on."""
    from orchestrator.tables import safe_line
    from orchestrator.verdict import text

    loyal = [value for g, value in result.decisions.items() if g not in result.scenario.faulty]
    decided = {safe_line(text(value)) for value in loyal}
    if len(decided) == 1:
        return f"consensus: all {len(loyal)} loyal generals decide {decided.pop()}"
    counted = sorted(safe_line(text(value)) for value in loyal)
    parts = [f"{counted.count(one)} {one}" for one in sorted(decided)]
    return f"no consensus among the {len(loyal)} loyal generals: {', '.join(parts)}"


def _colour(ailment: str | None) -> str:
    return "red" if ailment else "green"


def _fail(error: Exception) -> NoReturn:
    from orchestrator.exitcodes import ExitCode

    click.echo(str(error), err=True)
    raise click.exceptions.Exit(ExitCode.INFRASTRUCTURE)
