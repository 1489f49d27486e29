"""SM(m): signed messages (Lamport, Shostak, Pease 1982, section 4)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from node.effects import Accuse, Note, Reason, Refuse
from node.messages import Empty, Oral, Signed, SignedOrder
from node.orders import ATTACK, RETREAT, Domain, Enumerated, GeneralId, Numbers, Value
from node.protocols.signed import SignedMessages
from node.signatures import Chains, Signer
from tests.field import Field, OnTheWay

ORDERS = Enumerated()
COLOURS = Enumerated(values=("red", "green", "blue", "grey"), default="grey")
RUN = b"run of SM".ljust(32, b".")
GENERALS_MAX = 8
SIGNERS = {general: Signer(bytes([general + 1]) * 32) for general in range(GENERALS_MAX)}


class War:
    """SM(m) among n generals, with everyone's keys at hand, for the traitors among them."""

    def __init__(
        self,
        n: int,
        m: int,
        order: Value = ATTACK,
        *,
        commander: GeneralId = 0,
        domain: Domain = ORDERS,
    ) -> None:
        publics = {general: SIGNERS[general].public for general in range(n)}
        self.commander, self.domain = commander, domain
        self.chains = {general: Chains(RUN, "signed", publics) for general in range(n)}
        self.parts = {
            me: SignedMessages(
                me=me,
                n=n,
                m=m,
                commander=commander,
                domain=domain,
                verify=self.chains[me].verify,
                order=order if me == commander else None,
            )
            for me in range(n)
        }

    def play(self, lie: OnTheWay = lambda round, sender, receiver, body: body) -> Field:
        """`lie` is what a sender says; every signature he can give is added afterwards."""

        def on_the_way(round: int, sender: int, receiver: int, body: Any) -> Any:
            return self.sealed(sender, lie(round, sender, receiver, body))

        return Field(self.parts, on_the_way).play()

    def sealed(self, sender: GeneralId, body: Any) -> Any:
        """A body with the sender's own signatures, as a general adds them."""
        if not isinstance(body, Signed):
            return body
        key = {sender: SIGNERS[sender]}
        chains = self.chains[sender]
        orders = (chains.complete(o, self.commander, key) for o in body.orders)
        return msgspec.structs.replace(body, orders=tuple(orders))

    def order(self, value: Value, *signers: GeneralId) -> SignedOrder:
        """v:0:j1..jk, truly signed by all of them."""
        blank = SignedOrder(self.domain.token(value), signers, ())
        return self.chains[0].complete(blank, self.commander, SIGNERS)

    def accepted(self, general: GeneralId, *rounds: dict[GeneralId, Any]) -> list[Any]:
        """What one general makes of what he hears, round by round."""
        part = self.parts[general]
        effects: list[Any] = []
        for round, heard in enumerate(rounds, start=1):
            part.say(round)
            effects += part.hear(round, heard)
        return effects


def signed(*orders: SignedOrder) -> Signed:
    return Signed(orders)


def names(body: Any) -> list[str]:
    """The orders of a body as the paper writes them."""
    return [str(order).replace('"', "") for order in getattr(body, "orders", ())]


# SM-1.


def test_sm_1_the_commander_signs_and_sends_his_order_to_every_lieutenant() -> None:
    (send,) = War(4, 1).parts[0].say(1)
    assert (send.to, names(send.body), send.rule) == ((1, 2, 3), ["attack:0"], "SM-1")


def test_sm_1_the_commander_speaks_once_hears_nobody_and_obeys_himself() -> None:
    commander = War(4, 1, commander=2).parts[2]
    commander.say(1)
    assert commander.say(2) == []
    assert [commander.speakers(round) for round in (1, 2)] == [frozenset(), frozenset()]
    assert commander.decide().value == ATTACK


# SM-2.


def test_sm_2_a_lieutenant_with_nothing_yet_adds_his_name_and_sends_it_to_all_others() -> None:
    war = War(4, 1)
    war.accepted(1, {0: signed(war.order(ATTACK, 0))})
    (send,) = war.parts[1].say(2)
    assert (send.to, names(send.body), send.messages) == ((2, 3), ["attack:0:1"], 1)
    assert send.rule == "SM-2"


