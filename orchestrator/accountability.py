"""Who lied: every journal run again, and every authenticator held against its journal.

After PeerReview (Haeberlen, Kouznetsov, Druschel, SOSP 2007). A general is *exposed* where there is
evidence that anyone can check (`evidence.py`); no loyal general ever is. He is *suspected* where
something is missing: his journal, its end, or a frame that one end of a link says was sent and the
other says was not heard. There both ends are named, unless the other one is exposed already, for
nobody can tell which of the two it was. Else he is *trusted*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations
from typing import TypeAlias

from node.authenticators import frame_bytes, frame_in, head_after
from node.journal import Heard, Said
from node.orders import GeneralId
from orchestrator.audit import Exhibits
from orchestrator.evidence import (
    AnotherJournal,
    Case,
    Deviates,
    Evidence,
    Offence,
    Refuted,
    TwoLogs,
    TwoOrders,
    shown,
    vouched_by,
)


class Indication(StrEnum):
    """What an audit says of a general (PeerReview, section 3)."""

    TRUSTED = "trusted"
    SUSPECTED = "suspected"
    EXPOSED = "exposed"


@dataclass
class Repute:
    """What was found of one general: evidence, each with what it shows, and suspicions."""

    evidence: list[tuple[Evidence, str]] = field(default_factory=list)
    suspicions: list[str] = field(default_factory=list)

    @property
    def indication(self) -> Indication:
        if self.evidence:
            return Indication.EXPOSED
        return Indication.SUSPECTED if self.suspicions else Indication.TRUSTED

    @property
    def reasons(self) -> list[str]:
        """Why, the gravest first."""
        return [shown for _, shown in self.evidence] or self.suspicions


def reputes(exhibits: Exhibits, machine: str) -> dict[GeneralId, Repute]:
    """Of each general in the roster what his and the others' journals show.

    `machine`: the version of the rules here. ScenarioError where the scenario is none.
    """
    return _Inquiry(exhibits, machine).held()


class _Inquiry:
    def __init__(self, exhibits: Exhibits, machine: str) -> None:
        self._exhibits = exhibits
        self._case = Case(exhibits.roster, exhibits.scenario, exhibits.run, machine)
        self._records = exhibits.transcript.records
        self._found = {general: Repute() for general in sorted(self._case.publics)}

    def held(self) -> dict[GeneralId, Repute]:
        for general in self._found:
            self._accuse_of_orders(general)
        for general, heard in self._vouched().items():
            self._compare_logs(general, heard)
        for general in self._found:
            self._replay(general)
        self._compare_links()
        return self._found

    # Exposed.

    def _accuse_of_orders(self, general: GeneralId) -> None:
        """By the first proof in anyone's journal that holds."""
        for record in self._records.values():
            for accused in record.accusations():
                if accused.culprit == general and not self._found[general].evidence:
                    self._expose(general, TwoOrders(accused.instance, accused.proof))

    def _vouched(self) -> Mapping[GeneralId, list[bytes]]:
        """Of each general, the frames that others heard under his authenticator."""
        heard: dict[GeneralId, list[bytes]] = {general: [] for general in self._found}
        for entry in (entry for record in self._records.values() for entry in record.entries):
            if isinstance(entry, Heard) and entry.sender in heard:
                heard[entry.sender].append(entry.data)
        return heard

    def _compare_logs(self, general: GeneralId, heard: list[bytes]) -> None:
        """Every authenticator against the journal, and against the others of its number."""
        logs: dict[int, dict[bytes, bytes]] = {}
        heads = self._closed_heads(general)
        strays: list[bytes] = []
        for data in heard:
            found = self._head(general, data)
            if found is None:
                continue
            sequence, head = found
            logs.setdefault(sequence, {}).setdefault(head, data)
            if heads is not None and (sequence >= len(heads) or heads[sequence - 1] != head):
                strays.append(data)
        if pair := _most_telling([tuple(of.values()) for of in logs.values() if len(of) > 1]):
            self._expose(general, TwoLogs(pair))
        elif strays:
            self._expose(general, AnotherJournal(strays[0], self._journal(general)))

    def _head(self, general: GeneralId, data: bytes) -> tuple[int, bytes] | None:
        """An authenticator's number and head, if it is his own: who heard it may lie as well."""
        try:
            vouched, frame = vouched_by(general, data, self._case)
        except Refuted:
            return None
        return vouched.sequence, head_after(vouched, frame)

    def _replay(self, general: GeneralId) -> None:
        record = self._records.get(general)
        if record is None:
            self._suspect(general, "there is no journal of his")
            return
        if record.damage and not record.damage[0].is_own:
            damage = record.damage[0]
            self._suspect(general, f"his journal, line {damage.line}: {damage.kind}")
            return
        found = self._case.deviation(record)
        if found is not None:
            offence = Deviates(self._case.machine, self._journal(general), found.line, found.what)
            self._expose(general, offence, f"line {found.line} of his journal: {found.what}")

    def _expose(self, general: GeneralId, offence: Offence, what: str | None = None) -> None:
        """Takes an offence down, if it would convince anyone. `what`: what it is known to show."""
        try:
            told = what or shown(general, offence, self._case)
        except Refuted:
            return
        evidence = Evidence(
            culprit=general,
            run=self._exhibits.run.hex(),
            nonce=self._exhibits.nonce.hex(),
            scenario=self._exhibits.scenario.decode(),
            offence=offence,
        )
        self._found[general].evidence.append((evidence, told))

    def _closed_heads(self, general: GeneralId) -> list[bytes] | None:
        """The heads of the journal that he closed, if he handed in a whole one."""
        record = self._records.get(general)
        return record.heads() if record is not None and record.closed is not None else None

    def _journal(self, general: GeneralId) -> bytes:
        return self._records[general].data

    # Suspected.

    def _suspect(self, general: GeneralId, why: str) -> None:
        self._found[general].suspicions.append(why)

    def _compare_links(self) -> None:
        """What was said, by the one end, against what was heard, by the other."""
        said, heard = self._said_and_heard()
        for link in sorted(said.keys() | heard.keys()):
            sender, receiver = link
            one, other = said.get(link, set()), heard.get(link, set())
            if unheard := one - other:
                self._suspect_link(link, f"{sender} says he told {receiver}", min(unheard))
            elif unsaid := other - one:
                self._suspect_link(link, f"{receiver} says he heard of {sender}", min(unsaid))

    def _said_and_heard(self) -> tuple[_Traffic, _Traffic]:
        said: _Traffic = {}
        heard: _Traffic = {}
        whole = {g: r for g, r in self._records.items() if r.closed is not None}
        for general, record in whole.items():
            for entry in record.entries:
                match entry:
                    case Said(to=to, data=data):
                        for receiver in filter(whole.__contains__, to):
                            said.setdefault((general, receiver), set()).add(data)
                    case Heard(sender=sender, data=data) if sender in whole:
                        heard.setdefault((sender, general), set()).add(frame_bytes(data))
                    case _:
                        pass
        return said, heard

    def _suspect_link(self, link: tuple[GeneralId, GeneralId], claim: str, data: bytes) -> None:
        """Names both ends, but where one of them is a known liar."""
        if any(self._found[end].evidence for end in link):
            return
        frame = frame_in(data)
        when = f" in round {frame.round}" if frame is not None else ""
        for end in link:
            self._suspect(end, f"{claim}{when}, and the other denies it")


def _most_telling(forks: list[tuple[bytes, ...]]) -> tuple[bytes, bytes] | None:
    """Two frames of one number and two logs: if there are such, two that say different things."""
    pairs = (pair for frames in forks for pair in combinations(frames, 2))
    first = next(pairs, None)
    differ = (pair for pair in pairs if frame_in(pair[0]) != frame_in(pair[1]))
    if first is None or frame_in(first[0]) != frame_in(first[1]):
        return first
    return next(differ, first)


#: By link, (sender, receiver), the frames that went over it.
_Traffic: TypeAlias = dict[tuple[GeneralId, GeneralId], set[bytes]]
