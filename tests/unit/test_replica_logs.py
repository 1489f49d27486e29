"""What replicas told of themselves comes in its order, whatever is in the files."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from orchestrator.replication.logs import TEXT_MAX, events, told


def line(at_s: float, event: str, **fields: object) -> bytes:
    return json.dumps({"at_s": at_s, "event": event, **fields}).encode() + b"\n"


def test_events_of_all_come_by_their_moments() -> None:
    logs = {
        0: line(1.0, "started", pid=7, view=0) + line(4.0, "ended"),
        1: line(2.0, "view", view=1, is_active=False, rule="VC-1")
        + line(3.0, "view", view=1, is_active=True, rule="VC-2"),
    }
    told_lines = [told(event) for event in events(logs)]
    moment = datetime.fromtimestamp(1.0).isoformat(" ", "milliseconds")
    assert told_lines[0] == f"{moment}  replica 0  started as process 7, in view 0"
    assert [text.split("  ", 1)[1] for text in told_lines[1:]] == [
        "replica 1  gave up earlier views for view 1  VC-1",
        "replica 1  is in view 1  VC-2",
        "replica 0  ended",
    ]


@pytest.mark.parametrize(
    "odd",
    [
        b"Traceback (most recent call last):",
        b"[]",
        b"{}",
        b'{"at_s": "now", "event": "started"}',
        b'{"at_s": 1e300, "event": "started"}',
        b"\xff\x1b[2J",
        b"[" * 5000,
    ],
)
def test_what_is_no_event_is_shown_in_its_place_and_obeyed_by_no_terminal(odd: bytes) -> None:
    logs = {0: line(1.0, "started", pid=7, view=0) + odd + b"\n" + line(2.0, "ended")}
    before, shown, after = (told(event) for event in events(logs))
    assert shown.isprintable()
    assert len(shown) < TEXT_MAX + 60
    assert (before.endswith("view 0"), after.endswith("ended")) == (True, True)


@pytest.mark.parametrize("fields", [{}, {"view": "{0.__class__}"}, {"pid": None}])
def test_an_event_without_its_fields_is_named(fields: dict[str, object]) -> None:
    (event,) = events({0: line(1.0, "restored", **fields)})
    assert told(event).endswith("replica 0  restored")


def test_an_event_of_another_kind_is_named_and_no_format() -> None:
    (event,) = events({0: line(1.0, "{at_s}")})
    assert told(event).endswith("replica 0  {at_s}")