def test_sm_2_a_new_order_is_relayed_to_those_not_on_its_chain_and_to_no_one_else() -> None:
    war = War(5, 2)
    war.accepted(1, {}, {3: signed(war.order(ATTACK, 0, 3))})
    sends = {to: names(send.body) for send in war.parts[1].say(3) for to in send.to}
    assert sends == {2: ["attack:0:3:1"], 3: [], 4: ["attack:0:3:1"]}


def test_sm_2_an_order_already_in_v_is_not_relayed_again() -> None:
    war = War(4, 2)
    attack_twice = ({0: signed(war.order(ATTACK, 0))}, {2: signed(war.order(ATTACK, 0, 2))})
    war.accepted(1, *attack_twice)
    assert [(send.to, send.body, send.messages) for send in war.parts[1].say(3)] == [
        ((2, 3), Empty(), 0)
    ]


def test_sm_2_nothing_is_relayed_once_a_chain_has_m_lieutenants() -> None:
    field = War(5, 1).play()
    assert max(frame.round for frame in field.frames) == 2
    assert {part.rounds for part in field.parts.values()} == {2}


def test_sm_2_nothing_ever_goes_back_to_one_who_signed_it() -> None:
    """Whatever a two-faced commander signs: of every frame, the receiver is on no chain in it."""
    field = War(6, 3).play(two_faced({1: ATTACK, 2: ATTACK, 3: RETREAT, 4: RETREAT, 5: ATTACK}))
    chains = [
        (frame, order)
        for frame in field.frames
        for order in getattr(frame.body, "orders", ())
        if frame.round > 1
    ]
    assert len(chains) > 20
    for frame, order in chains:
        assert frame.receiver not in order.signers
        assert (order.signers[0], order.signers[-1]) == (0, frame.sender)
        assert len(set(order.signers)) == len(order.signers) == frame.round


def test_sm_2_at_most_two_values_are_kept_and_relayed() -> None:
    """Dolev and Strong 1983: with two, choice is fixed whatever the others are."""
    war = War(5, 2, "red", domain=COLOURS)
    many = signed(*(war.order(value, 0) for value in ("red", "green", "blue")))
    effects = war.accepted(1, {0: many})
    assert [e for e in effects if isinstance(e, Note)] == [
        Note("accepted red:0", rule="SM-2"),
        Note("accepted green:0", rule="SM-2"),
    ]
    (send,) = war.parts[1].say(2)
    assert names(send.body) == ["red:0:1", "green:0:1"]
    assert war.parts[1].decide().value == "grey"


def test_sm_2_a_third_value_costs_no_verification() -> None:
    war = War(5, 2, "red", domain=COLOURS)
    values = [war.order(value, 0) for value in ("red", "green", "blue")]
    war.accepted(1, {0: signed(*values)})
    assert war.chains[1].verifications == 2


# A round-r order carries exactly r distinct signatures.


def faults() -> Iterable[tuple[str, int, tuple[GeneralId, ...], Reason]]:
    """Of the orders that traitor 3 gives to general 1: the round, the signers, why not."""
    yield "too short for its round", 3, (0, 3), Reason.CHAIN_LENGTH
    yield "too long for its round", 2, (0, 2, 3), Reason.CHAIN_LENGTH
    yield "padded with a second signature of one signer", 3, (0, 3, 3), Reason.REPEATED_SIGNER
    yield "begun by another than the commander", 2, (2, 3), Reason.NOT_COMMANDER
    yield "of the commander alone in round 2", 2, (0,), Reason.CHAIN_LENGTH
    yield "with the receiver on it", 3, (0, 1, 3), Reason.SELF_IN_CHAIN
    yield "not signed by its sender", 2, (0, 2), Reason.NOT_SENDER
    yield "with a signer whom nobody knows", 2, (0, 99), Reason.UNKNOWN_SIGNER
    yield "with a signer below zero", 2, (0, -1), Reason.UNKNOWN_SIGNER


@pytest.mark.parametrize(
    ("round", "signers", "reason"),
    [fault[1:] for fault in faults()],
    ids=[fault[0] for fault in faults()],
)
def test_an_order_whose_chain_does_not_fit_its_round_is_refused_before_any_verification(
    round: int, signers: tuple[GeneralId, ...], reason: Reason
) -> None:
    war = War(4, 2)
    order = SignedOrder(ORDERS.token(RETREAT), signers, (bytes(64),) * len(signers))
    before: list[dict[GeneralId, Any]] = [{} for _ in range(round - 1)]
    effects = war.accepted(1, *before, {3: signed(order)})
    assert effects == [Refuse(3, reason, rule="SM-2")]
    assert war.chains[1].verifications == 0
    assert war.parts[1].decide().tally == ()


