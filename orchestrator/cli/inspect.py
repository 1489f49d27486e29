"""`byzantine logs` and `verify`: a run after it is over, from its directory alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from orchestrator.rundir import RunDir

_RUN = click.argument("run", type=click.Path(path_type=Path))


@click.command(short_help="Show what each general heard, said and did.")
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
        everyone = [enlisted.general for enlisted in place.roster().generals]
        if general is not None and general not in everyone:
            _refuse(f"there is no general {general}: they are 0 to {len(everyone) - 1}")
        for one in everyone if general is None else [general]:
            _show_log(place, one, style)
    except RunDirError as fault:
        _refuse(str(fault))


@click.command(short_help="Check every signature and hash of a run.")
@_RUN
@click.option("--format", "style", type=click.Choice(("text", "json")), default="text")
def verify(run: Path, style: str) -> int:
    """Check every signature and every journal's hash chain in RUN, with public keys only.

    Exit code 5, with the file and the line, where one fails.
    """
    from node.words import json_line
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
        click.echo(json_line(report.audit_fields(found)))
    else:
        for finding in (*found.findings, *found.unverifiable):
            click.echo(str(finding), err=True)
        click.echo(" ".join(report.audit_line(found).split()))
    return 0 if found.is_clean else 5


def _show_log(place: RunDir, general: int, style: str) -> None:
    import msgspec

    from node.words import json_line

    for line in place.read(f"general-{general}.log").splitlines():
        try:
            event = msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.MsgspecError, ValueError, RecursionError):
            event = {"event": "unreadable", "text": _cut(line.decode("utf-8", "backslashreplace"))}
        if style == "json":
            click.echo(json_line(event))
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
        told = form.format_map(fields) if form else _untold(name, fields)
    except KeyError:
        told = _untold(name, fields)
    marked = "!" if event.get("level") in ("WARNING", "ERROR", "CRITICAL") else " "
    place = f"round {fields['round']}" if fields["round"] != "" else ""
    return safe_line(_cut(f"general {general:<3} {place:<9}{marked} {told}"))


def _untold(name: str, fields: Mapping[str, str]) -> str:
    """An event that has no form of its own: its name and whatever came with it."""
    rest = [f"{key} {text}" for key, text in fields.items() if text and key not in _EVERYWHERE]
    return f"{name}: {', '.join(rest)}" if rest else name


_EVERYWHERE = ("time", "level", "general", "event", "round")


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
    "unreadable": "(no event) {text}",
    "orphaned": "has lost the orchestrator, and ends",
    "dismissed": "is told to end by a signal",
    "failed": "ends: {reason}",
}
#: Characters of a line that are shown: a log is for reading.
_CHARACTERS_MAX = 2000
#: Lists within lists that are shown.
_DEPTH_MAX = 4


def _cut(text: str) -> str:
    return text if len(text) <= _CHARACTERS_MAX else f"{text[:_CHARACTERS_MAX]}..."


def _plain(value: Any, depth: int = 0) -> str:
    """A field in words; a pair in a list is how often there is what."""
    if isinstance(value, dict) or (isinstance(value, list) and depth >= _DEPTH_MAX):
        return "..."
    if isinstance(value, list):
        texts = [_plain(one, depth + 1) for one in value]
        return " x ".join(reversed(texts)) if depth % 2 else ", ".join(texts)
    return str(value)


def _refuse(text: str) -> NoReturn:
    click.echo(text, err=True)
    raise click.exceptions.Exit(2)
