"""A run for the eyes of others' tools: its events in causal order, for ShiViz and for Perfetto.

A frame that was heard follows the one that was said: the same bytes, from him, to me, the first not
yet heard. That order gives vector clocks (Mattern 1989) to ShiViz and flow arrows to Perfetto.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from node.authenticators import frame_bytes, frame_in
from node.journal import (
    Accused,
    Began,
    Closed,
    Entry,
    Heard,
    Hindered,
    Lied,
    Missed,
    Noted,
    Opened,
    Refused,
    Resumed,
    Said,
    Settled,
    Suffered,
    Turned,
    Woke,
    spelt,
)
from node.orders import Brief, GeneralId
from node.words import body_text, safe
from orchestrator.transcript import Record, Transcript

#: As ShiViz reads a file: the expression, what divides several runs (nothing), then the log.
_SHIVIZ_HEADER = "(?<event>.*)\\n(?<host>\\S*) (?<clock>{.*})\n\n"


@dataclass
class Event:
    """One entry of a journal. `at_us`: microseconds since the run's first event, never twice the
    same in one journal. `cause`: what was said, where this is its hearing."""

    general: GeneralId
    line: int
    at_us: float
    text: str
    entry: Entry
    cause: Event | None = None
    clock: dict[GeneralId, int] = field(default_factory=dict)


def events(transcript: Transcript) -> list[Event]:
    """All events of a run in an order in which every cause stands before its effect."""
    start_s = min(map(_first_s, transcript.records.values()), default=0.0)
    waiting = {g: deque(_own_events(r, start_s)) for g, r in sorted(transcript.records.items())}
    said: dict[tuple[GeneralId, GeneralId, bytes], deque[Event]] = defaultdict(deque)
    owed = _count_said(waiting)
    clocks: dict[GeneralId, dict[GeneralId, int]] = {g: {} for g in waiting}
    ordered: list[Event] = []
    is_stuck = False
    while any(waiting.values()):
        before = len(ordered)
        for general, queue in waiting.items():
            while queue and (is_stuck or _has_cause(queue[0], said, owed)):
                event = queue.popleft()
                _follow(event, clocks[general], said, owed)
                ordered.append(event)
                is_stuck = False
        is_stuck = len(ordered) == before
    return ordered


def shiviz(transcript: Transcript) -> Iterator[str]:
    """The text that ShiViz takes, two lines an event."""
    yield _SHIVIZ_HEADER
    for event in events(transcript):
        clock = {f"general-{g}": time for g, time in sorted(event.clock.items())}
        yield f"{event.text}\ngeneral-{event.general} {msgspec.json.encode(clock).decode()}\n"


def chrome(transcript: Transcript) -> dict[str, Any]:
    """Chrome's trace format: a thread a general, a slice an event, an arrow a frame heard."""
    told: list[dict[str, Any]] = [
        {"ph": "M", "pid": 0, "tid": g, "name": "thread_name", "args": {"name": f"general {g}"}}
        for g in sorted(transcript.records)
    ]
    for number, event in enumerate(events(transcript)):
        told.append(_slice(event))
        if event.cause is not None:
            arrow = {"cat": "frame", "name": "frame", "id": number}
            told.append({**arrow, "ph": "s", **_place(event.cause)})
            told.append({**arrow, "ph": "f", "bp": "e", **_place(event)})
    return {"traceEvents": told, "displayTimeUnit": "ms"}


def spelt_out(record: Record) -> Iterator[dict[str, Any]]:
    """A journal as objects: line, the entry's own fields, and what a frame says in words."""
    brief = record.opened.brief if record.opened else None
    for line, entry in enumerate(record.entries, start=1):
        fields = msgspec.json.decode(spelt(entry))
        if isinstance(entry, Heard | Said):
            fields["says"] = _frame_text(entry.data, brief)
        yield {"line": line, **fields}


def _slice(event: Event) -> dict[str, Any]:
    kind = type(event.entry).__name__.lower()
    args = {"line": event.line, "kind": kind}
    return {"ph": "X", "name": event.text, "cat": kind, "dur": 1, "args": args, **_place(event)}