@pytest.mark.parametrize("signatures", [(), (bytes(64),), (bytes(64),) * 3])
def test_an_order_without_a_signature_for_each_signer_is_refused(
    signatures: tuple[bytes, ...],
) -> None:
    war = War(4, 1)
    order = SignedOrder(ORDERS.token(RETREAT), (0, 3), signatures)
    assert war.accepted(1, {}, {3: signed(order)}) == [Refuse(3, Reason.BAD_SHAPE, rule="SM-2")]


@pytest.mark.parametrize("token", [b"", b'"charge"', b"attack", b'"\xff"', b'"attack" ', b"1"])
def test_a_value_outside_the_domain_is_refused_however_well_it_is_signed(token: bytes) -> None:
    war = War(4, 1)
    order = war.chains[0].complete(SignedOrder(token, (0,), ()), 0, SIGNERS)
    effects = war.accepted(1, {0: signed(order)})
    assert effects == [Refuse(0, Reason.BAD_VALUE, rule="SM-2")]


def test_a_body_that_is_neither_signed_nor_empty_is_refused() -> None:
    effects = War(4, 1).accepted(1, {0: Oral(b"\0")})
    assert effects == [Refuse(0, Reason.BAD_SHAPE, rule="SM-2")]


def test_a4_an_altered_value_under_good_signatures_is_refused() -> None:
    war = War(4, 1)
    altered = msgspec.structs.replace(war.order(ATTACK, 0, 3), token=ORDERS.token(RETREAT))
    effects = war.accepted(1, {0: signed(war.order(ATTACK, 0))}, {3: signed(altered)})
    assert Refuse(3, Reason.BAD_SIGNATURE, rule="SM-2") in effects
    assert war.parts[1].decide().value == ATTACK


def test_after_one_bad_signature_the_rest_of_its_frame_is_left_unread() -> None:
    """A flood of bogus chains costs one verification a frame."""
    war = War(4, 1)
    bogus = SignedOrder(ORDERS.token(RETREAT), (0,), (bytes(64),))
    flood = signed(*(bogus for _ in range(1000)), war.order(ATTACK, 0))
    effects = war.accepted(1, {0: flood})
    assert effects == [Refuse(0, Reason.BAD_SIGNATURE, rule="SM-2")]
    assert war.chains[1].verifications == 1


@pytest.mark.parametrize("token", [b"-0.0", b"0", b"1e0", b"1", b"1.00", b"null", b"NaN", b"1e999"])
def test_a_number_has_one_spelling_under_a_signature(token: bytes) -> None:
    war = War(4, 1, 1.0, domain=Numbers())
    order = war.chains[0].complete(SignedOrder(token, (0,), ()), 0, SIGNERS)
    assert war.accepted(1, {0: signed(order)}) == [Refuse(0, Reason.BAD_VALUE, rule="SM-2")]
    assert Numbers().read(b"1.0") == 1.0
    assert Numbers().token(-0.0) == b"0.0"


# SM-3.


def test_sm_3_the_only_order_in_v_is_obeyed() -> None:
    field = War(4, 1).play()
    assert set(field.values().values()) == {ATTACK}
    assert {decision.rule for decision in field.decisions.values()} == {"SM-3"}


def test_sm_3_an_empty_v_is_a_retreat() -> None:
    field = War(4, 1).play(lambda round, sender, to, body: None if sender == 0 else body)
    assert {field.values()[i] for i in (1, 2, 3)} == {RETREAT}


@pytest.mark.parametrize("default", [ATTACK, RETREAT])
def test_sm_3_of_two_orders_choice_is_the_default_never_one_of_the_two_by_itself(
    default: Value,
) -> None:
    war = War(4, 1, domain=Enumerated(default=default))
    field = war.play(two_faced({1: ATTACK, 2: RETREAT, 3: ATTACK}))
    assert {field.values()[i] for i in (1, 2, 3)} == {default}


def test_sm_3_an_order_that_comes_by_another_way_only_is_obeyed_too() -> None:
    field = War(4, 1).play(lambda round, sender, to, body: None if (sender, to) == (0, 2) else body)
    assert field.values() == {0: ATTACK, 1: ATTACK, 2: ATTACK, 3: ATTACK}


