"""The journals of a run merged into one history, read with suspicion: any bytes may be there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import msgspec

from node import wire
from node.authenticators import frame_in
from node.effects import Reason
from node.journal import (
    GENESIS,
    Accused,
    Closed,
    Entry,
    Heard,
    Opened,
    Said,
    Settled,
    decoder,
    extend,
    is_closing,
    spelt,
)
from node.messages import Bundle, Content, Empty, Frame, Oral, Parcels, Signed
from node.orders import Brief, GeneralId
from node.protocols.catalogue import values_in_frame
from node.protocols.oral import read_oral
from node.words import safe

#: A journal line is no longer, in characters: a frame in base64 and its envelope.
LINE_BYTES_MAX = 2 * wire.FRAME_BYTES_MAX


#: Of a general who was killed, or of a journal whose end was cut off: nobody can tell which.
UNCLOSED = "there is no closing entry: unverifiable"


@dataclass(frozen=True)
class Damage:
    """Where a journal is not what a general writes: the line, from 1, and the kind of damage.

    `is_own`: the chain and the closing signature hold, so that he wrote it so himself."""

    line: int
    kind: str
    is_own: bool = False


@dataclass
class Record:
    """One general's journal, as far as it could be read."""

    general: GeneralId
    entries: list[Entry] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)
    head: bytes = GENESIS
    #: The journal file.
    data: bytes = field(default=b"", repr=False)

    @property
    def closed(self) -> Closed | None:
        last = self.entries[-1] if self.entries else None
        return last if isinstance(last, Closed) else None

    @property
    def opened(self) -> Opened | None:
        first = self.entries[0] if self.entries else None
        return first if isinstance(first, Opened) else None

    def heads(self) -> list[bytes]:
        """The chain's head after each entry that was read."""
        lines = self.data.split(b"\n", len(self.entries))
        return [bytes.fromhex(line[:64].decode()) for line in lines[: len(self.entries)]]

    @property
    def settled(self) -> Settled | None:
        return next((e for e in self.entries if isinstance(e, Settled)), None)

    def accusations(self) -> Iterator[Accused]:
        return (entry for entry in self.entries if isinstance(entry, Accused))

    def refusals(self) -> dict[tuple[GeneralId, Reason], int]:
        """How often what whom sent was refused, by (sender, reason)."""
        return {(g, r): n for g, r, n in self.closed.refusals} if self.closed else {}


@dataclass(frozen=True)
class Transcript:
    """What is known of a run from its journals."""

    records: Mapping[GeneralId, Record]

    def ledger(self) -> dict[int, tuple[int, int, int]]:
        """Of each round: the paper's messages, frames and bytes sent, by all generals together."""
        rounds: dict[int, tuple[int, int, int]] = {}
        for record in self.records.values():
            for line in record.closed.ledger if record.closed else ():
                messages, frames, size = rounds.get(line.round, (0, 0, 0))
                rounds[line.round] = (
                    messages + line.messages,
                    frames + line.frames,
                    size + line.bytes,
                )
        return dict(sorted(rounds.items()))

    def refusals(self) -> dict[str, int]:
        """How often each reason to refuse was met, by all generals together."""
        counts: dict[str, int] = {}
        for record in self.records.values():
            for (_, reason), times in record.refusals().items():
                counts[reason.value] = counts.get(reason.value, 0) + times
        return dict(sorted(counts.items()))


def read(general: GeneralId, data: bytes, run: bytes, public: bytes) -> Record:
    """A journal file, its hash chain and its closing signature checked. Total."""
    record = Record(general, data=data)
    lines = data.split(b"\n")
    if lines and lines[-1] == b"":
        lines.pop()
    elif lines:
        record.damage.append(Damage(len(lines), "the last line is cut off"))
    for number, line in enumerate(lines, start=1):
        fault = _read_line(record, line, run, public)
        if fault is not None:
            is_own = not record.damage and _is_signed(record.head, lines[number - 1 :], run, public)
            record.damage.append(Damage(number, fault, is_own))
            break
    if record.closed is None and not record.damage:
        record.damage.append(Damage(len(lines), UNCLOSED))
    return record


