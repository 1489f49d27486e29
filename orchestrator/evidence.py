"""Evidence that stands alone: what one general signed, and why no loyal general signs it.

Four kinds of offence. Two *orders* of one commander, of different value. Two *logs*: authenticators
with one sequence number and different heads. Another *journal*: an authenticator that the journal
he closed does not bear out. A *deviation*: a journal that he closed and that a loyal machine, given
what it says he heard, does not write. All are checked from the roster alone: the run id in what is
signed commits to the roster, the scenario and a nonce, which the evidence brings along.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from node import wire
from node.authenticators import Opener, claim_of, framed, head_after
from node.control import Roster, run_id
from node.general import loyal_machine
from node.messages import Frame, SignedOrder, Vouched
from node.orders import GeneralId
from node.protocols.reliable_broadcast import ReliableBroadcast
from node.replay import Deviation, deviation
from node.rounds import Rounds
from node.signatures import Chains, Claim, verify
from orchestrator.audit import written
from orchestrator.casting import brief_of
from orchestrator.scenario import Scenario, ScenarioError, from_fields
from orchestrator.transcript import Record, read

FORMAT = 1
#: No evidence file is larger, in bytes.
EVIDENCE_BYTES_MAX = 1 << 28


#: Machines that nothing reaches but what a journal holds.
_RUN_AGAIN = (Rounds, ReliableBroadcast)


class TwoOrders(msgspec.Struct, frozen=True, tag_field="kind", tag="two-orders"):
    """A commander signed two orders of one instance, of different value."""

    instance: GeneralId
    orders: tuple[SignedOrder, SignedOrder]


class TwoLogs(msgspec.Struct, frozen=True, tag_field="kind", tag="two-logs"):
    """Two frames that he vouched for: one sequence number, two heads. Each as it was heard."""

    frames: tuple[bytes, bytes]


class AnotherJournal(msgspec.Struct, frozen=True, tag_field="kind", tag="another-journal"):
    """A frame that he vouched for, and the journal that he closed, which has another head there."""

    frame: bytes
    journal: bytes


class Deviates(msgspec.Struct, frozen=True, tag_field="kind", tag="deviation"):
    """The journal that he closed, and the line that does not follow. `machine`: whose rules say
    so."""

    machine: str
    journal: bytes
    line: int
    what: str


Offence: TypeAlias = TwoOrders | TwoLogs | AnotherJournal | Deviates


class Evidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One offence of `culprit`, and what ties it to a roster. `run` and `nonce` are hex."""

    format: int = FORMAT
    culprit: GeneralId
    run: str
    nonce: str
    scenario: str
    offence: Offence


class Refuted(Exception):  # noqa: N818 - a judgement on evidence, and no fault of the program
    """Evidence that does not hold; the text says why."""


class Case:
    """What every piece of evidence of one run is checked against. Machines are deterministic, so
    that one case serves all of its generals."""

    def __init__(self, roster: Roster, scenario: bytes, run: bytes, machine: str) -> None:
        """ScenarioError where the scenario is none. `machine`: the version of the rules here."""
        self.run = run
        self.machine = machine
        self.publics = roster.signing_publics()
        self.scenario = _loyal(scenario)
        protocol = self.scenario.over or self.scenario.protocol
        self.chains = Chains(run, protocol.value, self.publics)
        self._known: dict[Claim, bool] = {}

    def deviation(self, record: Record) -> Deviation | None:
        """Where a journal, closed by its general, is not a loyal general's.

        None too where the protocol is none of those that are run again.
        """
        if record.damage:
            damage = record.damage[0]
            return Deviation(damage.line, f"he closed what is no journal: {damage.kind}")
        general = record.general
        brief = brief_of(self.scenario, general)
        if record.opened is not None:
            # Which rounds halted is the laboratory's doing, and said nowhere else.
            brief = msgspec.structs.replace(brief, barriers=record.opened.brief.barriers)
        machine = loyal_machine(general, brief, self.chains)
        if not isinstance(machine, _RUN_AGAIN):
            return None
        opener = Opener(
            general,
            self.run,
            self.publics,
            is_accountable=brief.accountable,
            is_true=self.is_true,
        )
        return deviation(
            record.entries,
            brief,
            machine,
            self.chains,
            opener.open,
        )

    def is_true(self, claim: Claim) -> bool:
        """Whether a claim is true; each is checked once."""
        if claim not in self._known:
            self._known[claim] = verify(*claim)
        return self._known[claim]


