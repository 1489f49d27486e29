"""One exchange of values, and interactive consistency, which mends what an exchange cannot.

Lamport, Shostak, Pease 1982, section 1; Pease, Shostak, Lamport 1980.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from node.effects import Reason, Refuse
from node.messages import Bundle, Empty, Oral, Signed, SignedOrder
from node.orders import (
    ATTACK,
    RETREAT,
    Brief,
    Combiner,
    Domain,
    Enumerated,
    GeneralId,
    Numbers,
    Value,
)
from node.protocols import catalogue
from node.protocols.exchange import Exchange
from node.signatures import Chains, Signer
from tests.field import Field, OnTheWay

ORDERS = Enumerated()
SENSORS = Numbers()
RUN = b"run of IC".ljust(32, b".")
SIGNERS = {general: Signer(bytes([general + 1]) * 32) for general in range(7)}


def said(domain: Domain, *values: Value) -> Oral:
    return Oral(domain.pack(np.array([domain.code(v) for v in values], dtype=domain.dtype)))


def exchange(
    values: Sequence[Value], combiner: Combiner, domain: Domain = ORDERS
) -> dict[GeneralId, Exchange]:
    n = len(values)
    return {
        me: Exchange(me=me, n=n, domain=domain, combiner=combiner, value=value)
        for me, value in enumerate(values)
    }


def consistency(
    over: str,
    values: Sequence[Value],
    m: int = 1,
    combiner: Combiner = Combiner.VECTOR,
    domain: Domain = ORDERS,
) -> dict[GeneralId, Any]:
    publics = {general: SIGNERS[general].public for general in range(len(values))}
    brief = {
        me: Brief(
            protocol="interactive-consistency",
            over=over,
            n=len(values),
            m=m,
            commander=None,
            combiner=combiner,
            domain=domain,
            value=value,
        )
        for me, value in enumerate(values)
    }
    return {me: catalogue.build(me, brief[me], Chains(RUN, over, publics)) for me in brief}


def play(parts: Mapping[GeneralId, Any], lie: OnTheWay = lambda r, s, to, body: body) -> Field:
    """With each sender's own signature added to what he says in every instance."""
    chains = Chains(RUN, "signed", {})

    def sealed(sender: GeneralId, part: Any, instance: int) -> Any:
        if not isinstance(part, Signed):
            return part
        key = {sender: SIGNERS[sender]}
        return Signed(tuple(chains.complete(order, instance, key) for order in part.orders))

    def on_the_way(round: int, sender: int, to: int, body: Any) -> Any:
        body = lie(round, sender, to, body)
        if not isinstance(body, Bundle):
            return body
        return Bundle(tuple(sealed(sender, part, i) for i, part in enumerate(body.parts)))

    return Field(parts, on_the_way).play()


# EX-1 and EX-2.


def test_ex_1_each_general_sends_his_value_to_every_other_in_one_round() -> None:
    field = Field(exchange([ATTACK, RETREAT, ATTACK], Combiner.MAJORITY)).play()
    assert {(f.sender, f.receiver, f.body, f.rule) for f in field.frames} == {
        (me, to, said(ORDERS, RETREAT if me == 1 else ATTACK), "EX-1")
        for me in range(3)
        for to in range(3)
        if to != me
    }
    assert field.messages() == [6]


def test_ex_1_everyone_is_heard_by_everyone_but_himself() -> None:
    parts = exchange([ATTACK] * 4, Combiner.MAJORITY)
    assert [parts[me].speakers(1) for me in (0, 2)] == [{1, 2, 3}, {0, 1, 3}]


def test_ex_2_he_combines_his_own_value_with_what_he_heard() -> None:
    part = exchange([ATTACK, RETREAT, ATTACK], Combiner.MAJORITY)[0]
    part.hear(1, {1: said(ORDERS, RETREAT), 2: said(ORDERS, ATTACK)})
    decision = part.decide()
    assert (decision.value, dict(decision.tally), decision.rule) == (
        ATTACK,
        {ATTACK: 2, RETREAT: 1},
        "EX-2",
    )


