"""One whole general: the barrier, what he refuses, what he signs, and what he enters."""

from __future__ import annotations

from typing import Any, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from node import wire
from node.control import Role, Roster, run_id
from node.effects import CancelTimer, Decide, Effect, Halt, Reason, Send, SetTimer
from node.events import Event, Started
from node.general import (
    ECHOES_MAX,
    OUT_OF_PLACE_BYTES_KEPT,
    REFUSALS_ENTERED,
    Deliver,
    General,
)
from node.journal import Began, Closed, Heard, LedgerLine, Noted, Opened, Refused, Said, Woke
from node.messages import Conspire, Echo, Empty, Frame, Oral, Probe, Signed, SignedOrder
from node.orders import ATTACK, RETREAT, Brief
from node.rounds import DEADLINE
from node.signatures import Chains, Signer
from node.traitors import Power, Strategy
from tests.camp import DELTA_S, Camp, secret_of
from tests.unit.test_wire import strategy_for

bodies = strategy_for(inspect.type_info(get_type_hints(Frame)["body"]))

OTHER_RUN = b"another run".ljust(32, b".")


def oral(camp: Camp, round: int = 1, values: bytes = b"\x80") -> bytes:
    return wire.encode(Frame(camp.run, round, Oral(values)))


def entries(general: General, kind: type) -> list[Any]:
    return [entry for entry in general.journal.entries if isinstance(entry, kind)]


# Enlisting.


def test_a_roster_without_his_own_key_is_refused() -> None:
    camp = Camp()
    brief = Brief(protocol="oral", n=4, m=1)
    with pytest.raises(ValueError, match="does not hold general 1's own key"):
        General(secret_of(2)).enlist(camp.muster_of(1, brief))
    with pytest.raises(ValueError, match="does not hold general 9's own key"):
        General(secret_of(1)).enlist(camp.muster_of(9, brief))


def roster_with(camp: Camp, general: int, key: bytes) -> Roster:
    """The camp's roster with another key in one line."""
    return Roster(
        tuple(
            msgspec.structs.replace(line, signing_public=key) if line.general == general else line
            for line in camp.roster.generals
        )
    )


def test_sm18_a_roster_in_which_two_generals_share_a_key_or_a_number_is_refused() -> None:
    camp = Camp()
    shared_key = roster_with(camp, 3, camp[2].signer.public)
    first, *rest = camp.roster.generals
    shared_number = Roster((first, msgspec.structs.replace(first, signing_public=b"?"), *rest))
    for roster in (shared_key, shared_number):
        muster = camp.muster_of(1, Brief(protocol="oral", n=4, m=1))
        with pytest.raises(ValueError, match="share a number or a key"):
            General(secret_of(1)).enlist(msgspec.structs.replace(muster, roster=roster))


@pytest.mark.parametrize("key", [b"", bytes(32), bytes([2]) * 32, b"\xff" * 33])
def test_a_roster_with_a_key_that_is_none_is_refused(key: bytes) -> None:
    camp = Camp()
    muster = camp.muster_of(1, Brief(protocol="oral", n=4, m=1))
    forged = msgspec.structs.replace(muster, roster=roster_with(camp, 3, key))
    with pytest.raises(ValueError, match="general 3's key in the roster is no Ed25519 key"):
        General(secret_of(1)).enlist(forged)


def test_without_a_secret_a_general_makes_a_key_of_his_own() -> None:
    assert General().signer.public != General().signer.public


def test_sm18_the_run_id_commits_to_every_key_in_the_roster_and_to_scenario_and_nonce() -> None:
    roster = Camp().roster
    *rest, _ = roster.generals
    other_key = roster_with(Camp(), 3, Signer(bytes([99]) * 32).public)
    run = run_id(roster, b"scenario", b"nonce")
    assert run == run_id(roster, b"scenario", b"nonce")
    for other in (
        run_id(other_key, b"scenario", b"nonce"),
        run_id(Roster(tuple(rest)), b"scenario", b"nonce"),
        run_id(roster, b"scenari", b"nonce"),
        run_id(roster, b"scenario", b"other"),
        run_id(roster, b"scenarion", b"once"),
    ):
        assert other != run


