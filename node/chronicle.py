"""A general's log: one JSON object a line on standard output, for people and their tools.

The journal is the evidence; this is its reading. Lines are written from journal entries while the
general has nothing else to do, so that a round pays nothing for them. What peers say becomes JSON
values, never part of a format string.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import msgspec
from loguru import logger

from node import wire
from node.journal import Entry, Heard, Journal, Said
from node.messages import Body, Bundle, Empty, Frame, Oral, Signed
from node.orders import Brief, GeneralId, Value
from node.protocols import paths

#: Orders that a line shows; OM's last rounds carry thousands, and the journal has them all.
ORDERS_SHOWN: Final = 32

_encoder = msgspec.json.Encoder(enc_hook=str)


class Chronicle:
    """Writes what happened. `general` is unknown until the muster."""

    def __init__(self) -> None:
        self.general: GeneralId | None = None
        self.brief: Brief | None = None
        self._written = 0
        self._troubles_told: dict[tuple[str, GeneralId | None], int] = {}
        logger.remove()
        logger.add(_write, format="{message}", diagnose=False, backtrace=False, enqueue=False)

    def tell(self, event: str, fields: dict[str, Any] | None = None, level: str = "INFO") -> None:
        logger.bind(**{"general": self.general} | (fields or {})).log(level, event)

    def lags_behind(self, journal: Journal) -> bool:
        return self._written < len(journal.entries)

    def follow(self, journal: Journal, entries_max: int) -> None:
        """Writes the oldest entries that were not yet written, so many at most."""
        for entry in journal.entries[self._written : self._written + entries_max]:
            self.tell(str(entry.__struct_config__.tag), _fields(entry, self.brief))
            self._written += 1

    def follow_troubles(self, troubles: Troubles) -> None:
        """Warns of what the transport saw, each time that a count has doubled: bounded lines."""
        for (trouble, general), count in troubles.items():
            told = self._troubles_told.get((trouble, general), 0)
            if count >= 2 * told and count > told:
                self._troubles_told[trouble, general] = count
                self.tell(trouble, {"of": general, "count": count}, level="WARNING")


def _fields(entry: Entry, brief: Brief | None) -> dict[str, Any]:
    """An entry's own fields, its frame opened up."""
    fields = {
        name: getattr(entry, name) for name in entry.__struct_fields__ if name not in _UNSHOWN
    }
    if isinstance(entry, Heard | Said):
        fields["bytes"] = len(entry.data)
        fields |= _opened(entry.data, brief)
    return fields


#: A brief repeats in every log what run.json says; signatures and proofs are the journal's.
_UNSHOWN: Final = frozenset({"data", "brief", "proof", "signature"})


def _opened(data: bytes, brief: Brief | None) -> dict[str, Any]:
    frame = wire.decode(data)
    if not isinstance(frame, Frame) or brief is None:
        return {}
    body = frame.body
    parts: tuple[Body, ...] = body.parts if isinstance(body, Bundle) else (body,)
    orders = [order for part in parts for order in _orders(part, frame.round, brief)]
    return {"round": frame.round, "orders": orders[:ORDERS_SHOWN], "of": len(orders)}


def _orders(body: Body, round: int, brief: Brief) -> list[Value]:
    """What a body says, for reading: oral values in the canonical order of paths, chains as v:0:1."""
    match body:
        case Empty():
            return []
        case Signed(orders):
            return [str(order) for order in orders]
        case Oral(values):
            return _oral_values(values, round, brief)


def _oral_values(packed: bytes, round: int, brief: Brief) -> list[Value]:
    """The values of one relayed level; none where the bytes are not one."""
    domain, count = brief.domain, paths.count(brief.n - 2, max(round - 2, 0))
    if len(packed) != domain.packed_bytes(count):
        return []
    codes = domain.unpack(packed, count)
    return [domain.value(code) for code in codes] if domain.are_codes(codes) else []


def _write(message: Any) -> None:
    record = message.record
    line = {
        "time": record["time"].isoformat(),
        "level": record["level"].name,
        "event": record["message"],
        **record["extra"],
    }
    sys.stdout.write(_encoder.encode(line).decode() + "\n")
    sys.stdout.flush()
