"""`byzantine audit` and `evidence`: who lied in a finished run, and proof that anyone can check."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from orchestrator.accountability import Repute
    from orchestrator.audit import Exhibits

_STYLE = click.option("--format", "style", type=click.Choice(("table", "json")), default="table")


@click.command(short_help="Say who lied, by running every journal again.")
@click.argument("run", type=click.Path(path_type=Path))
@_STYLE
def audit(run: Path, style: str) -> int:
    """Run every journal of RUN again through the loyal machine, and compare.

    Each general is trusted, suspected (something of his is missing, or two ends of a link say
    different things) or exposed, with evidence. Exit code 5 if RUN is damaged, or if someone is
    exposed whom the scenario does not name a traitor.
    """
    from node.words import json_line
    from orchestrator import report, tables
    from orchestrator.accountability import Indication
    from orchestrator.audit import audit as audited
    from orchestrator.cli.run import console

    exhibits, found = _inquired(run)
    signatures = audited(exhibits)
    if style == "json":
        click.echo(json_line(report.repute_fields(found)))
    else:
        tables.repute_table(found, console())
    for finding in signatures.findings:
        click.echo(str(finding), err=True)
    exposed = {g for g, one in found.items() if one.indication is Indication.EXPOSED}
    for general in sorted(exposed - signatures.traitors):
        click.echo(f"general {general} is exposed, and the scenario calls him loyal", err=True)
    return 5 if signatures.findings or exposed - signatures.traitors else 0


class _Evidence(click.Group):
    """A group whose name with a run behind it is a command itself."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = ["of", *args]
        return super().parse_args(context, args)


@click.group(cls=_Evidence)
def evidence() -> None:
    """Evidence that stands alone.

    \b
    byzantine evidence RUN --against GENERAL > evidence.json
    byzantine evidence check evidence.json --roster roster.json
    """


@evidence.command("of", hidden=True)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--against", type=click.IntRange(min=0), required=True, help="Who lied.")
def evidence_of(run: Path, against: int) -> int:
    """Print the gravest evidence that RUN holds against a general.

    Exit code 3 if it holds none.
    """
    import msgspec

    _, found = _inquired(run)
    if against not in found:
        _refuse(f"there is no general {against}: they are 0 to {len(found) - 1}")
    if not found[against].evidence:
        click.echo(f"there is no evidence against general {against}", err=True)
        return 3
    held, what = found[against].evidence[0]
    click.echo(what, err=True)
    click.echo(msgspec.json.format(msgspec.json.encode(held), indent=2).decode())
    return 0


@evidence.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--roster", type=click.Path(path_type=Path), required=True, help="A roster.json.")
def evidence_check(file: Path, roster: Path) -> int:
    """Check the evidence in FILE, from the roster's public keys alone.

    Exit code 5, with the reason, if it shows nothing.
    """
    from node.control import Roster
    from node.words import safe
    from orchestrator.evidence import Evidence, Refuted, check
    from orchestrator.rundir import machine_version

    held: Evidence = _decoded(file, Evidence)
    known: Roster = _decoded(roster, Roster)
    try:
        shown = check(held, known, machine_version())
    except Refuted as fault:
        click.echo(f"refused: {safe(str(fault), 400)}", err=True)
        return 5
    click.echo(f"general {held.culprit} is exposed: {safe(shown, 400)}")
    return 0


def _inquired(run: Path) -> tuple[Exhibits, Mapping[int, Repute]]:
    from orchestrator.accountability import reputes
    from orchestrator.rundir import RunDir, RunDirError, machine_version
    from orchestrator.scenario import ScenarioError

    try:
        exhibits = RunDir.find(run).exhibits()
        return exhibits, reputes(exhibits, machine_version())
    except (RunDirError, ScenarioError) as fault:
        _refuse(str(fault))


def _decoded(path: Path, kind: type[Any]) -> Any:
    """A user's JSON file; exits with 2 where it is none."""
    import msgspec

    from orchestrator.evidence import EVIDENCE_BYTES_MAX
    from orchestrator.scenario.problems import printable

    try:
        with path.open("rb") as stream:
            data = stream.read(EVIDENCE_BYTES_MAX + 1)
        if len(data) > EVIDENCE_BYTES_MAX:
            _refuse(printable(f"{path}: larger than {EVIDENCE_BYTES_MAX} bytes"))
        return msgspec.json.decode(data, type=kind)
    except OSError as fault:
        _refuse(printable(f"{path}: {fault.strerror}"))
    except (msgspec.MsgspecError, ValueError, RecursionError) as fault:
        _refuse(printable(f"{path}: {fault}"))


def _refuse(reason: str) -> NoReturn:
    from orchestrator.exitcodes import ExitCode

    click.echo(reason, err=True)
    raise click.exceptions.Exit(ExitCode.USAGE)
