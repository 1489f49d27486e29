"""Phase king in both forms (Berman, Garay, Perry 1989): every traitor, at the bound and below."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import pytest

from node.effects import Reason
from node.messages import Empty, Oral
from node.orders import Enumerated
from node.protocols.phase_king import PhaseKing, PhaseQueen
from tests.stage import A, R, a, messages, obeyed, play, refused, tally

FORMS = [("phase-king", 3), ("phase-queen", 4)]
LIES: list[Any] = ["flip", "parity", "silent", "random"]


@pytest.mark.parametrize(("protocol", "factor"), FORMS)
@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("m", [1, 2])
def test_no_set_of_m_traitors_breaks_it_at_its_bound(
    protocol: str, factor: int, lie: str, m: int
) -> None:
    n = factor * m + 1
    for traitors in combinations(range(n), m):
        for order in (A, R):
            result = play(protocol, n, m, dict.fromkeys(traitors, lie), order=order)
            assert result.verdict.outcome.value == "pass", (traitors, order)
            assert result.audit.is_clean
            if 0 not in traitors:
                assert set(obeyed(result).values()) == {order}


@pytest.mark.parametrize(("protocol", "factor"), FORMS)
@pytest.mark.parametrize("faces", list(product((A, R), repeat=3)), ids=lambda told: "".join(told))
def test_whatever_a_commander_says_all_obey_the_same(
    protocol: str, factor: int, faces: tuple[str, ...]
) -> None:
    n = factor + 1
    told = {v: [g for g, said in enumerate(faces, start=1) if said == v] for v in (A, R)}
    result = play(protocol, n, 1, {0: a("two-faced", faces=told)})
    assert result.verdict.outcome.value == "pass"


@pytest.mark.parametrize(
    ("protocol", "n", "traitors", "promise"),
    [("phase-king", 3, {0: "parity"}, "ic1"), ("phase-queen", 4, {1: "flip"}, "ic2")],
)
def test_one_general_fewer_and_a_traitor_breaks_it(
    protocol: str, n: int, traitors: dict[int, Any], promise: str
) -> None:
    result = play(protocol, n, 1, traitors, order=A)
    assert result.verdict.properties[promise].status.value == "broken"
    assert result.verdict.outcome.value == "out-of-model"


@pytest.mark.parametrize(("protocol", "by_phase"), [("phase-king", 3), ("phase-queen", 2)])
@pytest.mark.parametrize("m", [0, 1, 2, 3])
def test_it_takes_so_many_rounds_and_polynomially_many_messages(
    protocol: str, by_phase: int, m: int
) -> None:
    n = 4 * m + 1 if m else 4
    result = play(protocol, n, m)
    spoken = [n * (n - 1)] * (by_phase - 1) + [n - 1]
    assert messages(result) == [n - 1] + spoken * (m + 1)


def test_a_domain_of_three_values_and_numbers_will_do() -> None:
    values = [A, R, "wait"]
    result = play("phase-king", 7, 2, {3: "random", 6: "flip"}, values=values, order="wait")
    assert set(obeyed(result).values()) == {"wait"}
    result = play("phase-king", 4, 1, {3: "random"}, values="numbers", order=7)
    assert set(obeyed(result).values()) == {7.0}


def test_another_commander_will_do() -> None:
    result = play("phase-king", 4, 1, {0: "flip"}, commander=2, order=A)
    assert {g: v for g, v in result.decisions.items() if g} == {1: A, 2: A, 3: A}


def said(value: str) -> Oral:
    return Oral(Enumerated().pack(_codes(value)))


def _codes(value: str) -> Any:
    import numpy as np

    return np.array([Enumerated().code(value)], dtype=np.uint8)


def king(me: int = 3, **fields: Any) -> PhaseKing:
    kept: dict[str, Any] = {"n": 4, "m": 1, "commander": 0, "domain": Enumerated(), **fields}
    return PhaseKing(me=me, **kept)


def test_pk_1_none_without_n_minus_m_and_pk_3_takes_the_kings_word() -> None:
    part = king()
    part.hear(1, {0: said(A)})
    part.hear(2, {0: said(A), 1: said(R), 2: said(R)})
    assert [send.body for send in part.say(3)] == [Empty()]
    part.hear(3, {0: Empty(), 1: Empty(), 2: said(R)})
    part.hear(4, {0: said(A)})
    assert part.decide().value == A


def test_pk_2_more_than_m_bind_and_fewer_than_n_minus_m_still_take_the_kings_word() -> None:
    part = king()
    part.hear(1, {0: said(A)})
    part.hear(2, {0: said(A), 1: said(A), 2: said(R)})
    assert [send.body for send in part.say(3)] == [said(A)]
    part.hear(3, {0: said(A), 1: Empty(), 2: Empty()})
    assert part.decide().value == A
    part.hear(4, {0: said(R)})
    assert part.decide().value == R


def test_pk_3_who_is_sure_does_not_listen_to_the_king() -> None:
    part = king()
    part.hear(1, {0: said(A)})
    for round in (2, 3):
        part.hear(round, {0: said(A), 1: said(A), 2: said(R)})
    part.hear(4, {0: said(R)})
    assert part.decide().value == A


def test_pq_2_more_than_half_and_m_are_sure() -> None:
    for named, decision in (([A, A, A, A], A), ([A, A, R, R], R)):
        part = PhaseQueen(me=4, n=5, m=1, commander=0, domain=Enumerated())
        part.hear(1, {0: said(A)})
        part.hear(2, {general: said(value) for general, value in enumerate(named)})
        part.hear(3, {0: said(R)})
        assert part.decide().value == decision


def test_a_silent_king_stands_for_the_default() -> None:
    part = king()
    part.hear(1, {0: said(A)})
    part.hear(2, {0: said(R), 1: said(R), 2: said(A)})
    part.hear(3, {0: Empty(), 1: Empty(), 2: Empty()})
    part.hear(4, {})
    assert part.decide().value == R


def test_what_is_no_value_is_refused_and_names_none() -> None:
    lies = a("tests.attackers:OralBytes", values="0000")
    result = play("phase-king", 4, 1, {3: lies}, order=A)
    counted = refused(result)
    assert {reason for _, _, reason in counted} == {Reason.BAD_SHAPE.value}
    assert all(sender == 3 for _, sender, _ in counted)
    assert result.verdict.outcome.value == "pass"
    assert tally(result, 1) == {A: 3}


def test_none_where_a_value_is_owed_is_refused() -> None:
    part = king(me=1)
    assert [refusal.reason for refusal in part.hear(1, {0: Empty()})] == [Reason.BAD_SHAPE]  # type: ignore[union-attr]
