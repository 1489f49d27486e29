"""The worked cases R1 to R17 of the reference, with every value that they must give.

Each is played whole: real generals, frames, journals and signatures, over simulated links. R18 to
R20 belong to protocols that are not here yet.
"""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import pytest

from node.signatures import Chains
from orchestrator.results import Result
from orchestrator.transcript import view
from tests.paper.recursion import Recursion, flip, parity
from tests.stage import (
    A,
    R,
    a,
    accusations,
    frames,
    messages,
    obeyed,
    play,
    refused,
    script,
    tally,
    to,
)


def faces(*told: str, first: int = 1) -> dict[str, Any]:
    """A traitor who tells general `first` the first value, the next one the second, and so on."""
    by_value: dict[str, list[int]] = {}
    for general, value in enumerate(told, start=first):
        by_value.setdefault(value, []).append(general)
    return a("two-faced", faces=by_value)


def statuses(result: Result) -> dict[str, str]:
    return {name: p.status.value for name, p in result.verdict.properties.items()}


def outcome(result: Result) -> str:
    assert result.audit.is_clean, result.audit.findings
    return result.verdict.outcome.value


def test_r1_a_lying_lieutenant_is_outvoted() -> None:
    result = play("oral", 4, 1, {3: "flip"}, order=A)
    assert obeyed(result) == {1: A, 2: A}
    assert tally(result, 1) == tally(result, 2) == {A: 2, R: 1}
    assert messages(result) == frames(result) == [3, 6]
    assert outcome(result) == "pass"
    assert statuses(result) == {"ic1": "held", "ic2": "held", "termination": "held"}


def test_r2_a_lying_commander_is_obeyed_by_all_or_none() -> None:
    result = play("oral", 4, 1, {0: script(to(1, A), to(2, R), to(3, A))})
    assert obeyed(result) == {1: A, 2: A, 3: A}
    assert all(tally(result, g) == {A: 2, R: 1} for g in (1, 2, 3))
    assert messages(result) == [3, 6]
    assert outcome(result) == "pass"
    assert statuses(result) == {"ic1": "held", "ic2": "vacuous", "termination": "held"}


@pytest.mark.parametrize("told", list(product((A, R), repeat=3)), ids=lambda told: "".join(told))
def test_r3_the_majority_of_what_a_commander_said(told: tuple[str, str, str]) -> None:
    script_of_0 = script(*(to(g, value) for g, value in enumerate(told, start=1)))
    result = play("oral", 4, 1, {0: script_of_0})
    expected = A if told.count(A) >= 2 else R
    assert obeyed(result) == dict.fromkeys((1, 2, 3), expected)
    counted = {value: told.count(value) for value in (A, R) if value in told}
    assert all(tally(result, g) == counted for g in (1, 2, 3))
    assert outcome(result) == "pass"


def test_r4_three_generals_cannot_bear_one_traitor() -> None:
    result = play("oral", 3, 1, {2: "flip"}, order=A)
    assert obeyed(result) == {1: R}
    assert tally(result, 1) == {A: 1, R: 1}
    assert messages(result) == [2, 2]
    assert statuses(result) == {"ic1": "vacuous", "ic2": "broken", "termination": "held"}
    assert outcome(result) == "out-of-model"


def test_r5_general_1_cannot_tell_which_of_the_two_lied() -> None:
    """The impossibility: what 1 sees where 2 lies is what he sees where 0 does, byte for byte."""
    lieutenant_lies = play("oral", 3, 1, {2: "flip"}, order=A)
    commander_lies = play("oral", 3, 1, {0: script(to(1, A), to(2, R))}, order=A)
    views = [view(r.transcript.records[1]) for r in (lieutenant_lies, commander_lies)]
    assert views[0] == views[1] == b'[[[1,0,["attack"]],[2,2,["retreat"]]],"retreat"]'
    # And it is no empty comparison: 2's views of the two differ.
    other = [view(r.transcript.records[2]) for r in (lieutenant_lies, commander_lies)]
    assert other[0] != other[1]


def test_r6_a_tie_goes_to_the_default() -> None:
    result = play("oral", 5, 1, {0: faces(A, A, R, R)})
    assert obeyed(result) == dict.fromkeys((1, 2, 3, 4), R)
    assert all(tally(result, g) == {A: 2, R: 2} for g in (1, 2, 3, 4))
    assert messages(result) == [4, 12]
    assert outcome(result) == "pass"


ONE_EXCHANGE_TOO_FEW = {0: faces(A, R, A, R, A, A), 6: faces(A, R, A, R, A)}


def test_r7_one_exchange_does_not_bear_two_traitors() -> None:
    result = play("oral", 7, 1, ONE_EXCHANGE_TOO_FEW)
    assert obeyed(result) == {1: A, 2: R, 3: A, 4: R, 5: A}
    assert all(tally(result, g) == {A: 4, R: 2} for g in (1, 3, 5))
    assert all(tally(result, g) == {A: 3, R: 3} for g in (2, 4))
    assert messages(result) == [6, 30]
    assert statuses(result) == {"ic1": "broken", "ic2": "vacuous", "termination": "held"}
    assert outcome(result) == "out-of-model"