def test_his_journal_opens_with_who_he_is_and_which_run_and_brief() -> None:
    camp = Camp(roles={3: Role(strategy="flip")})
    (opened,) = camp[1].journal.entries
    assert isinstance(opened, Opened)
    assert (opened.general, opened.run, opened.strategy) == (1, camp.run, None)
    assert camp[3].journal.entries[0].strategy == "flip"


# The barrier.


def test_he_probes_every_peer_and_is_ready_when_all_have_echoed() -> None:
    camp = Camp()
    assert camp[1].muster() == [Deliver((0, 2, 3), wire.encode(Probe(camp.run)))]
    for peer, missing in ((3, (0, 2)), (0, (2,)), (2, ())):
        assert not camp[1].is_ready
        assert camp[1].receive(peer, wire.encode(Echo(camp.run)), 0.0) == []
        assert camp[1].missing == missing
    assert camp[1].is_ready
    assert camp[1].muster() == []


def test_he_echoes_a_probe_to_its_sender_alone() -> None:
    camp = Camp()
    actions = camp[1].receive(3, wire.encode(Probe(camp.run)), 0.0)
    assert actions == [Deliver((3,), wire.encode(Echo(camp.run)))]


def test_he_echoes_so_many_probes_of_one_peer_and_no_more() -> None:
    camp = Camp()
    probe = wire.encode(Probe(camp.run))
    answered = sum(bool(camp[1].receive(3, probe, 0.0)) for _ in range(ECHOES_MAX + 5))
    assert answered == ECHOES_MAX
    assert camp.refusals(1) == {(3, Reason.QUOTA): 5}
    assert camp[1].receive(2, probe, 0.0) != []


def test_a_camp_of_generals_meets() -> None:
    camp = Camp(5).meet()
    assert all(who.is_ready for who in camp.generals.values())


# What he refuses.


@pytest.mark.parametrize("kind", [Probe, Echo])
def test_wrong_run_is_refused_whatever_the_message(kind: type) -> None:
    camp = Camp()
    assert camp[1].receive(0, wire.encode(kind(OTHER_RUN)), 0.0) == []
    assert camp[1].missing == (0, 2, 3)
    assert camp.refusals(1) == {(0, Reason.WRONG_RUN): 1}


def test_sm10_a_frame_of_another_run_is_refused_unheard() -> None:
    camp, earlier = Camp(), Camp(nonce=b"earlier")
    camp[1].receive(0, oral(earlier), 0.0)
    assert camp.refusals(1) == {(0, Reason.WRONG_RUN): 1}
    assert entries(camp[1], Heard) == []


def test_sm10_an_order_signed_in_an_earlier_run_is_refused_in_a_frame_of_this_one() -> None:
    camp, earlier = Camp(protocol="signed"), Camp(protocol="signed", nonce=b"earlier")
    (action,) = earlier[0].start(0.0)[:1]
    assert isinstance(action, Deliver)
    frame = wire.decode(action.data)
    replayed = msgspec.structs.replace(frame, run=camp.run)
    camp[1].start(0.0)
    camp[1].receive(0, wire.encode(replayed), 0.1)
    assert camp.refusals(1) == {(0, Reason.BAD_SIGNATURE): 1}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.MALFORMED),
        (b"\xc1", Reason.MALFORMED),
        (b"\xdc\0\2\1\xc4\0", Reason.NONCANONICAL),
        (bytes(wire.FRAME_BYTES_MAX + 1), Reason.OVERSIZE),
    ],
)
def test_what_is_no_message_is_refused_and_charged_to_its_sender(
    data: bytes, reason: Reason
) -> None:
    camp = Camp()
    assert camp[1].receive(2, data, 0.0) == []
    assert camp.refusals(1) == {(2, reason): 1}
    assert entries(camp[1], Refused) == [Refused(2, reason, "A1")]