def test_ex_2_whom_he_did_not_hear_counts_as_the_default() -> None:
    part = exchange([ATTACK, ATTACK, ATTACK], Combiner.MAJORITY)[0]
    part.hear(1, {2: said(ORDERS, ATTACK)})
    assert dict(part.decide().tally) == {ATTACK: 2, RETREAT: 1}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (Oral(b""), Reason.BAD_SHAPE),
        (Empty(), Reason.BAD_SHAPE),
        (Oral(b"\x01"), Reason.NONCANONICAL),
    ],
)
def test_ex_2_nonsense_is_refused_and_counts_as_the_default(body: Any, reason: Reason) -> None:
    part = exchange([ATTACK, ATTACK, ATTACK], Combiner.MAJORITY)[0]
    assert part.hear(1, {1: body}) == [Refuse(1, reason, rule="EX-2")]
    assert dict(part.decide().tally) == {ATTACK: 1, RETREAT: 2}


def test_ex_2_an_exchange_divides_the_loyal_where_one_is_two_faced() -> None:
    """Case R17, first half: C says 9 to A and 12 to B, whose sensors read 10 and 11."""
    faces = {0: 9.0, 1: 12.0}
    parts = exchange([10.0, 11.0, 10.5], Combiner.MEDIAN, SENSORS)
    field = play(parts, lambda r, s, to, body: said(SENSORS, faces[to]) if s == 2 else body)
    assert [field.values()[i] for i in (0, 1)] == [10.0, 11.0]


# Interactive consistency.

TRIO: list[Value] = ["red", "green", "blue"]
COLOURS = Enumerated(values=("red", "green", "blue", "grey"), default="grey")


@pytest.mark.parametrize("over", ["oral", "signed"])
def test_ic_the_vector_holds_each_loyal_generals_own_value(over: str) -> None:
    values: list[Value] = ["red", "green", "blue", "red"]
    field = play(consistency(over, values, domain=COLOURS))
    assert {tuple(v) for v in field.values().values()} == {tuple(values)}


@pytest.mark.parametrize("over", ["oral", "signed"])
def test_ic_all_loyal_hold_the_same_vector_and_it_is_true_of_the_loyal(over: str) -> None:
    """Traitor 3 says red to even generals and green to odd ones, of everyone's value."""
    values: list[Value] = ["red", "green", "blue", "red"]
    field = play(consistency(over, values, domain=COLOURS), by_parity(3))
    vectors = {field.values()[i] for i in (0, 1, 2)}
    assert len(vectors) == 1
    assert vectors.pop()[:3] == ("red", "green", "blue")


def test_ic_two_faced_and_signed_his_own_entry_is_the_default() -> None:
    """Case R17, second half: the same vector and the same median at both."""
    parts = consistency("signed", [10.0, 11.0, 10.5], combiner=Combiner.MEDIAN, domain=SENSORS)
    field = play(parts, signs({0: 9.0, 1: 12.0}, traitor=2))
    assert [field.values()[i] for i in (0, 1)] == [10.0, 10.0]
    assert {field.decisions[i].tally for i in (0, 1)} == {((0.0, 1), (10.0, 1), (11.0, 1))}
    assert [field.accusations(i)[0].culprit for i in (0, 1)] == [2, 2]


@pytest.mark.parametrize(
    ("combiner", "decision"),
    [
        (Combiner.VECTOR, (ATTACK, ATTACK, RETREAT, ATTACK)),
        (Combiner.MAJORITY, ATTACK),
        (Combiner.MEDIAN, ATTACK),
    ],
)
@pytest.mark.parametrize("over", ["oral", "signed"])
def test_ic_a_combiner_reads_the_vector(over: str, combiner: Combiner, decision: object) -> None:
    field = play(consistency(over, [ATTACK, ATTACK, RETREAT, ATTACK], combiner=combiner))
    assert set(field.values().values()) == {decision}
    assert field.decisions[0].tally == ((ATTACK, 3), (RETREAT, 1))
    assert field.decisions[0].rule == "IC"


