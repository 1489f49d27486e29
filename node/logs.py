"""A general's log: one JSON event a line, made of his journal, with the paper's round numbers.

Lines are written when there is nothing else to do, so that a round pays nothing for them.
`diagnose` is off: it would print local variables, keys included. Text of peers is data of an event,
never part of a format string.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TextIO, assert_never

from loguru import logger

from node.authenticators import frame_in
from node.journal import (
    Accused,
    Began,
    Closed,
    Entry,
    Heard,
    Hindered,
    Journal,
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
)
from node.orders import Brief, GeneralId
from node.words import body_text, json_line

#: Lines that are written at one go, so that a log never keeps a general from his peers for long.
LINES_AT_ONCE = 64


class Log:
    """Writes a journal's entries as log lines. One a process at a time: loguru has one logger."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        logger.remove()
        logger.configure(extra={})
        logger.add(_line_writer(stream), level="DEBUG", diagnose=False, backtrace=False)
        self._stream = stream
        self._general: GeneralId | None = None
        self._brief: Brief | None = None
        self._started_s = 0.0
        self._written = 0

    def event(self, level: str, name: str, **fields: Any) -> None:
        """One line of the host's own: a link, a signal, a fault."""
        logger.bind(general=self._general, event=name, **fields).log(level, "")

    def is_behind(self, journal: Journal) -> bool:
        return self._written < len(journal.entries)

    def catch_up(self, journal: Journal, lines_max: int = LINES_AT_ONCE) -> None:
        """Writes up to `lines_max` entries that are not written yet."""
        for entry in journal.entries[self._written : self._written + lines_max]:
            self._written += 1
            level, name, fields = self._told(entry)
            self.event(level, name, **fields)
        self._stream.flush()

    def _told(self, entry: Entry) -> tuple[str, str, dict[str, Any]]:
        """Level, name and fields of the line for one entry."""
        match entry:
            case Opened():
                self._general, self._brief = entry.general, entry.brief
                played = {"protocol": entry.brief.protocol, "n": entry.brief.n, "m": entry.brief.m}
                return "INFO", "opened", {**played, "strategy": entry.strategy}
            case Began(at_s):
                self._started_s = at_s
                return "INFO", "began", {}
            case Resumed(round, at_s):
                return "INFO", "resumed", {"ms": self._ms(at_s), "round": round}
            case Heard(at_s, sender, data):
                return "INFO", "heard", {"ms": self._ms(at_s), "sender": sender} | self._frame(data)
            case Woke(at_s, timer):
                return "DEBUG", "woke", {"ms": self._ms(at_s), "timer": timer}
            case Said(to, _, messages, rule, data):
                said = {"to": to, "rule": rule, "messages": messages, "bytes": len(data)}
                return "INFO", "said", said | self._frame(data)
            case Lied(to, round, truth, told, rule):
                lie = {"to": to, "round": round, "truth": truth, "told": told, "rule": rule}
                return "WARNING", "lied", lie
            case Missed(general, round, rule):
                return "WARNING", "missed", {"of": general, "round": round, "rule": rule}
            case Hindered(to, round, mishap):
                return "WARNING", "hindered", {"to": to, "round": round, "mishap": mishap}
            case Suffered(what):
                return "WARNING", "suffered", {"what": what}
            case Turned(strategy):
                return "WARNING", "turned", {"strategy": strategy}
            case Refused(sender, reason, rule):
                return "WARNING", "refused", {"sender": sender, "reason": reason, "rule": rule}
            case Noted(text, rule):
                return "INFO", "noted", {"text": text, "rule": rule}
            case Accused(culprit, _, proof, rule):
                orders = [str(order) for order in proof]
                return "WARNING", "accused", {"culprit": culprit, "proof": orders, "rule": rule}
            case Settled(value, tally, rule):
                return "INFO", "decided", {"value": value, "tally": tally, "rule": rule}
            case Closed(refusals=refusals, ledger=ledger):
                return "INFO", "closed", {"refusals": refusals, "ledger": ledger}
            case _:
                assert_never(entry)

    def _frame(self, data: bytes) -> dict[str, Any]:
        frame = frame_in(data)
        if frame is None or self._brief is None:
            return {"says": f"{len(data)} bytes"}
        return {"round": frame.round, "says": body_text(frame.body, self._brief, frame.round)}

    def _ms(self, at_s: float) -> float:
        return round((at_s - self._started_s) * 1000, 3)


def _line_writer(stream: TextIO) -> Callable[[Any], None]:
    """A sink that writes time, level and the event's own fields as one line of JSON."""

    def write(message: Any) -> None:
        record = message.record
        fields = {"time": record["time"].isoformat(), "level": record["level"].name}
        if record["message"]:
            fields["message"] = record["message"]
        stream.write(json_line(fields | record["extra"]) + "\n")

    return write