def test_r8_two_exchanges_do() -> None:
    result = play("oral", 7, 2, ONE_EXCHANGE_TOO_FEW)
    assert obeyed(result) == dict.fromkeys(range(1, 6), A)
    assert all(tally(result, g) == {A: 4, R: 2} for g in range(1, 6))
    assert messages(result) == [6, 30, 120]
    assert sum(messages(result)) == 156
    assert outcome(result) == "pass"


@pytest.mark.parametrize(("m", "by_round"), [(1, [6, 30]), (2, [6, 30, 120])])
def test_r9_two_who_say_retreat_move_nobody(m: int, by_round: list[int]) -> None:
    retreat = faces(*[R] * 6)
    result = play("oral", 7, m, {5: retreat, 6: retreat}, order=A)
    assert obeyed(result) == dict.fromkeys(range(1, 5), A)
    assert all(tally(result, g) == {A: 4, R: 2} for g in range(1, 5))
    assert messages(result) == by_round
    assert outcome(result) == "pass"


#: What each of nine lieutenants counts in OM(3), as the recursion of the paper gives it.
R10_TALLIES = {
    **{g: {A: 7, R: 2} for g in (1, 4, 5, 9)},
    **{g: {A: 8, R: 1} for g in (2, 3, 6, 7, 8)},
}
R11_TALLIES = {
    **{g: {A: 7, R: 2} for g in (1, 3, 5)},
    **{g: {A: 6, R: 3} for g in (2, 4, 6, 7, 8, 9)},
}


@pytest.mark.parametrize(
    ("traitors", "tallies"),
    [((3, 4, 7), R10_TALLIES), ((1, 3, 5), R11_TALLIES)],
    ids=["R10", "R11"],
)
def test_r10_r11_ten_generals_three_of_them_by_parity(
    traitors: tuple[int, ...], tallies: dict[int, dict[str, int]]
) -> None:
    result = play("oral", 10, 3, dict.fromkeys(traitors, "parity"), order=A)
    assert obeyed(result) == {g: A for g in range(1, 10) if g not in traitors}
    assert {g: tally(result, g) for g in range(1, 10)} == tallies
    assert messages(result) == [9, 72, 504, 3024]
    assert sum(messages(result)) == 3609
    assert frames(result) == [9, 72, 72, 72]
    assert outcome(result) == "pass"
    recursion = Recursion(10, 3, A, R, dict.fromkeys(traitors, parity))
    assert recursion.messages == 3609
    assert {g: recursion.tally(g) for g in range(1, 10)} == tallies


@pytest.mark.parametrize(
    ("traitors", "even", "odd"),
    [((3, 4, 7), {A: 314, R: 262}, {A: 412, R: 164}), ((1, 3, 5), {A: 264, R: 312}, None)],
    ids=["R10", "R11"],
)
def test_r10_r11_the_flat_vote(
    traitors: tuple[int, ...], even: dict[str, int], odd: dict[str, int] | None
) -> None:
    result = play("flat-vote", 10, 3, dict.fromkeys(traitors, "parity"), order=A)
    loyal = [g for g in range(10) if g not in traitors]
    assert all(tally(result, g) == even for g in loyal if g % 2 == 0)
    assert odd is None or all(tally(result, g) == odd for g in loyal if g % 2)
    if traitors == (3, 4, 7):
        assert set(obeyed(result).values()) == {A}
    else:
        assert obeyed(result) == {**dict.fromkeys((2, 4, 6, 8), R), 7: A, 9: A}
        assert statuses(result)["ic1"] == statuses(result)["ic2"] == "broken"
        assert outcome(result) == "out-of-model"


def all_traitor_sets(n: int, m: int) -> list[tuple[int, ...]]:
    return [who for size in range(m + 1) for who in combinations(range(n), size)]


@pytest.fixture
def stride() -> int:
    """Every how many of R12's traitor sets are played."""
    return 1


@pytest.mark.parametrize("order", [A, R])
@pytest.mark.parametrize(("n", "m", "sets"), [(4, 1, 5), (7, 2, 29), (10, 3, 176)])
def test_r12_no_set_of_m_traitors_by_parity_breaks_anything(
    n: int, m: int, sets: int, order: str, stride: int
) -> None:
    traitor_sets = all_traitor_sets(n, m)
    assert len(traitor_sets) == sets
    for traitors in traitor_sets[::stride]:
        result = play("oral", n, m, dict.fromkeys(traitors, "parity"), order=order)
        assert outcome(result) == "pass", traitors
        if 0 not in traitors:
            assert set(obeyed(result).values()) == {order}, traitors


