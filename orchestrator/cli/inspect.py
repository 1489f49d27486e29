"""`byzantine logs`, `verify`, `views`, `journal`, `trace`: a finished run, by its directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from orchestrator.transcript import Record

#: What the projects of containers are called by, before their ids.
_PROJECT = "byzantine-"
_RUN = click.argument("run", type=click.Path(path_type=Path))


def _fingerprint(context: click.Context, option: click.Parameter, text: str | None) -> bytes | None:
    """What the user was told of a roster."""
    if text is None:
        return None
    if len(text) != 64 or not set(text.lower()) <= set("0123456789abcdef"):
        raise click.BadParameter("a fingerprint is 64 hex digits", context, option)
    return bytes.fromhex(text)


@click.command(short_help="Show what each general heard, said and did.")
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.argument("general", type=click.IntRange(min=0), required=False)
@click.option("--format", "style", type=click.Choice(("text", "json")), default="text")
def logs(run: Path | None, general: int | None, style: str) -> None:
    """Show what the generals of RUN wrote into their logs, all or one of them.

    Rounds are the paper's: round 1 is the commander's. RUN is a run directory, or a scenario's
    folder under runs/, whose latest run is taken. Without it, or where it is the project of
    containers that are up, byzantine-ID, their logs are shown: all that they have played.
    """
    from orchestrator.rundir import RunDir, RunDirError

    if run is None or (run.name.startswith(_PROJECT) and not run.exists()):
        id = run.name.removeprefix(_PROJECT) if run else None
        _show_logs_of_containers(id, general, style)
        return
    try:
        place = RunDir.find(run)
        everyone = [enlisted.general for enlisted in place.roster().generals]
        _check(general, everyone)
        for one in everyone if general is None else [general]:
            _show_log(place.read(f"general-{one}.log"), one, style)
    except RunDirError as fault:
        _refuse(str(fault))


def _show_logs_of_containers(id: str | None, general: int | None, style: str) -> None:
    from orchestrator import camp
    from orchestrator.backends import lasting
    from orchestrator.engine import EngineError, connect
    from orchestrator.exitcodes import ExitCode

    try:
        engine = connect()
        containers = lasting.find(engine, id).container_of()
        _check(general, list(containers))
        for one in containers if general is None else [general]:
            _show_log(camp.log(engine, containers[one]["Id"]), one, style)
    except EngineError as error:
        click.echo(str(error), err=True)
        raise click.exceptions.Exit(ExitCode.INFRASTRUCTURE) from None


def _check(general: int | None, everyone: Sequence[int]) -> None:
    if general is not None and general not in everyone:
        _refuse(f"there is no general {general}: they are 0 to {len(everyone) - 1}")


@click.command(short_help="Check every signature and hash of a run.")
@_RUN
@click.option(
    "--roster-fingerprint", "fingerprint", metavar="HEX", callback=_fingerprint,
    help="The roster's, as it was learnt by another way: 64 hex digits.",
)  # fmt: skip
@click.option("--format", "style", type=click.Choice(("text", "json")), default="text")
def verify(run: Path, fingerprint: bytes | None, style: str) -> int:
    """Check every signature and every journal's hash chain in RUN, with public keys only.

    Exit code 5, with the file and the line, where one fails, and where a journal is missing or was
    never closed. What a traitor wrote into his own journal is told, and is no damage.
    """
    from node.words import json_line
    from orchestrator import report, tables
    from orchestrator.audit import Audit, Finding, audit
    from orchestrator.cli.run import console
    from orchestrator.cores import check_on_all_cores
    from orchestrator.rundir import RunDir, RunDirError

    try:
        place = RunDir.find(run)
    except RunDirError as fault:
        _refuse(str(fault))
    try:
        found = audit(place.exhibits(), fingerprint=fingerprint, check=check_on_all_cores)
    except RunDirError as fault:
        found = Audit(findings=[Finding(fault.path.name, None, fault.reason)])
    if style == "json":
        click.echo(json_line(report.audit_fields(found)))
        return 0 if found.is_clean else 5
    for finding in (*found.findings, *found.unverifiable):
        click.echo(str(finding), err=True)
    for finding in found.false:
        click.echo(f"{finding}: his own false entry, he is a traitor", err=True)
    if found.hands:
        tables.hands_table(found, console())
    click.echo(tables.audit_line(found))
    return 0 if found.is_clean else 5


@click.command(short_help="Compare what a general saw in two runs.")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path))
@click.option("--general", type=click.IntRange(min=0), required=True, help="Whose views.")
def views(run: Path, other: Path, general: int) -> int:
    """Compare what a general saw in RUN and in OTHER, byte for byte.

    A view is (round, sender, values) of all that he heard, and his decision: no run id, no key, no
    signature. Where two views are equal, no algorithm can let him act differently in the two runs.
    Exit code 0 if they are equal, 1 if they differ, 5 if a journal is not whole.
    """
    from orchestrator.transcript import difference, view

    one, two = (_whole_record(path, general) for path in (run, other))
    seen = view(one)
    if seen == view(two):
        click.echo(f"general {general} saw the same in both runs, byte for byte: {len(seen)} bytes")
        return 0
    click.echo(f"general {general} saw different things: {difference(seen, view(two))}")
    return 1


@click.command(short_help="Print a general's journal as JSON.")
@_RUN
@click.argument("general", type=click.IntRange(min=0))
def journal(run: Path, general: int) -> int:
    """Print the journal of a general in RUN, an object a line: docs/journal.md says what is in it.

    `says` is what a frame says, in words. Exit code 5, with the line, if the journal is not whole.
    """
    from node.words import json_line
    from orchestrator.trace import spelt_out

    record = _record(run, general)
    for fields in spelt_out(record):
        click.echo(json_line(fields))
    return _tell_damage(record)


@click.command(short_help="Export a run to ShiViz or Perfetto.")
@_RUN
@click.option(
    "--format", "style", type=click.Choice(("shiviz", "chrome")), required=True,
    help="shiviz: for bestchai.bitbucket.io/shiviz. chrome: for ui.perfetto.dev.",
)  # fmt: skip
def trace(run: Path, style: str) -> int:
    """Print the events of RUN in causal order, for a tool that draws them.

    Exit code 5 if a journal is not whole: what could be read is there all the same.
    """
    from node.words import json_line
    from orchestrator.rundir import RunDir, RunDirError
    from orchestrator.trace import chrome, shiviz

    try:
        transcript = RunDir.find(run).exhibits().transcript
    except RunDirError as fault:
        _refuse(str(fault))
    if style == "chrome":
        click.echo(json_line(chrome(transcript)))
    else:
        for text in shiviz(transcript):
            click.echo(text, nl=False)
    return max((_tell_damage(record) for record in transcript.records.values()), default=0)


def _record(run: Path, general: int) -> Record:
    """One general's journal, as it is; exits with 2 where there is none."""
    from orchestrator.rundir import RunDir, RunDirError

    try:
        exhibits = RunDir.find(run).exhibits()
    except RunDirError as fault:
        _refuse(str(fault))
    record = exhibits.transcript.records.get(general)
    if record is None:
        _refuse(f"{run}: there is no journal of general {general}")
    return record


def _whole_record(run: Path, general: int) -> Record:
    record = _record(run, general)
    if _tell_damage(record):
        raise click.exceptions.Exit(5)
    return record


def _tell_damage(record: Record) -> int:
    """The exit code: 5 where a journal is not what a general wrote to its end."""
    from orchestrator.audit import Finding, journal_name

    for damage in record.damage:
        finding = Finding(journal_name(record.general), damage.line, damage.kind)
        click.echo(str(finding), err=True)
    return 5 if record.damage else 0


def _show_log(log: bytes, general: int, style: str) -> None:
    import msgspec

    from node.words import json_line

    for line in log.splitlines():
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
    from orchestrator.tables import safe_line

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
