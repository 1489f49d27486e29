"""Triple modular redundancy, R18: what voters mask, what breaks them, and what mends it."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from tests.stage import A, R, a, frames, messages, obeyed, play, refused, tally

NUMBERS: dict[str, Any] = {"values": "numbers", "order": 10}
OTHER_ANSWERS = a("two-faced", faces={1: [4], 2: [5], 3: [6]})
TWO_READINGS = a("two-faced", faces={10: [1, 2], 12: [3]})
THREE_READINGS = a("two-faced", faces={10: [1], 11: [2], 12: [3]})


def statuses(result: Any) -> dict[str, str]:
    return {name: p.status.value for name, p in result.verdict.properties.items()}


def test_a_replica_that_gives_each_voter_another_answer_is_masked() -> None:
    result = play("tmr", 7, 1, {3: OTHER_ANSWERS}, **NUMBERS)
    assert obeyed(result) == dict.fromkeys((1, 2, 4, 5, 6), -10.0)
    assert [tally(result, voter) for voter in (4, 5, 6)] == [
        {-10.0: 2, wrong: 1} for wrong in (1.0, 2.0, 3.0)
    ]
    assert messages(result) == frames(result) == [3, 9]
    assert result.verdict.outcome.value == "pass"
    assert statuses(result) == {"ic1": "held", "ic2": "held", "termination": "held"}


@pytest.mark.parametrize("replica", [1, 2, 3])
@pytest.mark.parametrize("lie", ["flip", "parity", "silent", "random"])
@pytest.mark.parametrize("over", [None, "oral", "signed"])
def test_no_replica_alone_moves_a_voter(replica: int, lie: str, over: str | None) -> None:
    fields = {"over": over} if over else {}
    result = play("tmr", 6, 1, {replica: lie}, order=A, **fields)
    assert set(obeyed(result).values()) == {R}
    assert result.verdict.outcome.value == "pass"


def test_a_sensor_that_tells_each_replica_another_value_breaks_them() -> None:
    result = play("tmr", 7, 1, {0: THREE_READINGS}, **NUMBERS)
    assert obeyed(result) == {1: -10.0, 2: -11.0, 3: -12.0, 4: 0.0, 5: 0.0, 6: 0.0}
    assert statuses(result)["ic1"] == "broken"
    assert result.verdict.outcome.value == "out-of-model"
    assert result.verdict.not_owed is not None
    assert "sensor" in result.verdict.not_owed


@pytest.mark.parametrize("over", ["oral", "signed"])
@pytest.mark.parametrize("told", list(product((A, R), repeat=3)), ids=lambda told: "".join(told))
def test_agreement_on_the_input_first_mends_it(over: str, told: tuple[str, ...]) -> None:
    faces = {v: [g for g, said in enumerate(told, start=1) if said == v] for v in (A, R)}
    sensor = a("two-faced", faces=faces) | {"when": {"rounds": [1]}}
    result = play("tmr", 7, 1, {0: sensor}, over=over, order=A)
    assert len(set(obeyed(result).values())) == 1
    assert result.verdict.outcome.value == "pass"
    if over == "oral":
        agreed = A if told.count(A) >= 2 else R
        assert obeyed(result)[4] == {A: R, R: A}[agreed]


def test_over_signed_messages_the_sensor_is_found_out() -> None:
    result = play("tmr", 7, 1, {0: THREE_READINGS}, over="signed", **NUMBERS)
    assert result.audit.proofs == {0: 3}
    assert result.audit.is_clean
    # choice of two readings is the default, 0, whose opposite is 1 among numbers.
    assert set(obeyed(result).values()) == {1.0}


def test_two_wrong_replicas_are_one_too_many() -> None:
    result = play("tmr", 7, 1, {2: "flip", 3: "flip"}, order=A)
    assert obeyed(result)[4] == A
    assert statuses(result)["ic2"] == "broken"
    assert result.verdict.outcome.value == "out-of-model"


def test_what_is_no_value_is_refused_and_counts_as_the_default() -> None:
    result = play("tmr", 7, 1, {3: a("tests.attackers:OralBytes", values="")}, order=R)
    assert refused(result) == {(voter, 3, "bad_shape"): 1 for voter in (4, 5, 6)}
    assert tally(result, 4) == {A: 2, R: 1}


def test_two_readings_with_two_alike_leave_a_majority_and_still_break_ic1() -> None:
    result = play("tmr", 7, 1, {0: TWO_READINGS}, **NUMBERS)
    assert obeyed(result)[4] == -10.0
    assert statuses(result)["ic1"] == "broken"