def check(evidence: Evidence, roster: Roster, machine: str) -> str:
    """What the evidence shows, in words. Refuted, with the reason, where it shows nothing."""
    if evidence.format != FORMAT:
        raise Refuted(f"its format is {evidence.format}, and this reads {FORMAT}")
    try:
        run, nonce = bytes.fromhex(evidence.run), bytes.fromhex(evidence.nonce)
    except ValueError:
        raise Refuted("run and nonce are not hex") from None
    scenario = evidence.scenario.encode("utf-8", "replace")
    if run_id(roster, scenario, nonce) != run:
        raise Refuted("the run id does not commit to this roster, scenario and nonce")
    if evidence.culprit not in roster.signing_publics():
        raise Refuted(f"there is no general {evidence.culprit} in the roster")
    try:
        case = Case(roster, scenario, run, machine)
    except ScenarioError as fault:
        raise Refuted(f"its scenario is none: {fault.problems[0]}") from None
    return shown(evidence.culprit, evidence.offence, case)


def shown(culprit: GeneralId, offence: Offence, case: Case) -> str:
    """What an offence shows of the culprit, in words. Refuted where it shows nothing."""
    match offence:
        case TwoOrders():
            return _two_orders(culprit, offence, case)
        case TwoLogs(frames):
            return _two_logs(culprit, frames, case)
        case AnotherJournal(frame, journal):
            return _another_journal(culprit, frame, journal, case)
        case Deviates():
            return _deviates(culprit, offence, case)


def _two_orders(culprit: GeneralId, offence: TwoOrders, case: Case) -> str:
    first, second = offence.orders
    if offence.instance != culprit or not _commands(culprit, case.scenario):
        raise Refuted(f"general {culprit} commands nothing in instance {offence.instance}")
    if first.token == second.token:
        raise Refuted("the two orders have one value")
    for order in offence.orders:
        if order.signers != (culprit,) or not case.chains.verify(order, offence.instance):
            raise Refuted(f"{order} is not signed by general {culprit} and nobody else")
    return f"he signed both {first} and {second}"


def _commands(general: GeneralId, scenario: Scenario) -> bool:
    return scenario.commander in (None, general)


def _two_logs(culprit: GeneralId, frames: tuple[bytes, bytes], case: Case) -> str:
    (first, one), (second, other) = (vouched_by(culprit, data, case) for data in frames)
    if first.sequence != second.sequence:
        raise Refuted(f"the sequence numbers are {first.sequence} and {second.sequence}, not one")
    if head_after(first, one) == head_after(second, other):
        raise Refuted("both authenticators are of one log")
    return f"two of his authenticators have sequence number {first.sequence} and different heads"


def _another_journal(culprit: GeneralId, data: bytes, journal: bytes, case: Case) -> str:
    vouched, frame = vouched_by(culprit, data, case)
    record = _closed(culprit, journal, case)
    heads = record.heads()
    if vouched.sequence < len(heads):
        if heads[vouched.sequence - 1] == head_after(vouched, frame):
            raise Refuted("the authenticator is of this journal")
        where = f"has another head at line {vouched.sequence}"
    else:
        where = f"ends before line {vouched.sequence}"
    return (
        f"he vouched for what he told {_listed(vouched.to)}, and the journal that he closed {where}"
    )


def _deviates(culprit: GeneralId, offence: Deviates, case: Case) -> str:
    if offence.machine != case.machine:
        raise Refuted(f"it is of rules {offence.machine}, and these are {case.machine}")
    found = case.deviation(_closed(culprit, offence.journal, case))
    if found is None:
        raise Refuted("the journal is a loyal general's to its end")
    if (found.line, found.what) != (offence.line, offence.what):
        raise Refuted(f"it names another deviation than line {found.line}: {found.what}")
    return f"line {found.line} of his journal: {found.what}"


def vouched_by(culprit: GeneralId, data: bytes, case: Case) -> tuple[Vouched, Frame]:
    """A frame as it was heard, under the culprit's authenticator. Refuted where it is not."""
    vouched = wire.decode(data)
    if not isinstance(vouched, Vouched):
        raise Refuted("a frame in it bears no authenticator")
    frame = framed(vouched)
    if frame is None or not vouched.run == frame.run == case.run:
        raise Refuted("a frame in it is none of this run")
    if not case.is_true(claim_of(vouched, frame, case.publics[culprit])):
        raise Refuted(f"an authenticator in it is not signed by general {culprit}")
    return vouched, frame


def _closed(culprit: GeneralId, journal: bytes, case: Case) -> Record:
    record = read(culprit, journal, case.run, case.publics[culprit])
    if record.damage and not record.damage[0].is_own:
        damage = record.damage[0]
        raise Refuted(f"his journal, line {damage.line}: {damage.kind}")
    return record


def _loyal(scenario: bytes) -> Scenario:
    """What a scenario tells loyal generals. Who betrays, what befalls whom and what is expected is
    left out, so that no strategy of its user's is loaded."""
    story = written(scenario)
    if not isinstance(story, dict):
        story = {}
    fields = {k: v for k, v in story.items() if k not in ("traitors", "chaos", "expect")}
    return from_fields(fields, "scenario.yaml")


def _listed(generals: tuple[GeneralId, ...]) -> str:
    return ", ".join(map(str, generals))
