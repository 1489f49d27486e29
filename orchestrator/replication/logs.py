"""What replicas told of themselves, line by line: `byzantine kv logs`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from node.protocols.pbft.messages import ReplicaId
from orchestrator.tables import safe_line

#: As much of a line that is no event as is shown.
TEXT_MAX: Final = 300

_FORMS: Final = {
    "started": "started as process {pid}, in view {view}",
    "wanted": "gave up earlier views for view {view}",
    "entered": "is in view {view}",
    "restored": "took over the state at {sequence}",
    "accusation": "found out replica {culprit}, who signed two view-changes for one view",
    "failed": "failed: {reason}",
    "text": "{text}",
}


@dataclass(frozen=True)
class Event:
    """`at_s`: seconds since the epoch on the replica's host; a line that is no event has those of
    the event before it."""

    at_s: float
    replica: ReplicaId
    fields: Mapping[str, Any]


def events(logs: Mapping[ReplicaId, bytes]) -> list[Event]:
    """All that the logs hold, in the order in which it happened."""
    found = [event for replica, log in logs.items() for event in _events(replica, log)]
    return sorted(found, key=lambda event: event.at_s)


def told(event: Event) -> str:
    """One event as a line for people, by their own clock."""
    name = str(event.fields.get("event"))
    if name == "view":
        name = "entered" if event.fields.get("is_active") else "wanted"
    try:
        what = _FORMS[name].format_map(event.fields)
    except KeyError:
        what = name
    rule = f"  {event.fields['rule']}" if "rule" in event.fields else ""
    moment = datetime.fromtimestamp(event.at_s).isoformat(" ", "milliseconds")
    return safe_line(f"{moment}  replica {event.replica}  {what}{rule}")


def _events(replica: ReplicaId, log: bytes) -> Iterator[Event]:
    at_s = 0.0
    for line in log.splitlines():
        try:
            fields = msgspec.json.decode(line, type=dict[str, Any])
            moment_s = msgspec.convert(fields["at_s"], float)
            datetime.fromtimestamp(moment_s)
        except (msgspec.MsgspecError, KeyError, ValueError, OverflowError, OSError, RecursionError):
            text = line.decode("utf-8", "backslashreplace")[:TEXT_MAX]
            fields = {"at_s": at_s, "event": "text", "replica": replica, "text": text}
        else:
            at_s = moment_s
        yield Event(at_s, replica, fields)