def _read_line(record: Record, line: bytes, run: bytes, public: bytes) -> str | None:
    """Adds one line to the record, or says what is wrong with it."""
    head, _, text = line.partition(b" ")
    before = record.head
    if len(line) > LINE_BYTES_MAX:
        return f"a line is no longer than {LINE_BYTES_MAX} bytes"
    if extend(before, text).hex().encode() != head:
        return "the hash chain breaks here"
    try:
        entry: Entry = decoder.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return f"this is no journal entry: {error}"
    if spelt(entry) != text:
        return "this is no journal entry: no general spells it so"
    fault = _misplaced(record, entry, run)
    if fault is not None:
        return fault
    if isinstance(entry, Closed) and not is_closing(entry, run, before, public):
        return "the closing signature is not this general's over this run and chain"
    record.entries.append(entry)
    record.head = extend(before, text)
    return None


def _is_signed(head: bytes, lines: list[bytes], run: bytes, public: bytes) -> bool:
    """Whether these lines, whatever they say, follow `head` and end under this general's closing
    signature: nobody else could have written them."""
    before = head
    for line in lines:
        claimed, _, text = line.partition(b" ")
        before, head = head, extend(head, text)
        if head.hex().encode() != claimed:
            return False
    try:
        last: Entry = decoder.decode(lines[-1].partition(b" ")[2])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return isinstance(last, Closed) and is_closing(last, run, before, public)


def _misplaced(record: Record, entry: Entry, run: bytes) -> str | None:
    if record.closed is not None:
        return "there is an entry behind the closing one"
    if bool(record.entries) == isinstance(entry, Opened):
        return "the opening entry is not the first"
    if isinstance(entry, Opened) and (entry.general, entry.run) != (record.general, run):
        return "this journal is another general's or another run's"
    return None


# Views.


def view(record: Record) -> bytes:
    """What a general saw: the canonical encoding of (round, sender, values) and the decision.

    Run id, keys and signatures are left out, so that views of two runs can be compared: two runs
    that a general cannot tell apart give the same bytes.
    """
    brief = record.opened.brief if record.opened else None
    seen: list[tuple[int, GeneralId, object]] = []
    for entry in record.entries:
        frame = frame_in(entry.data) if isinstance(entry, Heard) else None
        if isinstance(entry, Heard) and frame is not None and brief is not None:
            seen.append((frame.round, entry.sender, _values(frame.body, brief, frame.round)))
    decision = record.settled.value if record.settled else None
    return msgspec.json.encode((sorted(seen, key=lambda s: s[:2]), decision))


def difference(one: bytes, other: bytes) -> str:
    """Where two views part, in words."""
    (mine, decided), (yours, settled) = msgspec.json.decode(one), msgspec.json.decode(other)
    for first, second in zip_longest(mine, yours):
        if first != second:
            return f"{_seen(first)} in the first, {_seen(second)} in the second"
    return f"he decides {decided} in the first, {settled} in the second"


def _seen(seen: Any) -> str:
    if seen is None:
        return "nothing more"
    round, sender, values = seen
    return safe(f"in round {round}, {sender} says {values}")


def _values(body: Content, brief: Brief, round: int) -> object:
    """A body without keys and signatures."""
    match body:
        case Empty():
            return None
        case Oral():
            codes = read_oral(body, values_in_frame(brief, round), brief.domain)
            return "nonsense" if isinstance(codes, Reason) else list(map(brief.domain.value, codes))
        case Signed(orders):
            return [(brief.domain.read(order.token), order.signers) for order in orders]
        case Bundle(parts):
            return [_values(part, brief, round) for part in parts]
        case Parcels(parcels):
            step = (round - 1) // brief.reach + 1
            return [(parcel.path, _values(parcel.body, brief, step)) for parcel in parcels]


def sent(record: Record) -> Iterator[tuple[Said, Frame]]:
    """Every frame that a general says he sent."""
    for entry in record.entries:
        if isinstance(entry, Said):
            frame = wire.decode(entry.data)
            if isinstance(frame, Frame):
                yield entry, frame