def test_of_a_senders_refusals_so_many_are_entered_and_all_are_counted() -> None:
    camp = Camp()
    for _ in range(REFUSALS_ENTERED + 10):
        camp[1].receive(2, b"", 0.0)
    assert len(entries(camp[1], Refused)) == REFUSALS_ENTERED
    assert camp.refusals(1) == {(2, Reason.MALFORMED): REFUSALS_ENTERED + 10}


def test_who_was_refused_too_often_is_not_even_decoded_and_nobody_else_suffers() -> None:
    camp = Camp()
    for _ in range(2 * REFUSALS_ENTERED):
        camp[1].receive(2, b"", 0.0)
    entered = len(camp[1].journal.entries)
    assert camp[1].receive(2, wire.encode(Probe(camp.run)), 0.0) == []
    assert camp[1].receive(2, oral(camp, 2), 0.0) == []
    assert camp.refusals(1)[2, Reason.QUOTA] == 2
    assert len(camp[1].journal.entries) == entered
    assert camp[1].receive(3, wire.encode(Probe(camp.run)), 0.0) != []


def test_frames_out_of_place_cannot_fill_his_memory_and_do_not_hide_those_in_place() -> None:
    """A second frame of one round, one of no round, one of nobody, one too late: of any size."""
    camp = Camp()
    camp[1].start(0.0)
    camp[1].receive(0, oral(camp, 1), 0.1)
    large = bytes(OUT_OF_PLACE_BYTES_KEPT // 3)
    for sender, round in ((2, 9), (0, 2), (0, 1)):
        for _ in range(100):
            camp[1].receive(sender, oral(camp, round, large), 0.2)
    for values in (b"\x80", large, large, large):
        camp[1].receive(2, oral(camp, 2, values), 0.3)
    assert camp.refusals(1) == {
        (2, Reason.BAD_ROUND): 100,
        (2, Reason.DUPLICATE): 3,
        (0, Reason.NOT_AWAITED): 100,
        (0, Reason.LATE): 100,
    }
    heard = [h.data for h in entries(camp[1], Heard)]
    assert (heard[0], heard[-1]) == (oral(camp, 1), oral(camp, 2))
    assert sum(map(len, heard)) < 3 * OUT_OF_PLACE_BYTES_KEPT


@pytest.mark.parametrize("strategy", [None, "flip"])
@settings(max_examples=100)
@given(data=st.binary(max_size=100), mark=st.integers(0, 255))
def test_no_bytes_of_a_peer_ever_raise(strategy: str | None, data: bytes, mark: int) -> None:
    camp = Camp(roles={1: Role(strategy=strategy)} if strategy else None)
    camp[1].start(0.0)
    camp[1].receive(2, data, 0.1)
    camp[1].receive(2, bytes([mark]) + data, 0.1)


CAMPS = {
    "oral": {"n": 5, "m": 2},
    "signed": {"n": 5, "m": 2, "protocol": "signed"},
    "exchange": {"n": 4, "protocol": "exchange"},
    "consistency over oral": {"protocol": "interactive-consistency", "over": "oral"},
    "consistency over signed": {"protocol": "interactive-consistency", "over": "signed"},
}


@pytest.mark.parametrize("camp_of", CAMPS.values(), ids=CAMPS)
@settings(max_examples=80)
@given(data=st.data())
def test_no_mutated_frame_of_a_peer_ever_raises_and_everyone_decides(
    camp_of: dict[str, Any], data: st.DataObject
) -> None:
    """Real frames, of any round and to anyone, with some bytes changed, cut or doubled."""
    loyal = Camp(**camp_of).meet().play()
    frames = [carried for _, _, carried in loyal.carried]
    camp = Camp(**camp_of).meet()
    for _ in range(10):
        frame = bytearray(data.draw(st.sampled_from(frames)))
        for _ in range(data.draw(st.integers(0, 3))):
            frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(len(frame) - 2, len(frame)))
        camp.act(1, camp[1].receive(2, bytes(frame[:cut]), 0.0))
    camp.play()
    assert all(who.decision is not None for who in camp.generals.values())


