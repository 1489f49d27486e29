"""Whether a run directory is what its generals signed: from public keys alone, no run needed.

Checked are the roster's keys, that the run id commits to roster, scenario and nonce, every
journal's hash chain and closing signature, every signed order in every frame, every proof of a
lie, and that ledgers add up. A bad signature in what a general *heard* is a traitor's doing and is
counted; one in what a loyal general *said* is a fault of the run. What a traitor wrote into his own
journal and closed under his signature is false, and is no damage: he may write what he likes.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from itertools import islice
from typing import Any, TypeAlias

from node import wire
from node.authenticators import claim_of, frame_bytes, framed, vouched_bytes
from node.control import Roster, run_id
from node.journal import Accused, Entry, Heard, LedgerLine, Said, Turned
from node.messages import Body, Bundle, Frame, Parcels, Signed, SignedOrder, Vouched
from node.orders import Brief, GeneralId
from node.signatures import Chains, Claim, Link, check_each, is_admissible
from node.words import SPELT_MAX, safe
from orchestrator.scenario.document import decoded, from_yaml
from orchestrator.scenario.problems import Problems, printable
from orchestrator.transcript import UNCLOSED, Record, Transcript

#: What run.json repeats of the scenario, which alone the run id commits to: their names there.
_CLAIMS = {"scenario": "name", "seed": "seed", "protocol": "protocol", "n": "n", "m": "m"}
#: Signatures have four bytes for an instance.
INSTANCES_MAX = 1 << 32

#: Checks claims one by one, or on all cores: answers come in the claims' order.
Check: TypeAlias = Callable[[Iterable[Claim]], Iterable[bool]]


@dataclass(frozen=True)
class Finding:
    """Something that does not hold: the file in the run directory, the line if any, and what."""

    file: str
    line: int | None
    kind: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return printable(f"{where}: {self.kind}")


class Condition(StrEnum):
    """In which condition a journal was found."""

    CLOSED = "closed"
    UNVERIFIABLE = "unverifiable"
    DAMAGED = "damaged"
    FALSE = "false"


@dataclass
class Hand:
    """One general's hand: his key, how his journal was found, and what bears his signature.

    `signed` counts his distinct good signatures on orders; `orders` are the first of them, each as
    far as his own signature reaches."""

    key: bytes
    journal: Condition = Condition.CLOSED
    entries: int = 0
    signed: int = 0
    orders: list[str] = field(default_factory=list)
    #: What bears his good signature, and he never said: of a loyal general, somebody has his key.
    unsaid: list[str] = field(default_factory=list)


@dataclass
class Audit:
    """What an audit found.

    `findings` is damage. `unverifiable` are journals that are missing or were never closed, as a
    killed general's: neither damage nor clean. `false` is what traitors wrote into journals that
    they closed. `orders` counts signed orders in frames, each time one was heard or said;
    `vouched` counts frames heard under a good authenticator. `signatures` are the distinct good
    ones of both kinds, `authenticators` those of frames. `roster` is the fingerprint.
    """

    roster: bytes = b""
    findings: list[Finding] = field(default_factory=list)
    unverifiable: list[Finding] = field(default_factory=list)
    false: list[Finding] = field(default_factory=list)
    journals: int = 0
    verified: int = 0
    refused: int = 0
    uncheckable: int = 0
    vouched: int = 0
    signatures: int = 0
    authenticators: int = 0
    proofs: dict[GeneralId, int] = field(default_factory=dict)
    hands: dict[GeneralId, Hand] = field(default_factory=dict)
    #: Whom the scenario names, and whom chaos turned in mid-run.
    traitors: frozenset[GeneralId] = frozenset()

    @property
    def is_clean(self) -> bool:
        return not self.findings and not self.unverifiable


@dataclass(frozen=True)
class Exhibits:
    """What an audit is made of: a run directory's contents. `claims`: what run.json says of the
    scenario, by its own names."""

    roster: Roster
    scenario: bytes
    run: bytes
    nonce: bytes
    transcript: Transcript
    claims: Mapping[str, object] = field(default_factory=dict)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the collector, which would look through all that is gathered time and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_uncollected()
def audit(
    exhibits: Exhibits, *, fingerprint: bytes | None = None, check: Check = check_each
) -> Audit:
    """Looks at everything. `fingerprint`: the roster's, where it was learnt by another way."""
    found = Audit(exhibits.roster.fingerprint())
    story = written(exhibits.scenario)
    found.findings += _roster_findings(exhibits.roster, fingerprint)
    found.findings += _binding_findings(exhibits, story)
    publics = exhibits.roster.signing_publics()
    found.hands = {general: Hand(public) for general, public in sorted(publics.items())}
    records = {g: exhibits.transcript.records.get(g) for g in found.hands}
    book = _Signatures(exhibits.run, publics)
    book.settle(check, [record for record in records.values() if record is not None])
    found.traitors = _traitors(story)
    for general, record in records.items():
        if record is not None and any(isinstance(e, Turned) and e.strategy for e in record.entries):
            found.traitors |= {general}
        _Examination(found, general, general in found.traitors).of(record, book)
    book.tell(found)
    return found


