"""OM(m): oral messages (Lamport, Shostak, Pease 1982, section 3)."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.effects import Decide, Reason, Refuse
from node.messages import Empty, Oral
from node.orders import ATTACK, RETREAT, Domain, Enumerated, GeneralId, Numbers, Value
from node.protocols import oral
from node.protocols.oral import OralMessages
from tests.field import Field, OnTheWay

BINARY = Enumerated()
COLOURS = Enumerated(values=("red", "green", "blue"), default="blue")
NUMBERS = Numbers(default=7.5)

Path = tuple[GeneralId, ...]


def parts(
    n: int, m: int, order: Value = ATTACK, commander: GeneralId = 0, domain: Domain = BINARY
) -> dict[GeneralId, OralMessages]:
    return {
        me: OralMessages(
            me=me,
            n=n,
            m=m,
            commander=commander,
            domain=domain,
            order=order if me == commander else None,
        )
        for me in range(n)
    }


def said(domain: Domain, *values: Value) -> Oral:
    codes = np.array([domain.code(value) for value in values], dtype=domain.dtype)
    return Oral(domain.pack(codes))


def flipped_by(*traitors: GeneralId) -> OnTheWay:
    """Traitors who say the opposite of everything."""

    def on_the_way(round: int, sender: int, receiver: int, body: Any) -> Any:
        if sender not in traitors or not isinstance(body, Oral):
            return body
        count = oral.values_in_frame(4, round)
        return Oral(BINARY.pack(1 - BINARY.unpack(body.values, count)))

    return on_the_way


# OM-0 to OM-3, one by one.


def test_om_0_the_commander_sends_his_order_and_each_lieutenant_uses_it() -> None:
    field = Field(parts(4, 0)).play()
    assert [(f.round, f.sender, f.receiver, f.rule) for f in field.frames] == [
        (1, 0, lieutenant, "OM-0") for lieutenant in (1, 2, 3)
    ]
    assert set(field.values().values()) == {ATTACK}
    assert {field.decisions[i].rule for i in (1, 2, 3)} == {"OM-0"}


def test_om_0_a_lieutenant_who_hears_nothing_retreats() -> None:
    field = Field(parts(4, 0), lambda r, s, to, body: None if to == 2 else body).play()
    assert field.values() == {0: ATTACK, 1: ATTACK, 2: RETREAT, 3: ATTACK}


def test_om_1_the_commander_sends_his_order_to_every_lieutenant_and_obeys_it_himself() -> None:
    commander = parts(5, 1, commander=2)[2]
    (send,) = commander.say(1)
    assert (send.to, send.body, send.rule) == ((0, 1, 3, 4), said(BINARY, ATTACK), "OM-1")
    assert commander.say(2) == []
    assert commander.decide() == Decide(value=ATTACK, tally=((ATTACK, 1),), rule="OM-1")


def test_om_1_nobody_but_the_commander_speaks_in_round_1() -> None:
    for lieutenant in (1, 2, 3):
        part = parts(4, 1)[lieutenant]
        assert part.say(1) == []
        assert part.speakers(1) == {0}


def test_om_1_the_commander_hears_nobody() -> None:
    commander = parts(4, 1)[0]
    assert [commander.speakers(round) for round in (1, 2)] == [frozenset(), frozenset()]


def test_om_2_each_lieutenant_relays_what_he_received_to_those_not_on_the_path() -> None:
    part = parts(4, 1)[1]
    part.hear(1, {0: said(BINARY, ATTACK)})
    (send,) = part.say(2)
    assert (send.to, send.body, send.rule) == ((2, 3), said(BINARY, ATTACK), "OM-2")
    assert part.speakers(2) == {2, 3}


def test_om_2_a_lieutenant_who_received_nothing_relays_the_default() -> None:
    part = parts(4, 1, domain=COLOURS, order="red")[1]
    part.hear(1, {})
    (send,) = part.say(2)
    assert send.body == said(COLOURS, "blue")


def test_om_2_acts_as_commander_of_om_m_minus_1_in_every_later_round() -> None:
    """Round 3 of OM(2): lieutenant 1 relays what each of 2..4 told him of the commander."""
    part = parts(5, 2)[1]
    part.hear(1, {0: said(BINARY, ATTACK)})
    part.hear(2, {2: said(BINARY, ATTACK), 3: said(BINARY, RETREAT), 4: said(BINARY, ATTACK)})
    (send,) = part.say(3)
    assert send.body == said(BINARY, ATTACK, RETREAT, ATTACK)
    # Each receiver is on one of the three paths, so that two messages of the paper's reach him.
    assert (send.to, send.messages) == ((2, 3, 4), 2)


def test_om_3_uses_the_majority_of_his_own_value_and_the_others() -> None:
    part = parts(4, 1)[1]
    part.hear(1, {0: said(BINARY, ATTACK)})
    part.hear(2, {2: said(BINARY, RETREAT), 3: said(BINARY, ATTACK)})
    decision = part.decide()
    assert (decision.value, decision.rule) == (ATTACK, "OM-3")
    assert dict(decision.tally) == {ATTACK: 2, RETREAT: 1}


def test_om_3_counts_the_default_for_a_lieutenant_who_said_nothing() -> None:
    part = parts(4, 1)[1]
    part.hear(1, {0: said(BINARY, ATTACK)})
    part.hear(2, {2: said(BINARY, ATTACK)})
    assert dict(part.decide().tally) == {ATTACK: 2, RETREAT: 1}


def test_om_3_a_tie_is_the_default_whichever_that_is() -> None:
    for default in (ATTACK, RETREAT):
        part = parts(5, 1, domain=Enumerated(default=default))[1]
        part.hear(1, {0: said(BINARY, ATTACK)})
        votes = zip((2, 3, 4), (ATTACK, RETREAT, RETREAT), strict=True)
        part.hear(2, {j: said(BINARY, vote) for j, vote in votes})
        assert part.decide().value == default


def test_om_3_without_a_majority_among_three_orders_the_default_is_used() -> None:
    part = parts(4, 1, domain=COLOURS, order="red")[1]
    part.hear(1, {0: said(COLOURS, "red")})
    part.hear(2, {2: said(COLOURS, "green"), 3: said(COLOURS, "blue")})
    assert part.decide().value == "blue"


# What no loyal general would say.


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (Empty(), Reason.BAD_SHAPE),
        (Oral(b""), Reason.BAD_SHAPE),
        (Oral(b"\0\0"), Reason.BAD_SHAPE),
        (Oral(b"\x03"), Reason.BAD_VALUE),
        (Oral(b"\xff"), Reason.BAD_VALUE),
    ],
)
def test_om_2_nonsense_is_refused_and_leaves_the_default(body: Empty, reason: Reason) -> None:
    part = parts(4, 1, domain=COLOURS, order="red")[1]
    assert part.hear(1, {0: body}) == [Refuse(0, reason, rule="OM-2")]
    (send,) = part.say(2)
    assert send.body == said(COLOURS, "blue")


def test_om_2_bits_beyond_the_last_value_are_refused() -> None:
    refusals = parts(4, 1)[1].hear(1, {0: Oral(b"\x81")})
    assert refusals == [Refuse(0, Reason.NONCANONICAL, rule="OM-2")]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_om_2_what_is_no_finite_number_is_refused(number: float) -> None:
    part = parts(4, 1, domain=NUMBERS, order=1.0)[1]
    refusals = part.hear(1, {0: Oral(np.array([number]).tobytes())})
    assert refusals == [Refuse(0, Reason.BAD_VALUE, rule="OM-2")]


def test_zero_is_one_number_however_it_is_spelt() -> None:
    """A traitor commander says 0.0 to one and -0.0 to the others: no two decisions may differ."""
    zeros = {1: 0.0, 2: -0.0, 3: -0.0}

    def on_the_way(round: int, sender: int, receiver: int, body: Any) -> Any:
        return Oral(np.array([zeros[receiver]]).tobytes()) if sender == 0 else body

    field = Field(parts(4, 1, 1.0, domain=NUMBERS), on_the_way).play()
    assert {str(field.values()[i]) for i in (1, 2, 3)} == {"0.0"}


# The message counts of the paper.


@pytest.mark.parametrize(
    ("n", "m", "by_round"),
    [
        (4, 1, [3, 6]),
        (7, 1, [6, 30]),
        (7, 2, [6, 30, 120]),
        (10, 3, [9, 72, 504, 3024]),
        (13, 4, [12, 132, 1320, 11880, 95040]),
    ],
)
def test_om_m_takes_as_many_messages_as_section_3_counts(
    n: int, m: int, by_round: list[int]
) -> None:
    field = Field(parts(n, m)).play()
    assert field.messages() == by_round
    assert oral.messages(n, m) == sum(by_round)


def test_om_m_counts_of_the_reference_page() -> None:
    counts = {(4, 1): 9, (7, 1): 36, (7, 2): 156, (10, 3): 3_609, (13, 4): 108_384}
    counts[16, 5] = 3_999_675
    assert {bound: oral.messages(*bound) for bound in counts} == counts


def test_om_3_with_ten_generals_travels_in_one_frame_a_round_sender_and_receiver() -> None:
    field = Field(parts(10, 3)).play()
    assert Counter(frame.round for frame in field.frames) == {1: 9, 2: 72, 3: 72, 4: 72}
    assert len({(f.round, f.sender, f.receiver) for f in field.frames}) == len(field.frames)


# Theorem 1, at the bound and below it.


def test_theorem_1_no_lie_of_one_lieutenant_among_four_breaks_anything() -> None:
    for first, second in itertools.product((ATTACK, RETREAT), repeat=2):
        lies = {1: first, 2: second}
        field = Field(parts(4, 1), told(3, 2, lies)).play()
        assert field.values() == {0: ATTACK, 1: ATTACK, 2: ATTACK, 3: ATTACK}


def test_theorem_1_no_orders_of_a_traitor_commander_of_four_divide_his_lieutenants() -> None:
    """Case R3: two attacks among three make an attack."""
    for orders in itertools.product((ATTACK, RETREAT), repeat=3):
        lies = dict(zip((1, 2, 3), orders, strict=True))
        values = Field(parts(4, 1), told(0, 1, lies)).play().values()
        majority = ATTACK if orders.count(ATTACK) >= 2 else RETREAT
        assert [values[i] for i in (1, 2, 3)] == [majority] * 3


def test_case_r4_three_generals_cannot_bear_one_traitor() -> None:
    field = Field(parts(3, 1), told(2, 2, {1: RETREAT})).play()
    assert field.values()[1] == RETREAT


def test_case_r6_two_against_two_is_a_retreat_everywhere() -> None:
    lies = {1: ATTACK, 2: ATTACK, 3: RETREAT, 4: RETREAT}
    field = Field(parts(5, 1), told(0, 1, lies)).play()
    assert {field.values()[i] for i in (1, 2, 3, 4)} == {RETREAT}
    assert all(dict(field.decisions[i].tally) == {ATTACK: 2, RETREAT: 2} for i in lies)


def test_case_r1_one_who_flips_everything_is_outvoted() -> None:
    field = Field(parts(4, 1), flipped_by(3)).play()
    assert [field.values()[i] for i in (1, 2)] == [ATTACK, ATTACK]
    assert dict(field.decisions[1].tally) == {ATTACK: 2, RETREAT: 1}


@pytest.mark.parametrize(("n", "m"), [(2, 1), (3, 2), (4, 3), (5, 4), (4, 2), (3, 1)])
def test_om_m_ends_even_where_paths_run_out_of_lieutenants(n: int, m: int) -> None:
    assert set(Field(parts(n, m)).play().values().values()) == {ATTACK}


def told(traitor: GeneralId, in_round: int, lies: dict[GeneralId, Value]) -> OnTheWay:
    """A traitor who says one value in one round to each general named."""

    def on_the_way(round: int, sender: int, receiver: int, body: Any) -> Any:
        lying = (round, sender) == (in_round, traitor) and receiver in lies
        return said(BINARY, lies[receiver]) if lying else body

    return on_the_way


# The arrays against the recursion.

#: What a receiver hears of a path, the speaker last, when the speaker should say a value.
Told = Callable[[Path, GeneralId, Value], "Value | None"]


def naive(
    m: int, path: Path, value: Value, lieutenants: Sequence[GeneralId], told: Told, default: Value
) -> dict[GeneralId, list[Value]]:
    """OM(m) as the paper writes it. What each lieutenant takes the majority of, his own first."""
    received: dict[GeneralId, Value] = {}
    for i in lieutenants:
        heard = told(path, i, value)
        received[i] = default if heard is None else heard
    votes = {i: [received[i]] for i in lieutenants}
    if m > 0:
        for j in lieutenants:
            rest = [i for i in lieutenants if i != j]
            spoken = naive(m - 1, (*path, j), received[j], rest, told, default)
            for i in rest:
                votes[i].append(more_than_half(spoken[i], default))
    return votes


def more_than_half(votes: Iterable[Value], default: Value) -> Value:
    votes = list(votes)
    return next((v for v in votes if 2 * votes.count(v) > len(votes)), default)


def canonical(generals: Sequence[GeneralId], length: int) -> list[Path]:
    """Paths in the order in which a frame holds them: the last general varies slowest."""
    if length == 0:
        return [()]
    shorter = canonical(generals, length - 1)
    return [
        (*path, [g for g in generals if g not in path][rank])
        for rank in range(len(generals) - length + 1)
        for path in shorter
    ]


class Lies:
    """Random values, and now and then a silent frame, of every traitor on every path."""

    def __init__(self, n: int, commander: GeneralId, domain: Domain, seed: int) -> None:
        self._chance = random.Random(seed)
        self._commander = commander
        self._domain = domain
        self._lieutenants = [g for g in range(n) if g != commander]
        self._n = n
        self.traitors = set(self._chance.sample(range(n), self._chance.randint(0, n)))
        self._values = list(domain.values) if isinstance(domain, Enumerated) else [-3.0, 7.5, 9.0]
        self._silent: dict[tuple[int, GeneralId, GeneralId], bool] = {}
        self._told: dict[tuple[Path, GeneralId], Value] = {}

    def told(self, path: Path, receiver: GeneralId, value: Value) -> Value | None:
        speaker = path[-1]
        if speaker not in self.traitors:
            return value
        if self._is_silent(len(path), speaker, receiver):
            return None
        return self._lie(path, receiver)

    def on_the_way(self, round: int, sender: int, receiver: int, body: Any) -> Any:
        if sender not in self.traitors:
            return body
        if self._is_silent(round, sender, receiver):
            return None
        between = [g for g in self._lieutenants if g != sender]
        paths = [()] if round == 1 else canonical(between, round - 2)
        return said(self._domain, *(self._of(round, path, sender, receiver) for path in paths))

    def _of(self, round: int, between: Path, sender: int, receiver: int) -> Value:
        path = (sender,) if round == 1 else (self._commander, *between, sender)
        # What the receiver is on himself is in the array too, and must not matter.
        return self._lie(path, receiver)

    def _is_silent(self, round: int, sender: int, receiver: int) -> bool:
        return self._silent.setdefault((round, sender, receiver), self._chance.random() < 0.1)

    def _lie(self, path: Path, receiver: GeneralId) -> Value:
        return self._told.setdefault((path, receiver), self._chance.choice(self._values))


def assert_arrays_equal_recursion(
    n: int, m: int, commander: GeneralId, domain: Domain, seed: int
) -> None:
    lies = Lies(n, commander, domain, seed)
    order = random.Random(seed).choice(["red", "green"] if domain is COLOURS else [ATTACK, RETREAT])
    if domain is NUMBERS:
        order = 9.0
    field = Field(parts(n, m, order, commander, domain), lies.on_the_way).play()
    lieutenants = [g for g in range(n) if g != commander]
    votes = naive(m, (commander,), order, lieutenants, lies.told, domain.default)
    for general in lieutenants:
        decision = field.decisions[general]
        assert decision.value == more_than_half(votes[general], domain.default)
        assert Counter(dict(decision.tally)) == Counter(votes[general])
        assert field.refusals(general) == []


@settings(max_examples=150)
@given(data=st.data(), domain=st.sampled_from([BINARY, COLOURS, NUMBERS]), seed=st.integers(0))
def test_the_arrays_decide_and_tally_what_the_recursion_of_section_3_does(
    data: st.DataObject, domain: Domain, seed: int
) -> None:
    """Whatever the lies and however many the liars: the arrays are the recursion, not a bound."""
    n = data.draw(st.integers(2, 7), label="n")
    m = data.draw(st.integers(0, min(2, n - 1)), label="m")
    commander = data.draw(st.integers(0, n - 1), label="commander")
    assert_arrays_equal_recursion(n, m, commander, domain, seed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("domain", [BINARY, COLOURS, NUMBERS], ids=["two", "three", "numbers"])
def test_the_arrays_of_om_3_with_ten_generals_decide_what_the_recursion_does(
    domain: Domain, seed: int
) -> None:
    assert_arrays_equal_recursion(10, 3, seed * 4, domain, seed)