@pytest.mark.parametrize("lie", [parity, flip], ids=["parity", "flip"])
@pytest.mark.parametrize(("n", "m"), [(3, 1), (4, 1), (5, 1), (6, 2), (7, 2)])
def test_arrays_and_recursion_count_the_same(n: int, m: int, lie: Any) -> None:
    """Traitors and loyal, inside the bounds and below them, every decision and every tally."""
    for traitors, order in product(all_traitor_sets(n, m), (A, R)):
        result = play("oral", n, m, dict.fromkeys(traitors, lie.__name__), order=order)
        recursion = Recursion(n, m, order, R, dict.fromkeys(traitors, lie))
        lieutenants = range(1, n)
        assert sum(messages(result)) == recursion.messages
        assert {g: result.decisions[g] for g in lieutenants} == recursion.decisions, traitors
        assert {g: tally(result, g) for g in lieutenants} == {
            g: recursion.tally(g) for g in lieutenants
        }, traitors


def test_r13_a_commander_who_signs_two_orders_is_found_out() -> None:
    result = play("signed", 3, 1, {0: faces(A, R)})
    assert obeyed(result) == {1: R, 2: R}
    assert tally(result, 1) == tally(result, 2) == {A: 1, R: 1}
    assert messages(result) == [2, 2]
    assert outcome(result) == "pass"
    assert statuses(result) == {"ic1": "held", "ic2": "vacuous", "termination": "held"}
    assert result.audit.proofs == {0: 2}
    chains = Chains(result.mustered.run, "signed", result.mustered.roster.signing_publics())
    for proofs in accusations(result).values():
        assert [proof.culprit for proof in proofs] == [0]
        assert {order.token for order in proofs[0].proof} == {b'"attack"', b'"retreat"'}
        assert all(chains.verify(order, 0) for order in proofs[0].proof)


@pytest.mark.parametrize(
    ("n", "m", "by_round"), [(4, 1, [3, 6]), (7, 2, [6, 30, 0])], ids=["SM(1)", "SM(2)"]
)
def test_r14_what_loyal_generals_send(n: int, m: int, by_round: list[int]) -> None:
    result = play("signed", n, m, order=A)
    assert obeyed(result) == dict.fromkeys(range(1, n), A)
    assert all(tally(result, g) == {A: 1} for g in range(1, n))
    assert messages(result) == by_round
    assert refused(result) == {}
    assert result.audit.proofs == {}
    assert outcome(result) == "pass"


#: 0 signs attack to 1 and 2 and retreat to 3; 3 shows 1 the second order, and 2 nothing at all.
HELD_BACK = {
    0: faces(A, A, R),
    3: script(to(1, R, round=2, chain=[0, 3]), to(2, None, round=2)),
}


def test_r15_an_order_held_back_to_round_two_still_reaches_everyone() -> None:
    result = play("signed", 4, 2, HELD_BACK)
    assert obeyed(result) == {1: R, 2: R}
    assert tally(result, 1) == tally(result, 2) == {A: 1, R: 1}
    assert accusations(result).keys() == {1, 2, 3}
    # Round 3: 1 tells 2 of retreat:0:3, and 3 tells 2 of the attack that he heard from 1.
    assert messages(result) == [3, 5, 2]
    assert outcome(result) == "pass"


def test_r16_one_round_fewer_is_one_too_few_for_two_traitors() -> None:
    result = play("signed", 4, 1, HELD_BACK)
    assert obeyed(result) == {1: R, 2: A}
    assert (tally(result, 1), tally(result, 2)) == ({A: 1, R: 1}, {A: 1})
    assert statuses(result)["ic1"] == "broken"
    assert outcome(result) == "out-of-model"


SENSORS = {"inputs": [10, 11, 9], "values": "numbers"}
TWO_READINGS = a("two-faced", faces={9: [0], 12: [1]})


def test_r17_sensors_over_one_exchange_disagree() -> None:
    result = play("exchange", 3, 1, {2: TWO_READINGS}, combiner="median", **SENSORS)
    assert obeyed(result) == {0: 10.0, 1: 11.0}
    assert tally(result, 0) == {9.0: 1, 10.0: 1, 11.0: 1}
    assert tally(result, 1) == {10.0: 1, 11.0: 1, 12.0: 1}
    assert messages(result) == [6]
    assert statuses(result)["ic1"] == "broken"
    assert outcome(result) == "out-of-model"


#: C signs both readings as his own, and relays the others' as he should.
SIGNS_BOTH = TWO_READINGS | {"when": {"rounds": [1]}}


@pytest.mark.parametrize(
    ("combiner", "decision"), [("vector", (10.0, 11.0, 0.0)), ("median", 10.0)]
)
def test_r17_sensors_over_interactive_consistency_agree(combiner: str, decision: object) -> None:
    result = play(
        "interactive-consistency",
        3,
        1,
        {2: SIGNS_BOTH},
        over="signed",
        combiner=combiner,
        **SENSORS,
    )
    assert obeyed(result) == {0: decision, 1: decision}
    assert tally(result, 0) == tally(result, 1) == {0.0: 1, 10.0: 1, 11.0: 1}
    assert messages(result) == [6, 6]
    assert frames(result) == [6, 6]
    assert {g: [p.culprit for p in held] for g, held in accusations(result).items()} == {
        0: [2],
        1: [2],
    }
    assert outcome(result) == "pass"