def journal_name(general: GeneralId) -> str:
    return f"general-{general}.journal"


def _traitors(story: Any) -> frozenset[GeneralId]:
    """Whom a resolved scenario names a traitor, from the start or for a while."""
    entries = [*_listed(story, "traitors")]
    for step in _listed(story, "chaos"):
        entries.append(step.get("promote") if isinstance(step, dict) else None)
    named: set[GeneralId] = set()
    for entry in entries:
        for name in ("generals", "general") if isinstance(entry, dict) else ():
            several = entry.get(name)
            who = several if isinstance(several, list) else [several]
            named.update(one for one in who if isinstance(one, int))
    return frozenset(named)


def _listed(story: Any, field: str) -> list[Any]:
    entries = story.get(field) if isinstance(story, dict) else None
    return entries if isinstance(entries, list) else []


@lru_cache(maxsize=8)
def written(scenario: bytes) -> Any:
    """The scenario as text says it: to verify a run, no strategy of its user's is loaded."""
    problems = Problems()
    text = decoded(scenario, "scenario.yaml", problems)
    root = None if text is None else from_yaml(text, "scenario.yaml", problems)
    return root.plain() if root else None


def _roster_findings(roster: Roster, fingerprint: bytes | None) -> Iterator[Finding]:
    if fingerprint is not None and roster.fingerprint() != fingerprint:
        found, wanted = roster.fingerprint().hex(), fingerprint.hex()
        yield Finding("roster.json", None, f"its fingerprint is {found}, not {wanted}")
    keys = [entry.signing_public for entry in roster.generals]
    for entry in roster.generals:
        if not is_admissible(entry.signing_public):
            kind = f"the key of general {entry.general} is not a valid Ed25519 point"
            yield Finding("roster.json", None, kind)
        if keys.count(entry.signing_public) > 1:
            yield Finding("roster.json", None, f"general {entry.general} shares his key")


def _binding_findings(exhibits: Exhibits, story: Any) -> Iterator[Finding]:
    if run_id(exhibits.roster, exhibits.scenario, exhibits.nonce) != exhibits.run:
        kind = "the run id does not commit to this roster, scenario and nonce"
        yield Finding("run.json", None, kind)
    if not isinstance(story, dict):
        yield Finding("scenario.yaml", None, "this is no scenario")
        return
    for claim, name in _CLAIMS.items():
        if claim in exhibits.claims and exhibits.claims[claim] != story.get(name):
            yield Finding("run.json", None, f"{claim} is not what scenario.yaml says")


class _Chain:
    """A signed order, once for all the times that it was heard or said."""

    __slots__ = ("is_good", "keys", "order")

    def __init__(self, order: SignedOrder, keys: list[bytes] | None) -> None:
        self.order = order
        #: Of its signatures; None where nobody can check it: no such signer, or no such instance.
        self.keys = keys
        self.is_good = False


#: Gives claims as it goes, and in the end the chains that were asked for.
_Found: TypeAlias = Generator[Claim, None, list[_Chain]]