@pytest.mark.parametrize("camp_of", CAMPS.values(), ids=CAMPS)
@given(frames=st.lists(st.tuples(st.integers(1, 3), bodies), min_size=1, max_size=8))
def test_no_well_formed_frame_of_a_peer_ever_raises_whatever_body_it_bears(
    camp_of: dict[str, Any], frames: list[tuple[int, Any]]
) -> None:
    """Bodies that the wire lets pass and no rule book of this run knows."""
    camp = Camp(**camp_of).meet()
    for sender, (round, body) in enumerate(frames):
        data = wire.encode(Frame(camp.run, round, body))
        camp.act(1, camp[1].receive(2 * (sender % 2), data, 0.0))
    camp.play()
    assert all(who.decision is not None for who in camp.generals.values())


# Conspiracies.

COALITION = (2, 3)
TRAITORS = {g: Role(strategy="silent", coalition=COALITION) for g in COALITION}


def test_traitors_of_a_coalition_hold_each_others_keys_and_are_ready_only_then() -> None:
    camp = Camp(roles=TRAITORS)
    for peer in (0, 1, 3):
        camp[2].receive(peer, wire.encode(Echo(camp.run)), 0.0)
    assert camp[2].missing == (3,)
    camp[2].receive(3, wire.encode(Conspire(camp.run, secret_of(3))), 0.0)
    assert camp[2].is_ready
    assert held(camp[2]) == {2, 3}


def test_a_traitors_key_goes_to_his_coalition_and_to_nobody_else() -> None:
    camp = Camp(5, roles=TRAITORS).meet()
    told = {
        (sender, receiver)
        for sender, receiver, data in camp.carried
        if isinstance(wire.decode(data), Conspire)
    }
    assert told == {(2, 3), (3, 2)}
    assert not any(secret_of(g) in data for g in (0, 1, 4) for _, _, data in camp.carried)


def test_a_loyal_general_never_holds_another_ones_key() -> None:
    camp = Camp(5, roles=TRAITORS).meet()
    for sender in (2, 3):
        camp[1].receive(sender, wire.encode(Conspire(camp.run, secret_of(sender))), 0.0)
    assert {g: held(camp[g]) for g in (0, 1, 4)} == {0: {0}, 1: {1}, 4: {4}}
    assert camp.refusals(1) == {(g, Reason.NOT_AWAITED): 1 for g in (2, 3)}


def test_a_traitor_takes_no_key_from_outside_his_coalition() -> None:
    camp = Camp(roles=TRAITORS)
    camp[2].receive(1, wire.encode(Conspire(camp.run, secret_of(1))), 0.0)
    assert held(camp[2]) == {2}
    assert camp.refusals(2) == {(1, Reason.NOT_AWAITED): 1}


@pytest.mark.parametrize("stranger", [0, 1, 2, 7])
def test_a_traitor_takes_no_key_but_the_senders_own(stranger: int) -> None:
    camp = Camp(roles=TRAITORS)
    camp[2].receive(3, wire.encode(Conspire(camp.run, secret_of(stranger))), 0.0)
    assert held(camp[2]) == {2}
    assert camp.refusals(2) == {(3, Reason.BAD_SIGNATURE): 1}


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_of_a_wrong_length_is_refused(length: int) -> None:
    camp = Camp(roles=TRAITORS)
    camp[2].receive(3, wire.encode(Conspire(camp.run, (secret_of(3) * 2)[:length])), 0.0)
    assert held(camp[2]) == {2}
    assert camp.refusals(2) == {(3, Reason.NOT_AWAITED): 1}


def held(general: General) -> set[int]:
    """Whose keys a general would sign with."""
    return set(general._keys)


# The run.


def test_a_run_of_loyal_generals_ends_in_one_decision() -> None:
    for protocol in ("oral", "signed"):
        camp = Camp(protocol=protocol).meet().play()
        assert camp.values() == {0: ATTACK, 1: ATTACK, 2: ATTACK, 3: ATTACK}
        assert all(who.is_done for who in camp.generals.values())
        assert all(camp.refusals(g) == {} for g in camp.generals)


