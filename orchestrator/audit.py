"""Whether a run directory is what its generals signed: from public keys alone, no run needed.

Checked are the roster's keys, that the run id commits to roster, scenario and nonce, every
journal's hash chain and closing signature, every signed order in every frame, every proof of a
lie, and that ledgers add up. A bad signature in what a general *heard* is a traitor's doing and is
counted; one in what a loyal general *said* is a fault of the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from node import wire
from node.control import Roster, run_id
from node.journal import Accused, Heard, LedgerLine, Said
from node.messages import Body, Bundle, Frame, Signed, SignedOrder
from node.orders import Brief, GeneralId
from node.signatures import Chains, is_admissible
from orchestrator.scenario.document import decoded, from_yaml
from orchestrator.scenario.problems import Problems, printable
from orchestrator.transcript import UNCLOSED, Record, Transcript

#: What run.json repeats of the scenario, which alone the run id commits to: their names there.
_CLAIMS = {"scenario": "name", "seed": "seed", "protocol": "protocol", "n": "n", "m": "m"}
#: Signatures have four bytes for an instance.
INSTANCES_MAX = 1 << 32


@dataclass(frozen=True)
class Finding:
    """Something that does not hold: the file in the run directory, the line if any, and what."""

    file: str
    line: int | None
    kind: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return printable(f"{where}: {self.kind}")


@dataclass
class Audit:
    """What an audit found.

    `findings` is damage. `unverifiable` are journals that are missing or were never closed, as a
    killed general's: neither damage nor clean. `verified` and `refused` count signed orders in
    frames, each time one was heard or said; `signatures` the distinct good ones among them.
    """

    findings: list[Finding] = field(default_factory=list)
    unverifiable: list[Finding] = field(default_factory=list)
    journals: int = 0
    verified: int = 0
    refused: int = 0
    signatures: int = 0
    proofs: dict[GeneralId, int] = field(default_factory=dict)
    #: What became of each order, by instance: the same one is heard and said many times.
    seen: dict[tuple[int, SignedOrder], bool] = field(default_factory=dict, repr=False)

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


def audit(exhibits: Exhibits) -> Audit:
    found = Audit()
    found.findings += _roster_findings(exhibits.roster)
    if run_id(exhibits.roster, exhibits.scenario, exhibits.nonce) != exhibits.run:
        kind = "the run id does not commit to this roster, scenario and nonce"
        found.findings.append(Finding("run.json", None, kind))
    found.findings += _claim_findings(exhibits)
    publics = exhibits.roster.signing_publics()
    chains: dict[str, Chains] = {}
    for general in sorted(publics):
        record = exhibits.transcript.records.get(general)
        if record is None or record.opened is None:
            _enter_damage(found, general, record)
            continue
        brief = record.opened.brief
        protocol = brief.over or brief.protocol
        if protocol not in chains:
            chains[protocol] = Chains(exhibits.run, protocol, publics)
        _audit_record(found, record, brief, chains[protocol])
    found.signatures = sum(c.verified_count for c in chains.values())
    return found


def journal_name(general: GeneralId) -> str:
    return f"general-{general}.journal"


def _roster_findings(roster: Roster) -> Iterator[Finding]:
    keys = [entry.signing_public for entry in roster.generals]
    for entry in roster.generals:
        if not is_admissible(entry.signing_public):
            kind = f"the key of general {entry.general} is not a valid Ed25519 point"
            yield Finding("roster.json", None, kind)
        if keys.count(entry.signing_public) > 1:
            yield Finding("roster.json", None, f"general {entry.general} shares his key")


def _claim_findings(exhibits: Exhibits) -> Iterator[Finding]:
    """The scenario is read as text only: to verify a run, no strategy of its user's is loaded."""
    problems = Problems()
    text = decoded(exhibits.scenario, "scenario.yaml", problems)
    root = None if text is None else from_yaml(text, "scenario.yaml", problems)
    written = root.plain() if root else None
    if not isinstance(written, dict):
        yield Finding("scenario.yaml", None, "this is no scenario")
        return
    for claim, name in _CLAIMS.items():
        if claim in exhibits.claims and exhibits.claims[claim] != written.get(name):
            yield Finding("run.json", None, f"{claim} is not what scenario.yaml says")