class _Signatures:
    """Every signed order of all journals: each distinct signature is checked once."""

    def __init__(self, run: bytes, publics: Mapping[GeneralId, bytes]) -> None:
        self._run = run
        self._publics = publics
        self._verifiers: dict[str, Chains] = {}
        self._known: dict[tuple[str, int, SignedOrder], _Chain] = {}
        #: By signer, of each signature's key the first order that bore it, and as its how-manieth.
        self._borne: dict[GeneralId, dict[bytes, tuple[SignedOrder, int]]] = {
            general: {} for general in publics
        }
        self._good: set[bytes] = set()
        #: What each frame holds, by its bytes and the commander whose instance it is.
        self._frames: dict[tuple[str, GeneralId | None, bytes], list[_Chain]] = {}
        #: By general and line, the chains of that entry, and the key of the authenticator heard.
        self._chains: dict[tuple[GeneralId, int], list[_Chain]] = {}
        self._vouched: dict[tuple[GeneralId, int], bytes] = {}
        #: The key of every claim there is, in the order in which they are checked.
        self._asked: dict[bytes, None] = {}
        #: Of each general whose journal is closed, every signature that he said, his among them.
        self._said: dict[GeneralId, set[bytes]] = {}

    def settle(self, check: Check, records: Iterable[Record]) -> None:
        """Reads every journal and checks whatever is signed in it."""
        answers = check(claim for record in records for claim in self._claims(record))
        answered = zip(list(answers), self._asked, strict=True)
        self._good = {key for is_good, key in answered if is_good}
        good = self._good
        for chain in self._known.values():
            if chain.keys is not None:
                chain.is_good = good.issuperset(chain.keys)

    def is_vouched(self, general: GeneralId, line: int) -> bool | None:
        """Whether the authenticator that was heard there is good; None where none was to be."""
        key = self._vouched.get((general, line))
        return None if key is None else key in self._good

    def of(self, general: GeneralId, line: int) -> list[_Chain]:
        return self._chains.get((general, line), [])

    def tell(self, found: Audit) -> None:
        """Who signed what."""
        found.signatures = found.authenticators = len(self._good)
        for signer, borne in self._borne.items():
            good = borne.keys() & self._good
            found.authenticators -= len(good)
            hand = found.hands[signer]
            hand.signed = len(good)
            hand.orders = _reaches(borne, good)
            if signer in self._said:
                hand.unsaid = _reaches(borne, good - self._said[signer])

    def _claims(self, record: Record) -> Iterator[Claim]:
        """What there is to check in a journal and was not met before."""
        if record.opened is None:
            return
        brief = record.opened.brief
        for line, entry in enumerate(record.entries, start=1):
            match entry:
                case Heard() if brief.accountable:
                    yield from self._authenticator(record.general, line, entry)
                    chains = yield from self._in_frame(frame_bytes(entry.data), brief)
                case Heard(data=data) | Said(data=data):
                    chains = yield from self._in_frame(data, brief)
                case Accused(instance=instance, proof=proof):
                    orders = ((instance, order) for order in proof)
                    chains = yield from self._of_orders(orders, brief)
                case _:
                    continue
            if chains:
                self._chains[record.general, line] = chains
                if isinstance(entry, Said) and record.closed is not None:
                    said = self._said.setdefault(record.general, set())
                    said.update(*[chain.keys or () for chain in chains])

    def _in_frame(self, data: bytes, brief: Brief) -> _Found:
        """A frame is read once, however many heard it: whoever said it wrote the same bytes."""
        key = _protocol(brief), brief.commander, data
        if key not in self._frames:
            frame = wire.decode(data)
            orders = _orders_of(frame, brief) if isinstance(frame, Frame) else iter(())
            self._frames[key] = yield from self._of_orders(orders, brief)
        return self._frames[key]

    def _of_orders(self, orders: Iterator[tuple[int, SignedOrder]], brief: Brief) -> _Found:
        protocol = _protocol(brief)
        if protocol not in self._verifiers:
            self._verifiers[protocol] = Chains(self._run, protocol, self._publics)
        verifier = self._verifiers[protocol]
        chains = []
        for instance, order in orders:
            which = protocol, instance, order
            chain = self._known.get(which)
            if chain is None:
                links = _links(verifier, instance, order)
                keys = None if links is None else [link.key for link in links]
                chain = self._known[which] = _Chain(order, keys)
                for length, (key, signer, claim) in enumerate(links or (), start=1):
                    if key not in (borne := self._borne[signer]):
                        borne[key] = order, length
                        self._asked[key] = None
                        yield claim
            chains.append(chain)
        return chains

    def _authenticator(self, general: GeneralId, line: int, heard: Heard) -> Iterator[Claim]:
        """What a frame's sender vouches for; where he cannot be known, nothing."""
        vouched = wire.decode(heard.data)
        frame = framed(vouched) if isinstance(vouched, Vouched) else None
        public = self._publics.get(heard.sender)
        self._vouched[general, line] = b""
        if not isinstance(vouched, Vouched) or frame is None or public is None:
            return
        claim = claim_of(vouched, frame, public)
        _, _, statement, signature = claim
        key = statement + signature
        self._vouched[general, line] = key
        if key not in self._asked:
            self._asked[key] = None
            yield claim


def _links(verifier: Chains, instance: int, order: SignedOrder) -> list[Link] | None:
    """A chain's, where they can be checked at all."""
    is_whole = len(order.signers) == len(order.signatures)
    if not (is_whole and 0 <= instance < INSTANCES_MAX and verifier.are_known(order.signers)):
        return None
    return verifier.links(order, instance)