def test_ic_all_instances_travel_in_one_frame_a_round_sender_and_receiver() -> None:
    field = play(consistency("oral", [ATTACK] * 4))
    pairs = [(f.round, f.sender, f.receiver) for f in field.frames]
    assert len(pairs) == len(set(pairs)) == 2 * 4 * 3
    assert all(len(frame.body.parts) == 4 for frame in field.frames)
    assert field.messages() == [4 * 3, 4 * 6]


def test_ic_each_frame_names_the_rules_that_spoke_in_it() -> None:
    field = play(consistency("signed", [ATTACK] * 3))
    assert [{f.rule for f in field.frames if f.round == r} for r in (1, 2)] == [{"SM-1"}, {"SM-2"}]


def test_ic_a_part_of_one_who_has_no_say_in_an_instance_is_refused() -> None:
    """In round 1 only general 1 may speak of his own order, and traitor 3 speaks of it too."""
    part = consistency("oral", [RETREAT] * 4)[0]
    of_everyone = Bundle((Empty(), said(ORDERS, ATTACK), Empty(), said(ORDERS, ATTACK)))
    assert part.hear(1, {3: of_everyone}) == [Refuse(3, Reason.NOT_AWAITED, rule="IC")]
    (to_2,) = (send for send in part.say(2) if send.to == (2,))
    assert to_2.body.parts == (Empty(), said(ORDERS, RETREAT), Empty(), said(ORDERS, ATTACK))


@pytest.mark.parametrize("over", ["oral", "signed"])
@pytest.mark.parametrize(
    "body",
    [
        Bundle(()),
        Bundle((Empty(),) * 3),
        Bundle((Empty(),) * 5),
        Empty(),
        Oral(b"\0"),
        Signed(()),
    ],
    ids=["no parts", "one too few", "one too many", "empty", "oral", "signed"],
)
def test_ic_what_is_no_bundle_of_n_parts_is_refused_whole(over: str, body: Any) -> None:
    part = consistency(over, [ATTACK] * 4)[0]
    part.say(1)
    refusals = part.hear(1, {3: body})
    assert refusals == [Refuse(3, Reason.BAD_SHAPE, rule="IC")]


def test_ic_a_signature_in_one_instance_is_none_in_another() -> None:
    """Traitor 2 gives general 1's own signed order out as general 0's."""
    publics = {general: SIGNERS[general].public for general in range(3)}
    chains = Chains(RUN, "signed", publics)
    order = chains.complete(SignedOrder(ORDERS.token(ATTACK), (0,), ()), 1, SIGNERS)
    part = consistency("signed", [RETREAT] * 3)[1]
    assert part.hear(1, {0: Bundle((Signed((order,)), Empty(), Empty()))}) == [
        Refuse(0, Reason.BAD_SIGNATURE, rule="SM-2")
    ]


def by_parity(traitor: GeneralId) -> OnTheWay:
    """Red to even generals and green to odd ones: signed by the traitor as far as he can."""

    def told(part: Any, to: GeneralId) -> Any:
        value = "green" if to % 2 else "red"
        match part:
            case Oral(values):
                return said(COLOURS, *[value] * len(values))
            case Signed(orders):
                token = COLOURS.token(value)
                return Signed(tuple(SignedOrder(token, o.signers, o.signatures) for o in orders))
            case _:
                return part

    def lie(round: int, sender: int, to: int, body: Any) -> Any:
        if sender != traitor:
            return body
        return Bundle(tuple(told(part, to) for part in body.parts))

    return lie


def signs(faces: Mapping[GeneralId, Value], traitor: GeneralId) -> OnTheWay:
    """A traitor who signs another value of his own for each general, and relays truly."""

    def lie(round: int, sender: int, to: int, body: Any) -> Any:
        if (round, sender) != (1, traitor):
            return body
        order = SignedOrder(SENSORS.token(faces[to]), (traitor,), ())
        parts = list(body.parts)
        parts[traitor] = Signed((order,))
        return Bundle(tuple(parts))

    return lie
