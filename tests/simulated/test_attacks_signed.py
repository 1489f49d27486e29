"""What signed messages get from traitors, played in the simulator: rows SM1 to SM23.

PBFT's half of SM12 is played as far as a signature goes: one of another protocol or context.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from node.control import Enlisted, Muster, Roster, run_id
from node.effects import Reason
from node.general import Deliver, General
from node.messages import Frame
from node.orders import Brief, GeneralId
from node.signatures import Chains
from node.wire import FRAME_BYTES_MAX
from orchestrator.backends.simulation import Simulation
from orchestrator.casting import cast
from orchestrator.results import Result
from orchestrator.transcript import read
from tests.attackers import (
    BogusFlood,
    Forwarder,
    Malleable,
    Misplaced,
    OralBytes,
    RawOrder,
    Recorded,
    named,
)
from tests.stage import (
    A,
    Bent,
    R,
    a,
    accusations,
    messages,
    obeyed,
    play,
    refused,
    scenario,
    script,
    tally,
    to,
    told,
)

#: A traitor who lies nowhere: his key is what the coalition has of him.
ACCOMPLICE = script()


@dataclass(frozen=True)
class Row:
    """One attack on SM(m), order attack, default retreat, and all that must come of it.

    `obeyed`: the loyal lieutenants' decisions; `messages`: the paper's, by round; `refused`: by
    (receiver, sender, reason), everyone else's count is zero; `proved`: who holds proof against
    the commander.
    """

    id: str
    n: int
    m: int
    traitors: dict[int, Any]
    obeyed: dict[int, Any]
    messages: list[int]
    refused: dict[tuple[int, int, str], int] = field(default_factory=dict)
    proved: set[int] = field(default_factory=set)
    outcome: str = "pass"
    fields: dict[str, Any] = field(default_factory=dict)


def by(sender: GeneralId, reason: str, *receivers: GeneralId) -> dict[tuple[int, int, str], int]:
    """Each of the receivers refuses one thing of `sender`."""
    return {(receiver, sender, reason): 1 for receiver in receivers}


def chain(*signers: int, say: str = R, round: int, receiver: int) -> dict[str, Any]:
    """General 3 gives one receiver the order say:signers instead of what he owes him."""
    return script(to(receiver, say, round=round, chain=list(signers)))


ALL_R = {1: R, 2: R, 3: R}
ONE_AND_TWO_A = {1: A, 2: A}

ROWS = [
    Row(
        "SM1 the commander signs two orders",
        3,
        1,
        {0: a("two-faced", faces={A: [1], R: [2]})},
        {1: R, 2: R},
        [2, 2],
        proved={1, 2},
    ),
    Row(
        "SM2 a value altered under its signatures",
        4,
        1,
        {3: "forger"},
        ONE_AND_TWO_A,
        [3, 6],
        by(3, "bad_signature", 1, 2),
    ),
    Row(
        "SM2 the commander alters his own after signing",
        4,
        1,
        {0: "forger"},
        ALL_R,
        [3, 0],
        by(0, "bad_signature", 1, 2, 3),
    ),
    Row(
        "SM3 a chain of two in round three",
        4,
        2,
        {0: ACCOMPLICE, 3: chain(0, 3, round=3, receiver=1)},
        ONE_AND_TWO_A,
        [3, 6, 1],
        by(3, "chain_length", 1),
    ),
    Row(
        "SM5 a chain padded with a signer who is on it",
        4,
        2,
        {0: ACCOMPLICE, 3: chain(0, 3, 3, round=3, receiver=1)},
        ONE_AND_TWO_A,
        [3, 6, 1],
        by(3, "repeated_signer", 1),
    ),
    Row(
        "SM6 a second order to one general while there is time",
        4,
        2,
        {0: ACCOMPLICE, 3: chain(0, 3, round=2, receiver=1)},
        {1: R, 2: R},
        [3, 6, 1],
        proved={1, 2},
    ),
    Row(
        "SM8 a chain that begins with a lieutenant",
        4,
        1,
        {3: chain(2, 3, round=2, receiver=1)},
        ONE_AND_TWO_A,
        [3, 6],
        by(3, "not_commander", 1),
    ),
    Row(
        "SM8 a chain of his own alone",
        4,
        1,
        {3: chain(3, round=2, receiver=1)},
        ONE_AND_TWO_A,
        [3, 6],
        by(3, "not_commander", 1),
    ),
    Row(
        "SM8 the commander gives out another's order as if relayed",
        4,
        1,
        {0: named(RawOrder, token='"retreat"', signers=[3])},
        ALL_R,
        [3, 0],
        by(0, "not_commander", 1, 2, 3),
    ),
    *(
        Row(
            f"SM8 a signer called {nobody}",
            4,
            1,
            {3: chain(0, nobody, round=2, receiver=1)},
            ONE_AND_TWO_A,
            [3, 6],
            by(3, "unknown_signer", 1),
        )
        for nobody in (99, 4, -1, -(2**63), 2**63, 2**64 - 1)
    ),
    Row(
        "SM9 the receiver on the chain, last",
        4,
        1,
        {3: chain(0, 1, round=2, receiver=1)},
        ONE_AND_TWO_A,
        [3, 6],
        by(3, "self_in_chain", 1),
    ),
    Row(
        "SM9 the receiver on the chain, within",
        4,
        2,
        {3: chain(0, 1, 3, round=3, receiver=1)},
        ONE_AND_TWO_A,
        [3, 6, 1],
        by(3, "self_in_chain", 1),
    ),
    *(
        Row(
            f"SM12 a signature of another {what}",
            4,
            1,
            {0: ACCOMPLICE, 3: named(Misplaced, what=what, value=R)},
            ONE_AND_TWO_A,
            [3, 6],
            by(3, "bad_signature", 1, 2),
        )
        for what in ("context", "protocol", "run", "instance", "value")
    ),
    Row(
        "SM12 a signature of here, to show that nothing else was wrong with those",
        4,
        1,
        {0: ACCOMPLICE, 3: named(Misplaced, what="nothing", value=R)},
        {1: R, 2: R},
        [3, 6],
        proved={1, 2},
    ),
    Row(
        "SM13 a delayer, one millisecond late",
        4,
        1,
        {3: a("delayer", late_ms=1)},
        ONE_AND_TWO_A,
        [3, 6],
        by(3, "late", 1, 2),
    ),
    Row(
        "SM14 a second order in the last round, two traitors against m=1",
        4,
        1,
        {0: ACCOMPLICE, 3: chain(0, 3, round=2, receiver=1)},
        {1: R, 2: A},
        [3, 6],
        proved={1},
        outcome="out-of-model",
    ),
    Row(
        "SM16 malleated signatures, S + L",
        4,
        1,
        {0: named(Malleable)},
        ALL_R,
        [3, 0],
        by(0, "bad_signature", 1, 2, 3),
    ),
    *(
        Row(
            f"SM20 {what}, of the commander",
            4,
            1,
            {0: named(RawOrder, token=token, signers=[0])},
            ALL_R,
            [3, 0],
            by(0, "bad_value", 1, 2, 3),
        )
        for what, token in (
            ("a value outside the domain", '"charge"'),
            ("a number outside the domain", "1"),
            ("an empty value", ""),
            ("bytes that are not UTF-8", "0xfffe"),
            ("a second spelling", '"attack" '),
            ("an escaped spelling", '"\\u0061ttack"'),
            ("markup and control characters", '"<script>\x1b[2J\n{x}"'),
        )
    ),
    Row(
        "SM20 a value outside the domain, of a lieutenant",
        4,
        1,
        {3: named(RawOrder, token='"charge"', signers=[0, 3])},
        ONE_AND_TWO_A,
        [3, 6],
        by(3, "bad_value", 1, 2),
    ),
    Row(
        "SM20 no finite number",
        4,
        1,
        {0: named(RawOrder, token="1e999", signers=[0])},
        {1: 0.0, 2: 0.0, 3: 0.0},
        [3, 0],
        by(0, "bad_value", 1, 2, 3),
        fields={"values": "numbers", "order": 7},
    ),
    Row(
        "SM20 a number spelt as no general spells it",
        4,
        1,
        {0: named(RawOrder, token="7e0", signers=[0])},
        {1: 0.0, 2: 0.0, 3: 0.0},
        [3, 0],
        by(0, "bad_value", 1, 2, 3),
        fields={"values": "numbers", "order": 7},
    ),
    Row(
        "SM20 a value of a megabyte",
        4,
        1,
        {0: named(RawOrder, token="x", repeat=FRAME_BYTES_MAX, signers=[0])},
        ALL_R,
        [3, 0],
        by(0, "oversize", 1, 2, 3),
    ),
    Row(
        "a chain with fewer signatures than signers",
        4,
        1,
        {3: named(RawOrder, token='"retreat"', signers=[0, 3], signatures=0)},
        ONE_AND_TWO_A,
        [3, 6],
        by(3, "bad_shape", 1, 2),
    ),
    Row(
        "a chain with more signatures than signers",
        4,
        1,
        {0: ACCOMPLICE, 3: named(RawOrder, token='"retreat"', signers=[0, 3], signatures=3)},
        ONE_AND_TWO_A,
        [3, 6],
        by(3, "bad_shape", 1, 2),
    ),
    Row(
        "a chain of nobody",
        4,
        1,
        {3: named(RawOrder, token='"retreat"', signers=[])},
        ONE_AND_TWO_A,
        [3, 6],
        by(3, "bad_shape", 1, 2),
    ),
    Row(
        "oral values where signed orders are due",
        4,
        1,
        {3: named(OralBytes, values="80")},
        ONE_AND_TWO_A,
        [3, 6],
        by(3, "bad_shape", 1, 2),
    ),
    Row(
        "SM21 a silent commander",
        4,
        1,
        {0: "silent"},
        ALL_R,
        [0],
    ),
    Row(
        "SM23 chains of others handed on, in time",
        4,
        1,
        {3: named(Forwarder)},
        ONE_AND_TWO_A,
        [3, 6],
        by(3, "not_sender", 1, 2),
    ),
    Row(
        "SM23 chains of others handed on, late",
        4,
        1,
        {3: named(Forwarder, late_ms=1)},
        ONE_AND_TWO_A,
        [3, 6],
        by(3, "late", 1, 2),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_row(row: Row) -> None:
    result = play("signed", row.n, row.m, row.traitors, **row.fields)
    assert obeyed(result) == row.obeyed
    assert messages(result) == row.messages
    assert refused(result) == row.refused
    assert result.verdict.outcome.value == row.outcome
    assert result.audit.is_clean, result.audit.findings
    loyal_with_proof = accusations(result).keys() - result.scenario.faulty
    assert loyal_with_proof == row.proved
    assert result.audit.proofs.keys() <= {0}


def test_sm1_each_lieutenant_holds_both_signatures_of_the_commander() -> None:
    result = play("signed", 3, 1, {0: a("two-faced", faces={A: [1], R: [2]})})
    chains = Chains(result.mustered.run, "signed", result.mustered.roster.signing_publics())
    held = accusations(result)
    assert held.keys() == {1, 2}
    for general, (accused,) in held.items():
        assert tally(result, general) == {A: 1, R: 1}
        assert (accused.culprit, accused.instance, accused.rule) == (0, 0, "SM-2")
        assert {order.token for order in accused.proof} == {b'"attack"', b'"retreat"'}
        assert all(order.signers == (0,) for order in accused.proof)
        assert all(chains.verify(order, 0) for order in accused.proof)
    assert result.audit.proofs == {0: 2}


def test_sm6_the_second_order_is_relayed_under_the_receivers_name() -> None:
    traitors = {0: ACCOMPLICE, 3: chain(0, 3, round=2, receiver=1)}
    result = play("signed", 4, 2, traitors)
    orders = [order for frame in _frames(told(result, 2, 3)) for order in _orders(frame)]
    assert [str(order) for order in orders] == ["retreat:0:3:1"]


# SM10: what was good in another run.

ORDER_A = {"order": A, "summary": "the run that is recorded"}
ORDER_R = {"order": R, "summary": "the run in which it is replayed"}


def test_sm10_a_recorded_frame_is_of_the_wrong_run() -> None:
    """General 3 sends 1 and 2, besides what he owes, his frame of a run with the same keys."""
    before = play("signed", 4, 1, {3: "silent"}, **ORDER_A)
    (recorded,) = told(play("signed", 4, 1, **ORDER_A), 1, 2)[1:]

    def replay(
        links: Bent, at_s: float, sender: int, receiver: int, frame: Frame, data: bytes
    ) -> Iterable[tuple[float, int, bytes]]:
        if sender == 3:
            yield at_s, receiver, recorded
        yield at_s, receiver, data

    result = play("signed", 4, 1, on=Bent(replay), **ORDER_R)
    assert before.mustered.roster == result.mustered.roster
    assert before.mustered.run != result.mustered.run
    assert obeyed(result) == {1: R, 2: R, 3: R}
    assert refused(result) == by(3, "wrong_run", 1, 2)
    assert result.verdict.outcome == "pass"


def test_sm10_a_frame_of_another_run_fills_no_round() -> None:
    """Replayed instead of the true one, it leaves its sender absent."""
    (recorded,) = told(play("signed", 4, 1, **ORDER_A), 1, 1)

    def replay(
        links: Bent, at_s: float, sender: int, receiver: int, frame: Frame, data: bytes
    ) -> Iterable[tuple[float, int, bytes]]:
        yield at_s, receiver, recorded if sender == 0 else data

    result = play("signed", 4, 1, {0: ACCOMPLICE}, on=Bent(replay), default=R, **ORDER_R)
    assert obeyed(result) == ALL_R
    assert refused(result) == by(0, "wrong_run", 1, 2, 3)
    assert result.seconds >= 0.5, "round 1 lasts to its deadline"


@pytest.mark.parametrize("recorder", [0, 3], ids=["the commander's", "a lieutenant's"])
def test_sm10_a_recorded_chain_in_a_new_frame_is_badly_signed(recorder: int) -> None:
    """In run 1 the order was attack and its chains good; in run 2, with the same keys, it is
    retreat, and a traitor gives the old chains out in frames of run 2."""
    before = play("signed", 4, 1, **ORDER_A)
    recorded = told(before, 1, 1)[0] if recorder == 0 else told(before, 1, 2)[1]
    traitor = named(Recorded, frame=recorded.hex())
    result = play("signed", 4, 1, {recorder: traitor}, **ORDER_R)
    assert before.mustered.roster == result.mustered.roster
    receivers = (1, 2, 3) if recorder == 0 else (1, 2)
    assert refused(result) == by(recorder, "bad_signature", *receivers)
    assert set(obeyed(result).values()) == {R}
    assert result.audit.is_clean


def test_sm10_the_recorded_chain_is_good_where_it_was_recorded() -> None:
    """The same attack within run 1 is no attack: so nothing but the run made it bad."""
    before = play("signed", 4, 1, {3: ACCOMPLICE}, **ORDER_A)
    recorded = told(before, 1, 2)[1]
    chains = Chains(before.mustered.run, "signed", before.mustered.roster.signing_publics())
    assert all(chains.verify(order, 0) for frame in _frames([recorded]) for order in _orders(frame))


# SM13: the deadline.


def hold_until(after_deadline_s: float) -> Bent:
    """Links that hold general 3's frames of round 2 until so long after the round's deadline."""

    def hold(
        links: Bent, at_s: float, sender: int, receiver: int, frame: Frame, data: bytes
    ) -> Iterable[tuple[float, int, bytes]]:
        held = sender == 3 and frame.round == 2
        yield links.deadline_s(2, 0.5) + after_deadline_s if held else at_s, receiver, data

    return Bent(hold)


#: Of the two orders that 0 signed, general 1 can hear of the second from 3 alone, in round 2.
ONLY_3_KNOWS = {0: script(to(3, R), to(2, A), to(1, A)), 2: script(to(1, None, round=2))}


def test_sm13_at_the_deadline_is_in_time() -> None:
    result = play("signed", 4, 1, ONLY_3_KNOWS, on=hold_until(0.0))
    assert obeyed(result)[1] == R
    assert tally(result, 1) == {A: 1, R: 1}
    assert refused(result) == {}


def test_sm13_a_millisecond_later_is_late() -> None:
    result = play("signed", 4, 1, ONLY_3_KNOWS, on=hold_until(0.001))
    assert obeyed(result)[1] == A
    assert tally(result, 1) == {A: 1}
    assert refused(result) == by(3, "late", 1, 2)
    assert accusations(result).keys() == {3}


def test_sm13_the_next_instant_is_late() -> None:
    result = play("signed", 4, 1, ONLY_3_KNOWS, on=hold_until(1e-9))
    assert obeyed(result)[1] == A
    assert refused(result) == by(3, "late", 1, 2)


def test_sm13_who_was_late_once_is_unheard_to_the_end() -> None:
    """General 3 is late in round 2, and in time in round 3 with a well signed second order."""
    chain = to([1, 2], R, round=3, chain=[0, 4, 3])
    second_order = {0: ACCOMPLICE, 4: ACCOMPLICE, 3: script(chain)}

    def hold(
        links: Bent, at_s: float, sender: int, receiver: int, frame: Frame, data: bytes
    ) -> Iterable[tuple[float, int, bytes]]:
        held = sender == 3 and frame.round == 2
        yield links.deadline_s(2, 0.5) + 0.001 if held else at_s, receiver, data

    punctual = play("signed", 5, 3, second_order)
    assert obeyed(punctual) == {1: R, 2: R}
    late = play("signed", 5, 3, second_order, on=Bent(hold))
    assert obeyed(late) == ONE_AND_TWO_A
    assert late.verdict.outcome == "pass"
    assert {key for key in refused(late) if key[0] in (1, 2)} == {(1, 3, "late"), (2, 3, "late")}


# SM15: floods that are well signed.


def test_sm15_a_thousand_values_cost_two() -> None:
    tracemalloc.start()
    try:
        result = play(
            "signed",
            5,
            1,
            {0: a("many-faced", values=1000)},
            values="numbers",
            default=-1,
            order=5,
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert obeyed(result) == dict.fromkeys((1, 2, 3, 4), -1.0)
    assert all(len(tally(result, g)) == 2 for g in (1, 2, 3, 4))
    assert messages(result) == [4000, 24]
    assert sum(messages(result)) <= 4100
    assert peak < 16 << 20
    assert all(_verifications(result, g) == 2 for g in (1, 2, 3, 4))
    assert result.audit.proofs == {0: 4}


# SM18: the roster.


def _enlisted(signers: Iterable[General]) -> Roster:
    return Roster(tuple(Enlisted(g, "", b"", who.signer.public) for g, who in enumerate(signers)))


def _muster(me: GeneralId, roster: Roster) -> Muster:
    brief = Brief(protocol="signed", n=4, m=1, value=A if me == 0 else None)
    run = run_id(roster, b"scenario", bytes(32))
    return Muster(me=me, run=run, roster=roster, brief=brief, role=None, seed=1, wait_s=0.0)


def _generals(*secrets: int) -> list[General]:
    return [General(bytes([secret]) * 32) for secret in secrets]


def test_sm18_two_generals_with_one_key_are_refused_at_enlistment() -> None:
    """Whoever he is: a roster that gives two generals one key lets one vote twice."""
    generals = _generals(1, 2, 3, 3)
    roster = _enlisted(generals)
    for me, general in enumerate(generals):
        with pytest.raises(ValueError, match="key"):
            general.enlist(_muster(me, roster))


@pytest.mark.parametrize(
    "key",
    [b"", bytes(31), bytes(32), b"\x01" + bytes(31), bytes(33)],
    ids=["none", "short", "of order four", "the neutral point", "long"],
)
def test_sm18_a_key_that_is_none_is_refused_at_enlistment(key: bytes) -> None:
    generals = _generals(1, 2, 3, 4)
    *first, last = _enlisted(generals).generals
    roster = Roster((*first, Enlisted(last.general, "", b"", key)))
    with pytest.raises(ValueError, match="key"):
        generals[1].enlist(_muster(1, roster))


def test_sm18_who_holds_another_roster_is_in_another_run() -> None:
    """General 3's key was exchanged after 1 had enlisted: what 0 says under the new roster is
    refused as of the wrong run, since the run id commits to the roster."""
    generals = _generals(1, 2, 3, 4)
    generals[1].enlist(_muster(1, _enlisted(generals)))
    changed = _enlisted([*generals[:3], General(bytes([9]) * 32)])
    generals[0].enlist(_muster(0, changed))
    sent = [action for action in generals[0].start(0.0) if isinstance(action, Deliver)]
    generals[1].start(0.0)
    for deliver in sent:
        assert generals[1].receive(0, deliver.data, 0.1) == []
    assert generals[1].refusals == {(0, Reason.WRONG_RUN): 1}


# SM22: floods that are badly signed.


def test_sm22_ten_thousand_bogus_chains_cost_a_few_verifications() -> None:
    """Three traitors hold each other's keys, so the first two signatures of every chain are good
    and only the last is not. All the chains together cost a general what one of them costs."""
    signers = [0, 4, 3]
    flood = named(BogusFlood, round=3, signers=signers)
    traitors = {0: ACCOMPLICE, 4: ACCOMPLICE, 3: flood}
    # Without the audit, which verifies whatever anyone said: here it is the generals who count.
    with Simulation() as links:
        run = links.muster(
            cast(scenario("signed", 6, 3, traitors, values="numbers", order=5)), None
        )
        decided = links.command(lambda general: None)
        journals = links.collect()
    publics = run.roster.signing_publics()
    for general in (1, 2, 5):
        assert decided[general].value == 5.0
        assert decided[general].seconds < 0.5, "every round ended before its deadline"
        record = read(general, journals[general], run.run, publics[general])
        assert record.closed is not None
        assert record.closed.verifications == 1 + len(signers)
        assert record.refusals() == {(3, Reason.BAD_SIGNATURE): 1, (3, Reason.DUPLICATE): 3}


def test_sm22_a_known_value_is_dropped_before_it_is_verified() -> None:
    """Both lieutenants relay what the commander said; the second and third copy cost nothing."""
    result = play("signed", 4, 1)
    assert [_verifications(result, g) for g in range(4)] == [0, 1, 1, 1]


def test_sm22_a_prefix_is_verified_once() -> None:
    """The commander's second order reaches 1 twice in round 2: from 3 with a bad last signature,
    and well signed from 4. Its first signature is the same on both, and is verified once."""
    bogus = named(BogusFlood, round=2, signers=[0, 3], chains=1)
    two_faced = a("two-faced", faces={5: [1, 2, 3], 1000: [4]})
    traitors = {0: two_faced, 3: bogus}
    result = play("signed", 5, 2, traitors, values="numbers", default=-1, order=5)
    assert tally(result, 1) == {5.0: 1, 1000.0: 1}
    assert refused(result)[1, 3, "bad_signature"] == 1
    first_order, prefix, bad, last = 1, 1, 1, 1
    assert _verifications(result, 1) == first_order + prefix + bad + last


def test_sm23_the_signers_of_what_was_forwarded_are_not_blamed() -> None:
    for traitor in (named(Forwarder), named(Forwarder, late_ms=1)):
        result = play("signed", 5, 1, {4: traitor})
        assert obeyed(result) == {1: A, 2: A, 3: A}
        assert {sender for _, sender, _ in refused(result)} == {4}
        assert sum(refused(result).values()) == 6


def _verifications(result: Result, general: GeneralId) -> int:
    closed = result.transcript.records[general].closed
    assert closed is not None
    return closed.verifications


def _frames(datas: Iterable[bytes]) -> list[Any]:
    from node.wire import decode

    return [decode(data) for data in datas]


def _orders(frame: Any) -> tuple[Any, ...]:
    return getattr(frame.body, "orders", ())
