"""A finished run as people read it: tables and lines on a terminal.

Text that came from a scenario or a peer is data: control characters are shown escaped, markup of
the terminal is never interpreted.
"""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from node.orders import GeneralId, Value
from node.protocols import catalogue
from node.words import safe
from orchestrator.accountability import Indication, Repute
from orchestrator.audit import Audit, Condition
from orchestrator.chaos import Incident
from orchestrator.expectation import unmet
from orchestrator.results import Result
from orchestrator.scenario import Outcome, Standing
from orchestrator.verdict import text

_COLOURS = {
    Standing.HELD: "green",
    Standing.BROKEN: "red",
    Standing.VACUOUS: "dim",
    Standing.UNKNOWN: "yellow",
    Outcome.PASS: "green",
    Outcome.VIOLATION: "bold red",
    Outcome.OUT_OF_MODEL: "yellow",
    Outcome.UNKNOWN: "yellow",
}


def table(result: Result, console: Console) -> None:
    """The run as a page: who decided what, whether the promises held, what it cost."""
    scenario = result.scenario
    console.print()
    headline = Text(safe_line(scenario.name), style="bold")
    if scenario.summary:
        headline.append(f"  {safe_line(scenario.summary)}", style="default not bold")
    _line(console, headline)
    _line(console, Text(_setting(result), style="dim"))
    console.print(_generals(result))
    for name, prop in result.verdict.properties.items():
        line = Text(f"  {name.upper() if name != 'termination' else name:<12}")
        line.append(f"{prop.status.value:<8}", style=_COLOURS[prop.status])
        _line(console, line.append(f" {safe_line(prop.reason)}"))
    for name, assumption in result.assumptions.items():
        if assumption.is_kept is False:
            line = Text(f"  {name:<12}").append("broken", style="yellow")
            _line(console, line.append(f"   {safe_line(assumption.why)}"))
    for incident in result.incidents:
        _line(console, _misfortune(incident))
    _line(console, Text(_cost(result)))
    _line(console, Text(audit_line(result.audit), style="red" if result.audit.findings else ""))
    if result.reputes:
        _line(console, Text(_repute_line(result.reputes)))
    _conclusion(result, console)


def hands_table(audit: Audit, console: Console) -> None:
    """Who signed what, and how many signed orders were good."""
    _line(console, Text(f"roster {audit.roster.hex()}"))
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=True, show_edge=False)
    for heading in ("general", "key", "journal", "signed"):
        drawn.add_column(heading, justify="right" if heading == "general" else "left")
    for general, hand in audit.hands.items():
        entries = f"{_counted(hand.entries, 'entry', 'entries')}, {hand.journal.value}"
        signed = ", ".join(map(safe_line, hand.orders))
        more = hand.signed - len(hand.orders)
        drawn.add_row(
            Text(str(general)),
            Text(f"{hand.key.hex()[:16]}..."),
            Text(entries, style=_JOURNALS[hand.journal]),
            Text(signed + (f" and {more} more" if more else "")),
        )
    console.print(drawn)
    told = f"{audit.verified} verified, {audit.refused} refused, {audit.uncheckable} unverifiable"
    distinct = _counted(audit.signatures, "distinct good signature")
    _line(console, Text(f"  orders       {told}; {distinct}"))


_JOURNALS = {
    Condition.CLOSED: "green",
    Condition.UNVERIFIABLE: "yellow",
    Condition.DAMAGED: "red",
    Condition.FALSE: "yellow",
}


def _repute_line(found: Mapping[GeneralId, Repute]) -> str:
    """Whom an audit by replay exposes or suspects, in one line."""
    told = {
        one.value: [str(g) for g, repute in found.items() if repute.indication is one]
        for one in (Indication.EXPOSED, Indication.SUSPECTED)
    }
    parts = [f"{name} {', '.join(who)}" for name, who in told.items() if who]
    return f"  audited      {'; '.join(parts) or 'nobody is exposed or suspected'}"


def repute_table(found: Mapping[GeneralId, Repute], console: Console) -> None:
    """Whom an audit trusts, suspects or exposes, and why."""
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=True, show_edge=False)
    for heading in ("general", "is", "because"):
        drawn.add_column(heading, justify="right" if heading == "general" else "left")
    for general, repute in found.items():
        style = _INDICATIONS[repute.indication]
        why = [safe(reason, _REASON_CHARACTERS_MAX) for reason in repute.reasons[:_REASONS_MAX]]
        if more := len(repute.reasons) - len(why):
            why.append(f"and {more} more")
        drawn.add_row(Text(str(general)), Text(repute.indication, style), Text("\n".join(why)))
    console.print(drawn)