def _enter_damage(found: Audit, general: GeneralId, record: Record | None) -> None:
    name = journal_name(general)
    if record is None:
        found.unverifiable.append(Finding(name, None, "there is no journal: unverifiable"))
        return
    for damage in record.damage:
        entered = found.unverifiable if damage.kind == UNCLOSED else found.findings
        entered.append(Finding(name, damage.line, damage.kind))


def _audit_record(found: Audit, record: Record, brief: Brief, chains: Chains) -> None:
    name = journal_name(record.general)
    found.journals += 1
    _enter_damage(found, record.general, record)
    is_loyal = record.opened is not None and record.opened.strategy is None
    for line, entry in enumerate(record.entries, start=1):
        match entry:
            case Heard(data=data):
                _audit_frame(found, data, brief, chains)
            case Said(data=data):
                bad = _audit_frame(found, data, brief, chains)
                if bad and is_loyal:
                    kind = f"a loyal general sent signed orders that do not verify: {bad}"
                    found.findings.append(Finding(name, line, kind))
            case Accused():
                _audit_proof(found, name, line, entry, chains)
            case _:
                pass
    if record.closed is not None and record.closed.ledger != _ledger(record):
        kind = "the ledger is not the sum of what was said"
        found.findings.append(Finding(name, len(record.entries), kind))


def _audit_frame(found: Audit, data: bytes, brief: Brief, chains: Chains) -> int:
    """Verifies every signed order in a frame; returns how many are bad."""
    frame = wire.decode(data)
    bad = 0
    for instance, order in _orders(frame, brief) if isinstance(frame, Frame) else ():
        if (instance, order) not in found.seen:
            found.seen[instance, order] = _verifies(chains, order, instance)
        is_good = found.seen[instance, order]
        found.verified += is_good
        found.refused += not is_good
        bad += not is_good
    return bad


def _audit_proof(found: Audit, name: str, line: int, entry: Accused, chains: Chains) -> None:
    """A proof is two good signatures of the culprit on orders of different value."""
    first, second = entry.proof
    is_proof = first.token != second.token and all(
        order.signers == (entry.culprit,) and _verifies(chains, order, entry.instance)
        for order in entry.proof
    )
    if is_proof:
        found.proofs[entry.culprit] = found.proofs.get(entry.culprit, 0) + 1
    else:
        kind = f"the proof against general {entry.culprit} proves nothing"
        found.findings.append(Finding(name, line, kind))


def _verifies(chains: Chains, order: SignedOrder, instance: int) -> bool:
    """As `Chains.verify`, whatever a journal claims the instance to be."""
    return 0 <= instance < INSTANCES_MAX and chains.verify(order, instance)


def _orders(frame: Frame, brief: Brief) -> Iterator[tuple[int, SignedOrder]]:
    """The signed orders of a frame, with the instance that each belongs to."""
    parts: tuple[tuple[int, Body], ...]
    if isinstance(frame.body, Bundle):
        parts = tuple(enumerate(frame.body.parts))
    else:
        parts = ((brief.commander or 0, frame.body),)
    for instance, body in parts:
        if isinstance(body, Signed):
            yield from ((instance, order) for order in body.orders)


def _ledger(record: Record) -> tuple[LedgerLine, ...]:
    lines: dict[int, LedgerLine] = {}
    for entry in record.entries:
        if isinstance(entry, Said):
            line = lines.setdefault(entry.round, LedgerLine(entry.round))
            line.messages += entry.messages * len(entry.to)
            line.frames += len(entry.to)
            line.bytes += len(entry.data) * len(entry.to)
    return tuple(line for _, line in sorted(lines.items()))
