"""Whether a run came out as its scenario says it must."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from node.orders import Value
from orchestrator.results import Result
from orchestrator.scenario import Outcome, Scenario
from orchestrator.transcript import Transcript
from orchestrator.verdict import text

#: A bug, and a run of which not enough is known: neither goes unnoticed because something else
#: came as expected.
_TO_BE_NAMED = (Outcome.VIOLATION, Outcome.UNKNOWN)


def has_expectation(scenario: Scenario) -> bool:
    return bool(scenario.expect.model_dump(exclude_defaults=True))


def unmet(result: Result) -> list[str]:
    """What the scenario's `expect` names and the run did not give; without one, that it passes."""
    if not has_expectation(result.scenario):
        outcome = result.verdict.outcome
        return [] if outcome is Outcome.PASS else [f"the outcome is {outcome}, not pass"]
    return [
        *_unmet_verdict(result),
        *_unmet_decisions(result),
        *_unmet_tallies(result),
        *_unmet_counts(result.scenario, result.transcript),
        *_unmet_exposures(result),
    ]


def _unmet_verdict(result: Result) -> Iterator[str]:
    expect, verdict = result.scenario.expect, result.verdict
    if expect.outcome is not None and expect.outcome is not verdict.outcome:
        yield f"the outcome is {verdict.outcome}, not {expect.outcome.value}"
    if expect.outcome is None and verdict.outcome in _TO_BE_NAMED:
        yield f"the outcome is {verdict.outcome}, which `expect` does not name"
    for name, prop in verdict.properties.items():
        wanted = getattr(expect, name)
        if wanted is not None and wanted is not prop.status:
            yield f"{name} is {prop.status}, not {wanted.value}: {prop.reason}"


def _unmet_decisions(result: Result) -> Iterator[str]:
    decisions = result.decisions
    for general, wanted in result.scenario.expect.decisions.items():
        if decisions[general] != wanted:
            yield f"general {general} decides {text(decisions[general])}, not {text(wanted)}"


def _unmet_tallies(result: Result) -> Iterator[str]:
    for general, wanted in result.scenario.expect.tallies.items():
        decided = result.decided.get(general)
        counted = dict(decided.tally) if decided else {}
        if counted != wanted:
            yield f"general {general} counts {_counts(counted)}, not {_counts(wanted)}"


def _counts(tally: Mapping[Value, int]) -> str:
    return ", ".join(f"{count} x {text(value)}" for value, count in tally.items()) or "nothing"


def _unmet_exposures(result: Result) -> Iterator[str]:
    wanted = result.scenario.expect.exposed
    if wanted is not None and sorted(wanted) != result.exposed:
        found, named = (", ".join(map(str, who)) or "nobody" for who in (result.exposed, wanted))
        yield f"exposed is {found}, not {named}"


def _unmet_counts(scenario: Scenario, transcript: Transcript) -> Iterator[str]:
    expect = scenario.expect
    by_round = [messages for messages, _, _ in transcript.ledger().values()]
    if isinstance(expect.messages, int) and sum(by_round) != expect.messages:
        yield f"{sum(by_round)} messages were sent, not {expect.messages}"
    if isinstance(expect.messages, tuple) and by_round != list(expect.messages):
        yield f"messages by round are {by_round}, not {list(expect.messages)}"
    refused = transcript.refusals()
    for reason, least in expect.refused.items():
        if refused.get(reason.value, 0) < least:
            yield f"{refused.get(reason.value, 0)} refused as {reason.value}, not {least} or more"