def _place(event: Event) -> dict[str, Any]:
    return {"pid": 0, "tid": event.general, "ts": event.at_us}


def _own_events(record: Record, start_s: float) -> Iterator[Event]:
    """A journal's entries with a time each: of those without one, right after what was before."""
    brief = record.opened.brief if record.opened else None
    at_us = 0.0
    for line, entry in enumerate(record.entries, start=1):
        at_s = entry.at_s if isinstance(entry, Began | Resumed | Heard | Woke) else None
        at_us = max(at_us + 1, (at_s - start_s) * 1e6) if at_s is not None else at_us + 1
        yield Event(record.general, line, round(at_us, 3), _text(entry, brief), entry)


def _first_s(record: Record) -> float:
    return next((entry.at_s for entry in record.entries if isinstance(entry, Began)), 0.0)


def _count_said(waiting: dict[GeneralId, deque[Event]]) -> dict[Any, int]:
    """How often each frame will have been said to whom: what was never said has no cause."""
    owed: dict[Any, int] = defaultdict(int)
    for event in (event for queue in waiting.values() for event in queue):
        if isinstance(event.entry, Said):
            for to in event.entry.to:
                owed[event.general, to, event.entry.data] += 1
    return owed


def _key(event: Event) -> Any:
    assert isinstance(event.entry, Heard)
    return event.entry.sender, event.general, frame_bytes(event.entry.data)


def _has_cause(event: Event, said: Any, owed: dict[Any, int]) -> bool:
    """Whether an event can come next: a frame that is still to be said is not heard yet."""
    if not isinstance(event.entry, Heard):
        return True
    return bool(said[_key(event)]) or owed.get(_key(event), 0) <= 0


def _follow(event: Event, clock: dict[GeneralId, int], said: Any, owed: dict[Any, int]) -> None:
    """Moves the general's clock on, past what the event follows from."""
    if isinstance(event.entry, Heard) and said[_key(event)]:
        event.cause = said[_key(event)].popleft()
        for general, time in event.cause.clock.items():
            clock[general] = max(clock.get(general, 0), time)
    clock[event.general] = clock.get(event.general, 0) + 1
    event.clock = dict(clock)
    if isinstance(event.entry, Said):
        for to in event.entry.to:
            said[event.general, to, event.entry.data].append(event)
            owed[event.general, to, event.entry.data] -= 1


def _text(entry: Entry, brief: Brief | None) -> str:
    """An event in one harmless line."""
    match entry:
        case Opened(brief=played):
            return safe(f"plays {played.protocol}, n={played.n}, m={played.m}")
        case Began():
            return "the start barrier opens"
        case Resumed(round, _):
            return f"the barrier before round {round} opens"
        case Heard(_, sender, data):
            return f"hears {sender}: {_frame_text(data, brief)}"
        case Woke(_, timer):
            return safe(f"the {timer} passes")
        case Said(to, _, _, _, data):
            return f"tells {', '.join(map(str, to))}: {_frame_text(data, brief)}"
        case Lied(to, _, truth, told, _):
            return f"lies to {to}: {_line(told)}, not {_line(truth)}"
        case Missed(general, round, _):
            return f"misses {general} in round {round}: unheard from now on"
        case Hindered(to, round, mishap):
            return f"the frame of round {round} to {to} is {mishap.value}"
        case Suffered(what):
            return _line(what)
        case Turned(strategy):
            return "is loyal again" if strategy is None else safe(f"turns traitor: {strategy}")
        case Refused(sender, reason, _):
            return f"refuses what {sender} sent: {reason.value}"
        case Noted(text, _):
            return _line(text)
        case Accused(culprit, _, proof, _):
            return f"holds proof against {culprit}: {', '.join(safe(str(o)) for o in proof)}"
        case Settled(value, _, _):
            return f"decides {safe(str(value))}"
        case Closed():
            return "closes the journal"


def _frame_text(data: bytes, brief: Brief | None) -> str:
    frame = frame_in(data)
    if frame is None or brief is None:
        return f"{len(data)} bytes"
    return f"round {frame.round}: {body_text(frame.body, brief, frame.round)}"


def _line(text: str) -> str:
    return text if text.isprintable() else ascii(text)[1:-1]