def test_sm_m_serves_another_commander_than_general_0() -> None:
    field = War(5, 2, commander=3).play()
    assert set(field.values().values()) == {ATTACK}


# What it costs.


@pytest.mark.parametrize(
    ("n", "m", "by_round"), [(4, 1, [3, 6]), (7, 2, [6, 30, 0]), (3, 1, [2, 2])]
)
def test_case_r14_messages_of_a_loyal_run(n: int, m: int, by_round: list[int]) -> None:
    field = War(n, m).play()
    assert field.messages() == by_round


def test_a_silent_round_still_has_its_frames_one_a_pair() -> None:
    field = War(7, 2).play()
    pairs = [[(f.sender, f.receiver) for f in field.frames if f.round == r] for r in (1, 2, 3)]
    assert [len(round) for round in pairs] == [6, 30, 30]
    assert all(len(set(round)) == len(round) for round in pairs)


@pytest.mark.parametrize(("n", "m"), [(4, 1), (7, 2), (8, 6)])
def test_under_a_loyal_commander_a_lieutenant_verifies_one_signature(n: int, m: int) -> None:
    war = War(n, m)
    war.play()
    assert {war.chains[i].verifications for i in range(1, n)} == {1}


@pytest.mark.parametrize("m", [1, 2, 4])
def test_under_a_two_faced_commander_a_lieutenant_verifies_at_most_three(m: int) -> None:
    """His order, then the other one and its relay: after that V is full."""
    for faces in itertools.product((ATTACK, RETREAT), repeat=5):
        war = War(6, m)
        war.play(two_faced(dict(zip(range(1, 6), faces, strict=True))))
        assert max(war.chains[i].verifications for i in range(1, 6)) <= 3


# Proof against the commander.


def test_two_orders_of_the_commander_are_proof_against_him_for_anyone() -> None:
    """Case R13: V is {attack, retreat} at both, both retreat, and 4 messages were sent."""
    war = War(3, 1)
    field = war.play(two_faced({1: ATTACK, 2: RETREAT}))
    assert [field.values()[i] for i in (1, 2)] == [RETREAT, RETREAT]
    assert [dict(field.decisions[i].tally) for i in (1, 2)] == [{ATTACK: 1, RETREAT: 1}] * 2
    assert sum(field.messages()) == 4
    anyone = Chains(RUN, "signed", {0: SIGNERS[0].public})
    for lieutenant in (1, 2):
        (accusation,) = field.accusations(lieutenant)
        assert (accusation.culprit, accusation.instance, accusation.rule) == (0, 0, "SM-2")
        assert {order.token for order in accusation.proof} == {b'"attack"', b'"retreat"'}
        assert all(order.signers == (0,) for order in accusation.proof)
        assert all(anyone.verify(order, 0) for order in accusation.proof)


def test_nobody_accuses_a_loyal_commander_whatever_his_lieutenants_forge() -> None:
    war = War(4, 1)

    def forge(round: int, sender: int, receiver: int, body: Any) -> Any:
        if sender != 3 or round != 2:
            return body
        true = war.order(ATTACK, 0)
        return signed(
            msgspec.structs.replace(true, token=b'"retreat"', signers=(0, 3)),
            SignedOrder(b'"retreat"', (0, 3), (SIGNERS[3].sign(b"", b""), bytes(64))),
        )

    field = war.play(forge)
    assert [field.accusations(i) for i in (1, 2)] == [[], []]
    assert [field.values()[i] for i in (1, 2)] == [ATTACK, ATTACK]


# At the bound, and one below it.


def test_case_r15_an_order_shown_to_one_in_round_2_reaches_all_in_round_3() -> None:
    war = War(4, 2)
    field = war.play(two_traitors(war))
    assert [field.values()[i] for i in (1, 2)] == [RETREAT, RETREAT]


def test_case_r16_with_m_1_two_traitors_divide_the_loyal() -> None:
    war = War(4, 1)
    field = war.play(two_traitors(war))
    assert [field.values()[i] for i in (1, 2)] == [RETREAT, ATTACK]


