"""A run told in words, from its journals alone: who said what to whom, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator

from node import wire
from node.journal import Accused, Entry, Heard, Lied, Missed, Noted, Refused, Said, Settled
from node.messages import Frame
from node.orders import GeneralId
from node.words import body_text
from orchestrator.results import Result
from orchestrator.verdict import text


def narrate(result: Result) -> str:
    """The setting, the rounds one by one, the decisions, the verdict."""
    return "\n".join([*_setting(result), *_rounds(result), *_decisions(result), *_verdict(result)])


def _setting(result: Result) -> Iterator[str]:
    scenario = result.scenario
    yield f"{scenario.protocol.value}, n = {scenario.n}, m = {scenario.m}"
    yield f"commander {scenario.commander}, order {scenario.order}, default {scenario.default}"
    for traitor in scenario.traitors:
        yield f"traitor {traitor.general}: {traitor.strategy}"


def _rounds(result: Result) -> Iterator[str]:
    for round in range(1, result.scenario.rounds + 1):
        yield f"\nround {round}"
        for general in sorted(result.transcript.records):
            yield from _speech(result, general, round)
        for general in sorted(result.transcript.records):
            yield from _consequences(result, general, round)


def _speech(result: Result, general: GeneralId, round: int) -> Iterator[str]:
    """What one general told the others in a round, and what he kept from them."""
    lies: dict[GeneralId, Lied] = {}
    for _, entry in _by_round(result, general, round):
        match entry:
            case Lied(to=receiver, told="nothing"):
                yield f"  {general} tells {receiver} nothing (he owed him: {entry.truth})"
            case Lied(to=receiver):
                lies[receiver] = entry
            case Said(to=receivers):
                for receiver in receivers:
                    aside = _aside(lies.get(receiver))
                    yield f"  {general} tells {receiver}: {_words(result, entry.data)}{aside}"
            case _:
                pass


def _aside(lie: Lied | None) -> str:
    if lie is None:
        return ""
    return " (too late)" if lie.told == "the same, late" else f" (he owed him: {lie.truth})"


def _consequences(result: Result, general: GeneralId, round: int) -> Iterator[str]:
    """What one general made of a round: what he refused, took, or can prove."""
    for _, entry in _by_round(result, general, round):
        match entry:
            case Refused(sender, reason, rule):
                yield f"  {general} refuses what {sender} said: {reason.value} [{rule}]"
            case Missed(absentee, missed, rule):
                silence = f"{absentee} is silent in round {missed}: unheard from now on"
                yield f"  {general}: {silence} [{rule}]"
            case Noted(told, rule):
                yield f"  {general}: {told} [{rule}]"
            case Accused(culprit, _, proof, rule):
                orders = " and ".join(map(str, proof))
                yield f"  {general} can prove that {culprit} signed {orders} [{rule}]"
            case _:
                pass


def _decisions(result: Result) -> Iterator[str]:
    counts = [str(messages) for messages, _, _ in result.transcript.ledger().values()]
    yield f"\nmessages by round: {', '.join(counts)}"
    for general, record in sorted(result.transcript.records.items()):
        settled: Settled | None = record.settled
        if settled is None:
            yield f"{general} decides nothing"
            continue
        counted = ", ".join(f"{count} {text(value)}" for value, count in settled.tally) or "nothing"
        yield f"{general} counts {counted} and decides {text(settled.value)} [{settled.rule}]"


def _verdict(result: Result) -> Iterator[str]:
    yield ""
    for name, prop in result.verdict.properties.items():
        yield f"{name} {prop.status.value}: {prop.reason}"
    yield f"{result.verdict.outcome.value}: {result.verdict.sentence()}"
    yield ""


def _by_round(result: Result, general: GeneralId, round: int) -> Iterator[tuple[int, Entry]]:
    """A general's entries of a round: that of the frame that he last sent or heard."""
    current = 1
    for entry in result.transcript.records[general].entries:
        match entry:
            case Said(round=said) | Lied(round=said):
                current = said
            case Heard(data=data):
                frame = wire.decode(data)
                current = frame.round if isinstance(frame, Frame) else current
            case _:
                pass
        if current == round:
            yield current, entry


def _words(result: Result, data: bytes) -> str:
    frame = wire.decode(data)
    assert isinstance(frame, Frame)
    return body_text(frame.body, result.cast.parts[0].brief, frame.round)
