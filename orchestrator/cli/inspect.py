"""`byzantine logs` and `verify`: a run after it is over, from its directory alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from orchestrator.rundir import RunDir

_RUN = click.argument("run", type=click.Path(path_type=Path))


@click.command()
@_RUN
@click.argument("general", type=click.IntRange(min=0), required=False)
@click.option("--format", "style", type=click.Choice(("text", "json")), default="text")
def logs(run: Path, general: int | None, style: str) -> None:
    """Show what the generals of RUN wrote into their logs, all or one of them.

    Rounds are the paper's: round 1 is the commander's. RUN is a run directory, or a scenario's
    folder under runs/, whose latest run is taken.
    """
    from orchestrator.rundir import RunDir, RunDirError

    try:
        place = RunDir.find(run)
        generals = [e.general for e in place.roster().generals] if general is None else [general]
        for one in generals:
            _show_log(place, one, style)
    except RunDirError as fault:
        _refuse(str(fault))


@click.command()
@_RUN
@click.option("--format", "style", type=click.Choice(("text", "json")), default="text")
def verify(run: Path, style: str) -> int:
    """Check every signature and every journal's hash chain in RUN, with public keys only.

    Exit code 5, with the file and the line, where one fails.
    """
    from orchestrator import report
    from orchestrator.audit import Finding, audit
    from orchestrator.rundir import RunDir, RunDirError

    try:
        place = RunDir.find(run)
    except RunDirError as fault:
        _refuse(str(fault))
    try:
        found = audit(place.exhibits())
    except RunDirError as fault:
        from orchestrator.audit import Audit

        found = Audit(findings=[Finding(fault.path.name, None, fault.reason)])
    if style == "json":
        click.echo(report.json_line(report.audit_fields(found)))
    else:
        for finding in (*found.findings, *found.unverifiable):
            click.echo(str(finding), err=True)
        click.echo(report.audit_line(found).strip())
    return 0 if found.is_clean else 5


def _show_log(place: RunDir, general: int, style: str) -> None:
    import msgspec

    for line in place.read(f"general-{general}.log").splitlines():
        try:
            event = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.MsgspecError:
            event = {"event": "unreadable", "text": line.decode("utf-8", "backslashreplace")}
        if style == "json":
            click.echo(msgspec.json.encode(event).decode())
        else:
            click.echo(_told(general, event))


def _told(general: int, event: Mapping[str, Any]) -> str:
    """One event as a line for people."""
    from orchestrator.report import safe_line

    name = str(event.get("event", ""))
    form = _FORMS.get(name)
    fields = {key: _plain(value) for key, value in event.items()}
    fields.setdefault("round", "")
    try:
        told = form.format_map(fields) if form else f"{name}: {fields.get('text', '')}"
    except KeyError:
        told = name
    marked = "!" if event.get("level") in ("WARNING", "ERROR", "CRITICAL") else " "
    place = f"round {fields['round']}" if fields["round"] != "" else ""
    return safe_line(f"general {general:<3} {place:<9}{marked} {told}")


_FORMS = {
    "opened": "plays {protocol} with n={n}, m={m}",
    "began": "the start barrier opens",
    "heard": "{sender} says: {says}",
    "said": "tells {to}: {says}  [{rule}]",
    "lied": "lies to {to}: {told}, not {truth}  [{rule}]",
    "refused": "refuses what {sender} sent: {reason}  [{rule}]",
    "noted": "{text}  [{rule}]",
    "accused": "holds proof against {culprit}: {proof}  [{rule}]",
    "decided": "decides {value}, having counted {tally}  [{rule}]",
    "woke": "the {timer} passes",
    "closed": "closes the journal",
}


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_plain(one) if not isinstance(one, list) else _pair(one) for one in value)
    return str(value)


def _pair(pair: list[Any]) -> str:
    return " x ".join(_plain(one) for one in reversed(pair))


def _refuse(text: str) -> NoReturn:
    click.echo(text, err=True)
    raise click.exceptions.Exit(2)