def two_faced(faces: dict[GeneralId, Value]) -> OnTheWay:
    """A commander who signs another order for each lieutenant."""

    def lie(round: int, sender: int, receiver: int, body: Any) -> Any:
        if round != 1:
            return body
        return signed(SignedOrder(ORDERS.token(faces[receiver]), (sender,), ()))

    return lie


def two_traitors(war: War) -> OnTheWay:
    """0 signs attack to 1 and 2; with 3, whose colleague he is, retreat, which 3 gives to 1."""

    def lie(round: int, sender: int, receiver: int, body: Any) -> Any:
        if sender == 3:
            shown = (round, receiver) == (2, 1)
            return signed(war.order(RETREAT, 0, 3)) if shown else Empty()
        return body

    return lie


# The proof that goes from hand to hand.


def both_orders(war: War) -> tuple[SignedOrder, SignedOrder]:
    return war.order(ATTACK, 0), war.order(RETREAT, 0)


def test_who_finds_the_commander_out_hands_the_proof_to_all_with_his_next_frames() -> None:
    war = War(5, 2)
    first, second = both_orders(war)
    part = war.parts[1]
    part.hear(1, {0: Signed((first,))})
    (told,) = part.say(2)
    assert told.body == Signed((SignedOrder(first.token, (0, 1), first.signatures),))
    effects = part.hear(2, {2: Signed((war.order(RETREAT, 0, 2),))})
    assert Accuse(0, 0, (first, second), rule="SM-2") in effects
    sends = part.say(3)
    assert {to: len(send.body.orders) for send in sends for to in send.to} == {2: 0, 3: 1, 4: 1}
    assert all(send.body.proof == (first, second) for send in sends)
    assert [send.messages for send in sends] == [len(send.body.orders) for send in sends]


def test_the_proof_is_handed_on_once() -> None:
    war = War(6, 4)
    part = war.parts[1]
    part.hear(1, {0: Signed(both_orders(war))})
    assert [bool(send.body.proof) for send in part.say(2)] == [True]
    part.hear(2, {})
    assert {type(send.body) for send in part.say(3)} == {Empty}


def test_a_proof_that_comes_from_another_is_held_and_handed_on() -> None:
    war = War(5, 3)
    first, second = both_orders(war)
    part = war.parts[1]
    assert part.hear(2, {3: Signed((), (first, second))}) == [
        Accuse(0, 0, (first, second), rule="SM-2")
    ]
    assert part.decide().value == RETREAT, "V is as empty as before"
    assert [send.body for send in part.say(3)] == [Signed((), (first, second))]
    assert part.hear(3, {4: Signed((), (second, first))}) == [], "one proof is enough"


@pytest.mark.parametrize(
    "proof",
    [
        lambda war: (war.order(ATTACK, 0),),
        lambda war: (war.order(ATTACK, 0), war.order(ATTACK, 0)),
        lambda war: (*both_orders(war), war.order(ATTACK, 0)),
        lambda war: (war.order(ATTACK, 0), war.order(RETREAT, 2)),
        lambda war: (war.order(ATTACK, 2), war.order(RETREAT, 2)),
        lambda war: (war.order(ATTACK, 0, 2), war.order(RETREAT, 0, 2)),
        lambda war: (
            war.order(ATTACK, 0),
            msgspec.structs.replace(war.order(ATTACK, 0), token=ORDERS.token(RETREAT)),
        ),
    ],
)
def test_what_is_no_proof_is_refused(proof: Any) -> None:
    war = War(5, 2)
    part = war.parts[1]
    refusal = Refuse(3, Reason.BAD_PROOF, rule="SM-2")
    assert part.hear(2, {3: Signed((), proof(war))}) == [refusal]
    assert part.say(3)[0].body == Empty()


def test_a_proof_changes_no_count_of_the_paper() -> None:
    """R13: whoever finds him out in the last round has nobody to tell any more."""
    from tests.stage import a, messages, play

    faces = a("two-faced", faces={ATTACK: [1], RETREAT: [2]})
    assert messages(play("signed", 3, 1, {0: faces})) == [2, 2]
    result = play("signed", 5, 3, {0: a("two-faced", faces={ATTACK: [1, 3], RETREAT: [2, 4]})})
    # Round 2: everyone tells 3 others. Round 3: what was new, to those who did not sign it.
    assert messages(result) == [4, 12, 8, 0]
    assert result.audit.proofs == {0: 4}
    assert result.audit.is_clean