class _Examination:
    """Of one general's journal: what he wrote himself is his, what was done to it is damage."""

    def __init__(self, found: Audit, general: GeneralId, is_traitor: bool) -> None:
        self._found = found
        self._general = general
        self._is_traitor = is_traitor
        self._name = journal_name(general)
        self._hand = found.hands[general]

    def of(self, record: Record | None, book: _Signatures) -> None:
        if record is None:
            missing = Finding(self._name, None, "there is no journal: unverifiable")
            self._found.unverifiable.append(missing)
            self._hand.journal = Condition.UNVERIFIABLE
            return
        self._hand.entries = len(record.entries)
        for damage in record.damage:
            if damage.kind == UNCLOSED:
                self._found.unverifiable.append(Finding(self._name, damage.line, damage.kind))
                self._hand.journal = Condition.UNVERIFIABLE
            else:
                self._blame(damage.line, damage.kind, is_own=damage.is_own)
        if record.opened is None:
            return
        self._found.journals += 1
        for line, entry in enumerate(record.entries, start=1):
            self._examine(line, entry, book.of(self._general, line), record)
            self._vouch(line, book.is_vouched(self._general, line), record)
        if record.closed is not None and record.closed.ledger != _ledger(record):
            kind = "the ledger is not the sum of what was said"
            self._blame(len(record.entries), kind, is_own=True)

    def _examine(self, line: int, entry: Entry, chains: list[_Chain], record: Record) -> None:
        is_own = record.closed is not None
        if isinstance(entry, Accused):
            if _proves(entry, chains):
                count = self._found.proofs.get(entry.culprit, 0) + 1
                self._found.proofs[entry.culprit] = count
            else:
                kind = f"the proof against general {entry.culprit} proves nothing"
                self._blame(line, kind, is_own=is_own)
            return
        good = sum([chain.is_good for chain in chains])
        uncheckable = sum([chain.keys is None for chain in chains])
        bad = len(chains) - good
        self._found.verified += good
        self._found.uncheckable += uncheckable
        self._found.refused += bad - uncheckable
        if bad and isinstance(entry, Said) and not self._is_traitor:
            kind = f"a loyal general sent signed orders that do not verify: {bad}"
            self._blame(line, kind, is_own=is_own)

    def _vouch(self, line: int, is_vouched: bool | None, record: Record) -> None:
        """A loyal general enters no frame whose authenticator is not good."""
        if is_vouched is None:
            return
        self._found.vouched += is_vouched
        if not is_vouched:
            kind = "the authenticator of what he says he heard does not verify"
            self._blame(line, kind, is_own=record.closed is not None)

    def _blame(self, line: int, kind: str, *, is_own: bool) -> None:
        is_false = is_own and self._is_traitor
        entered = self._found.false if is_false else self._found.findings
        entered.append(Finding(self._name, line, kind))
        self._hand.journal = Condition.FALSE if is_false else Condition.DAMAGED


def _proves(entry: Accused, chains: list[_Chain]) -> bool:
    """A proof is two good signatures of the culprit on orders of different value."""
    first, second = entry.proof
    return first.token != second.token and all(
        chain.is_good and chain.order.signers == (entry.culprit,) for chain in chains
    )


def _reaches(borne: Mapping[bytes, tuple[SignedOrder, int]], keys: Set[bytes]) -> list[str]:
    """The first orders that bore these signatures, each as far as its signature reaches."""
    first = islice((borne[key] for key in borne if key in keys), SPELT_MAX) if keys else ()
    return [
        safe(str(SignedOrder(order.token, order.signers[:length], ()))) for order, length in first
    ]


def _protocol(brief: Brief) -> str:
    return brief.over or brief.protocol


def _orders_of(frame: Frame, brief: Brief) -> Iterator[tuple[int, SignedOrder]]:
    parts: tuple[tuple[int, Body], ...]
    if isinstance(frame.body, Parcels):
        return
    if isinstance(frame.body, Bundle):
        parts = tuple(enumerate(frame.body.parts))
    else:
        parts = ((brief.commander or 0, frame.body),)
    for instance, body in parts:
        if isinstance(body, Signed):
            yield from ((instance, order) for order in (*body.orders, *body.proof))


def _ledger(record: Record) -> tuple[LedgerLine, ...]:
    lines: dict[int, LedgerLine] = {}
    for number, entry in enumerate(record.entries, start=1):
        if isinstance(entry, Said):
            line = lines.setdefault(entry.round, LedgerLine(entry.round))
            line.messages += entry.messages * len(entry.to)
            line.frames += len(entry.to)
            line.bytes += _bytes_sent(record, number, entry) * len(entry.to)
    return tuple(line for _, line in sorted(lines.items()))


def _bytes_sent(record: Record, line: int, said: Said) -> int:
    """How many bytes left for each copy of what was said in a line."""
    if record.opened is None or not record.opened.brief.accountable:
        return len(said.data)
    return vouched_bytes(said, line, record.opened.run)