def test_a_timer_that_he_did_not_set_does_not_wake_him() -> None:
    camp = Camp()
    assert camp[1].wake(DEADLINE, 0.0) == []
    camp[1].start(0.0)
    assert camp[1].wake("another", 0.0) == []
    assert entries(camp[1], Woke) == []
    assert camp[1].wake(DEADLINE, DELTA_S) != []
    assert entries(camp[1], Woke) == [Woke(DELTA_S, DEADLINE)]


def test_he_is_done_when_he_has_decided_and_no_timer_is_left() -> None:
    camp = Camp(2, 0)
    assert camp[1].start(0.0) == [SetTimer(DEADLINE, DELTA_S, rule="A3")]
    assert not camp[1].is_done
    actions = camp[1].receive(0, oral(camp), 0.1)
    assert [type(action) for action in actions] == [CancelTimer, Decide]
    assert camp[1].is_done


def test_he_is_not_done_while_a_timer_is_left_though_he_has_decided() -> None:
    """A traitor who holds frames back decides before they leave."""
    roles = {3: Role(strategy="delayer", params={"late_ms": 3000.0})}
    camp = Camp(protocol="signed", roles=roles).meet()
    camp[3].start(0.0)
    for sender, round in ((0, 1), (1, 2), (2, 2)):
        camp[3].receive(sender, wire.encode(Frame(camp.run, round, Empty())), 0.1)
    assert camp[3].decision is not None
    assert not camp[3].is_done
    for to in (1, 2):
        (action,) = camp[3].wake(f"delayer/2/{to}", 5.0)
        assert isinstance(action, Deliver)
    assert camp[3].is_done


class Revenant(Strategy):
    """A machine that crashes, and says things afterwards."""

    summary = "crashes at the start and goes on talking"
    powers = frozenset({Power.INJECT})

    def on_event(self, event: Event, effects: list[Effect]) -> list[Effect]:
        if isinstance(event, Started):
            return [Halt(rule="revenant")]
        return [Send((1,), 1, Empty(), messages=0, rule="revenant")]


def test_once_halted_his_machine_is_asked_no_more_whatever_it_would_say() -> None:
    camp = Camp(roles={3: Role(strategy=f"{__name__}:Revenant")})
    assert camp[3].start(0.0) == []
    assert camp[3].is_done
    assert camp[3].receive(0, oral(camp), 0.1) == []
    assert entries(camp[3], Said) == []


def test_a_general_who_crashed_is_done_says_nothing_more_and_is_not_decided() -> None:
    roles = {0: Role(strategy="crasher", params={"round": 1, "after": 1})}
    camp = Camp(roles=roles).meet().play()
    assert camp[0].is_done
    assert camp[0].decision is None
    assert [f.round for f in camp.frames(0)] == [1]
    assert camp[0].receive(1, oral(camp, 2), 9.0) == []
    assert camp[0].start(9.0) == []
    assert Noted("crashed", "lie:crasher") in camp[0].journal.entries
    assert {camp.values()[i] for i in (1, 2, 3)} == {RETREAT}


def test_a4_every_order_that_leaves_a_general_bears_every_signature_that_it_names() -> None:
    camp = Camp(protocol="signed").meet().play()
    verifier = Chains(camp.run, "signed", camp.roster.signing_publics())
    orders = [
        order
        for g in camp.generals
        for frame in camp.frames(g)
        for order in getattr(frame.body, "orders", ())
    ]
    assert len(orders) == 3 + 6
    assert all(verifier.verify(order, 0) for order in orders)


def test_where_another_than_general_0_commands_orders_are_signed_in_his_instance() -> None:
    camp = Camp(protocol="signed", commander=2).meet().play()
    assert set(camp.values().values()) == {ATTACK}
    (order,) = camp.frames(2, to=1)[0].body.orders
    verifier = Chains(camp.run, "signed", camp.roster.signing_publics())
    assert verifier.verify(order, 2)
    assert not verifier.verify(order, 0)


def test_a_loyal_general_adds_no_signature_but_his_own() -> None:
    """An order that lacks an earlier signature leaves him as bad as it came."""
    one = Camp(protocol="signed")[1]
    lacking = Signed((SignedOrder(b'"attack"', (0, 1), ()),))
    assert one._signed(lacking, 0) == lacking