_INDICATIONS = {
    Indication.TRUSTED: "green",
    Indication.SUSPECTED: "yellow",
    Indication.EXPOSED: "red",
}
#: Reasons that are shown of one general, and characters of each.
_REASONS_MAX = 3
_REASON_CHARACTERS_MAX = 300


def _misfortune(incident: Incident) -> Text:
    """One step of the timetable, and what came of it."""
    line = Text(f"  chaos        {safe_line(incident.text)}")
    if incident.failed is not None:
        return line.append(f": not inflicted, {safe_line(incident.failed)}", style="red")
    return line


def audit_line(audit: Audit) -> str:
    """The audit in one line."""
    journals, closings = _counted(audit.journals, "journal"), "and their closing signatures"
    parts = [f"{journals} {closings}"]
    if audit.verified or audit.refused:
        parts.append(_counted(audit.verified, "signed order"))
    if audit.refused:
        parts.append(f"{audit.refused} that do not verify, all from traitors")
    proofs = "".join(
        f"; {_counted(n, 'general')} hold{'s' * (n == 1)} proof against {g}"
        for g, n in audit.proofs.items()
    )
    if audit.findings:
        found = _counted(len(audit.findings), "finding")
        return f"  AUDIT FAILED {found}, the first: {audit.findings[0]}"
    missing = "".join(f"; {finding}" for finding in audit.unverifiable)
    return f"  verified     {', '.join(parts)}{proofs}{missing}"


def _counted(count: int, noun: str, several: str | None = None) -> str:
    return f"{count} {noun if count == 1 else several or noun + 's'}"


def safe_line(line: str) -> str:
    """Text of a user or a peer as one line that no terminal obeys."""
    return line if line.isprintable() else ascii(line)[1:-1]


def _generals(result: Result) -> Table:
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=True, show_edge=False)
    for heading in ("general", "plays", "counted", "decides"):
        drawn.add_column(heading, justify="right" if heading == "general" else "left")
    for part in result.cast.parts:
        general = part.general
        decided = result.decided.get(general)
        counted = decided.tally if decided else ()
        tally = ", ".join(_times(value, count) for value, count in counted[:6])
        style = "red" if part.role else ""
        drawn.add_row(
            Text(str(general)),
            Text(_plays(result, general), style=style),
            Text(tally + (", ..." if len(counted) > 6 else "")),
            Text(safe_line(text(result.decisions[general])), style=style),
        )
    return drawn


def _times(value: Value, count: int) -> str:
    """`2 attack`; of what is itself a number, `2 x 10`."""
    return f"{count} {'' if isinstance(value, str) else 'x '}{safe(text(value))}"


def _plays(result: Result, general: GeneralId) -> str:
    part = result.cast.parts[general]
    kind = catalogue.title_of(part.brief, general)
    own = f", {safe_line(text(part.brief.value))}" if part.brief.value is not None else ""
    if part.role is None:
        return f"loyal {kind}{own}"
    return f"traitorous {kind}{own}: {safe_line(part.role.strategy)}"


def _setting(result: Result) -> str:
    scenario = result.scenario
    over = f" over {scenario.over.value}" if scenario.over else ""
    delta_ms = scenario.delta * 1000
    return (
        f"{scenario.protocol.value}{over}, n={scenario.n}, m={scenario.m}, on {result.backend}, "
        f"seed {scenario.seed}, rounds of at most {delta_ms:g} ms"
    )


def _cost(result: Result) -> str:
    ledger = result.transcript.ledger()
    messages = [m for m, _, _ in ledger.values()]
    frames = sum(f for _, f, _ in ledger.values())
    size = sum(b for _, _, b in ledger.values())
    by_round = " + ".join(f"{m:,}" for m in messages) or "0"
    total = f" = {sum(messages):,}" if len(messages) > 1 else ""
    refused = result.transcript.refusals()
    kinds = ", ".join(f"{n} {reason}" for reason, n in refused.items())
    return (
        f"  messages     {by_round}{total}, in {frames:,} frames of {size:,} bytes; "
        f"{result.seconds * 1000:,.1f} ms" + (f"\n  refused      {kinds}" if refused else "")
    )


def _conclusion(result: Result, console: Console) -> None:
    outcome = result.verdict.outcome
    line = Text("  ").append(outcome.value, style=_COLOURS[outcome])
    line.append(f": {safe_line(result.verdict.sentence())}")
    _line(console, line)
    for miss in unmet(result):
        _line(console, Text(f"  not as expected: {safe_line(miss)}", style="red"))
    if result.path is not None:
        _line(console, Text(f"  {safe_line(str(result.path))}", style="dim"))


def _line(console: Console, text: Text) -> None:
    """One line, however long: broken by Rich, the rest of it would look like a line of ours."""
    console.print(text, soft_wrap=True)
