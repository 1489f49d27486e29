"""The paper's assumptions in one run: each kept, or broken, where and by whom.

A1  Every message that is sent is delivered correctly.
A2  The receiver of a message knows who sent it.
A3  The absence of a message can be detected.
A4  A loyal general's signature cannot be forged, and anyone can verify it.

(Lamport, Shostak, Pease 1982, sections 3 and 4.) Journals alone say so: what a loyal general said,
and another one who is loyal went without or heard too late.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from node import wire
from node.journal import Heard, Hindered, Missed
from node.link_faults import Mishap
from node.messages import Frame
from node.orders import Brief, GeneralId
from orchestrator.audit import Audit
from orchestrator.faults import Link
from orchestrator.transcript import Record, Transcript

#: So many places of a broken assumption are told; of more, only how many.
TOLD_MAX = 3


class Kind(StrEnum):
    """How a receiver fared with one frame."""

    LOST = "lost"
    ALTERED = "altered"
    LATE = "late"


@dataclass(frozen=True)
class Harm:
    """What a loyal sender said in a round did not reach a loyal receiver as it was, or in time."""

    sender: GeneralId
    receiver: GeneralId
    round: int
    kind: Kind

    @property
    def link(self) -> Link:
        return self.sender, self.receiver

    def __str__(self) -> str:
        return f"{self.sender} -> {self.receiver} in round {self.round}: {self.kind.value}"


@dataclass(frozen=True)
class Assumption:
    """One assumption: kept, broken, or (None) not needed by the protocol, and why."""

    is_kept: bool | None
    why: str


def harms(
    transcript: Transcript,
    faulty: frozenset[GeneralId],
    links: frozenset[Link],
    struck: frozenset[GeneralId],
) -> tuple[Harm, ...]:
    """Every frame between loyal generals that went amiss by no fault of theirs.

    `links` and `struck` are what chaos disturbed. Elsewhere only what was heard too late counts:
    where a frame was never said, or said and never came, nothing excuses it.
    """
    found: list[Harm] = []
    for receiver, record in sorted(transcript.records.items()):
        if receiver in faulty:
            continue
        heard_late = _heard_after_missing(record)
        for missed in (entry for entry in record.entries if isinstance(entry, Missed)):
            sender = missed.general
            if sender in faulty or sender not in transcript.records:
                continue
            is_hit = (sender, receiver) in links or bool(struck & {sender, receiver})
            if is_hit or (sender, missed.round) in heard_late:
                kind = _kind(transcript.records[sender], receiver, missed.round, links)
                found.append(Harm(sender, receiver, missed.round, kind))
        found += _altered(transcript, receiver, faulty)
    return tuple(found)


def assumptions(
    brief: Brief, audit: Audit, faulty: frozenset[GeneralId], harmed: tuple[Harm, ...]
) -> dict[str, Assumption]:
    """A1 to A4 of a run whose traitors and dead are `faulty`."""
    amiss = [harm for harm in harmed if harm.kind is not Kind.LATE]
    late = [harm for harm in harmed if harm.kind is Kind.LATE]
    return {
        "A1": _judged(amiss, "what loyal generals sent one another arrived as it was"),
        "A2": Assumption(True, "each frame bears the sender that its key proves"),
        "A3": _judged(late, "whom loyal generals took for silent was silent"),
        "A4": _signatures(brief, audit, faulty),
    }


def _judged(broken: list[Harm], kept: str) -> Assumption:
    if not broken:
        return Assumption(True, kept)
    told = ", ".join(map(str, broken[:TOLD_MAX]))
    more = f", and {len(broken) - TOLD_MAX} more" if len(broken) > TOLD_MAX else ""
    return Assumption(False, told + more)


def _heard_after_missing(record: Record) -> set[tuple[GeneralId, int]]:
    """Whose frame of which round came after its receiver had stopped waiting for it."""
    missed: set[tuple[GeneralId, int]] = set()
    late: set[tuple[GeneralId, int]] = set()
    for entry in record.entries:
        if isinstance(entry, Missed):
            missed.add((entry.general, entry.round))
        elif isinstance(entry, Heard) and any(entry.sender == general for general, _ in missed):
            frame = wire.decode(entry.data)
            if isinstance(frame, Frame) and (entry.sender, frame.round) in missed:
                late.add((entry.sender, frame.round))
    return late


def _kind(sender: Record, receiver: GeneralId, round: int, links: frozenset[Link]) -> Kind:
    """Lost where its link swallowed it, else late: the sender himself may have been."""
    mishaps = {e.mishap for e in _hindered(sender) if (e.to, e.round) == (receiver, round)}
    if mishaps & {Mishap.CUT, Mishap.LOST, Mishap.REORDERED}:
        return Kind.LOST
    if Mishap.CORRUPTED in mishaps:
        return Kind.ALTERED
    is_cut = (sender.general, receiver) in links and not mishaps
    return Kind.LOST if is_cut else Kind.LATE


def _altered(
    transcript: Transcript, receiver: GeneralId, faulty: frozenset[GeneralId]
) -> Iterator[Harm]:
    for sender, record in sorted(transcript.records.items()):
        for entry in _hindered(record) if sender not in faulty else ():
            if entry.to == receiver and entry.mishap is Mishap.CORRUPTED:
                yield Harm(sender, receiver, entry.round, Kind.ALTERED)


def _hindered(record: Record) -> Iterator[Hindered]:
    return (entry for entry in record.entries if isinstance(entry, Hindered))


def _signatures(brief: Brief, audit: Audit, faulty: frozenset[GeneralId]) -> Assumption:
    """Whether each good signature of a loyal general is on something that he did sign."""
    if "signed" not in (brief.protocol, brief.over):
        return Assumption(None, "nothing is signed")
    forged = [
        f"{general} never signed {order}"
        for general, hand in sorted(audit.hands.items())
        if general not in faulty
        for order in hand.unsaid
    ]
    if forged:
        return Assumption(False, "; ".join(forged[:TOLD_MAX]))
    return Assumption(True, "every good signature of a loyal general is his own")


def smallest_covers(
    links: frozenset[Link], size_max: int, covers_max: int = 256
) -> list[frozenset[GeneralId]]:
    """The smallest sets of generals that have a hand in every link, where at most `size_max` do.

    No more than `covers_max` of them. None at all: more than `size_max` are needed.
    """
    for size in range(size_max + 1):
        found: set[frozenset[GeneralId]] = set()
        _extend(frozenset(), sorted(links), size, found, covers_max)
        if found:
            return sorted(found, key=sorted)
    return []


def _extend(
    cover: frozenset[GeneralId],
    links: list[Link],
    left: int,
    found: set[frozenset[GeneralId]],
    covers_max: int,
) -> None:
    """Branches on a link that is not covered: one of its two ends must be in the cover."""
    if len(found) >= covers_max or _matching(links) > left:
        return
    if not links:
        found.add(cover)
        return
    for general in links[0]:
        _extend(
            cover | {general},
            [link for link in links if general not in link],
            left - 1,
            found,
            covers_max,
        )


def _matching(links: list[Link]) -> int:
    """Links without a general in common: each needs a general of its own in any cover."""
    taken: set[GeneralId] = set()
    size = 0
    for link in links:
        if not taken & set(link):
            taken.update(link)
            size += 1
    return size


def any_cover(links: frozenset[Link]) -> frozenset[GeneralId]:
    """Some set that has a hand in every link: who is in most of what is left, again and again."""
    left, cover = set(links), set[GeneralId]()
    while left:
        weight: dict[GeneralId, int] = {}
        for link in sorted(left):
            for general in link:
                weight[general] = weight.get(general, 0) + 1
        heaviest = max(sorted(weight), key=lambda general: weight[general])
        cover.add(heaviest)
        left = {link for link in left if heaviest not in link}
    return frozenset(cover)