# The ledger.


@pytest.mark.parametrize("camp_of", CAMPS.values(), ids=CAMPS)
@pytest.mark.parametrize("strategy", [None, "flip", "silent", "replayer", "delayer"])
def test_the_ledger_is_the_sum_of_all_that_was_said(
    camp_of: dict[str, Any], strategy: str | None
) -> None:
    roles = {2: Role(strategy=strategy)} if strategy else None
    camp = Camp(**camp_of, roles=roles).meet().play()
    for g, who in camp.generals.items():
        lines: dict[int, LedgerLine] = {}
        for said in entries(who, Said):
            line = lines.setdefault(said.round, LedgerLine(said.round))
            line.messages += said.messages * len(said.to)
            line.frames += len(said.to)
            line.bytes += len(said.data) * len(said.to)
        closed = who.journal.entries[-1]
        assert isinstance(closed, Closed)
        assert closed.ledger == tuple(line for _, line in sorted(lines.items()))
        assert sum(line.frames for line in closed.ledger) == len(camp.frames(g))


def test_the_ledger_of_om_1_among_four_is_a_line_a_round() -> None:
    camp = Camp().meet().play()
    size = len(oral(camp))
    assert camp[0].journal.entries[-1].ledger == (LedgerLine(1, 3, 3, 3 * size),)
    assert camp[1].journal.entries[-1].ledger == (LedgerLine(2, 2, 2, 2 * size),)


def test_his_journal_holds_every_event_in_its_order() -> None:
    camp = Camp().meet().play(start_s=5.0)
    kinds = [type(entry).__name__ for entry in camp[1].journal.entries]
    assert kinds == ["Opened", "Began", "Heard", "Said", "Heard", "Heard", "Settled", "Closed"]
    assert entries(camp[1], Began) == [Began(5.0)]
    assert [h.sender for h in entries(camp[1], Heard)] == [0, 2, 3]


def test_the_closing_entry_counts_every_refusal_and_verification() -> None:
    camp = Camp(protocol="signed").meet()
    for _ in range(3):
        camp[1].receive(3, b"", 0.0)
    camp.play()
    closed = camp[1].journal.entries[-1]
    assert isinstance(closed, Closed)
    assert closed.refusals == ((3, Reason.MALFORMED, 3),)
    assert closed.verifications == 1


def test_closing_twice_is_closing_once() -> None:
    camp = Camp().meet().play()
    before = camp.journal(1)
    camp[1].close()
    assert camp.journal(1) == before


def test_a_frame_with_nothing_in_it_fills_its_round() -> None:
    camp = Camp(3, 1, protocol="signed")
    camp[1].start(0.0)
    camp[1].receive(0, wire.encode(Frame(camp.run, 1, Empty())), 0.1)
    camp[1].receive(2, wire.encode(Frame(camp.run, 2, Empty())), 0.2)
    assert camp[1].decision is not None
    assert camp[1].decision.value == RETREAT


def test_a_frame_that_is_refused_whole_fills_its_round_as_empty() -> None:
    camp = Camp(3, 1, protocol="signed")
    camp[1].start(0.0)
    camp[1].receive(0, oral(camp, 1), 0.1)
    assert camp.refusals(1) == {(0, Reason.BAD_SHAPE): 1}
    camp[1].receive(2, oral(camp, 2), 0.2)
    assert camp[1].is_done


def test_who_has_closed_his_journal_says_nothing_more() -> None:
    """He may be asked for it before he is done: what he said afterwards would stand in none."""
    camp = Camp().meet()
    (order, *_) = camp[0].start(0.0)
    camp[1].start(0.0)
    camp[1].close()
    entries = len(camp[1].journal.entries)
    assert isinstance(order, Deliver)
    assert camp[1].receive(0, order.data, 0.1) == []
    assert camp[1].wake("deadline", 1.0) == []
    assert camp[1].decision is None
    assert len(camp[1].journal.entries) == entries
    assert camp[1].is_done
