"""The flat vote, beside the report's program itself, written down as it calls itself."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest

from tests.stage import A, R, a, frames, messages, obeyed, play, refused, tally

OPPOSITE = {A: R, R: A}


class Program:
    """proc(g, t, o) of the report: who counted how many of what, and in how many calls."""

    def __init__(self, n: int, t: int, order: str, traitors: tuple[int, ...]) -> None:
        self.n, self.traitors = n, traitors
        self.counts: dict[int, Counter[str]] = {g: Counter() for g in range(n)}
        self.calls = -1
        self._proc(0, t, order)

    def _proc(self, g: int, t: int, order: str) -> None:
        self.calls += 1
        if t < 0:
            self.counts[g][order] += 1
        for p in range(self.n if t >= 0 else 0):
            if t == 0 or p not in (0, g):
                self._proc(p, t - 1, self._say(g, order, p))

    def _say(self, g: int, order: str, p: int) -> str:
        return OPPOSITE[order] if g in self.traitors and p % 2 == 0 else order

    def obeys(self, g: int) -> str:
        return A if self.counts[g][A] > self.counts[g][R] else R


def traitor_sets(n: int, m: int) -> list[tuple[int, ...]]:
    return [who for size in range(m + 1) for who in combinations(range(n), size)]


def test_the_program_makes_the_calls_that_the_report_counts() -> None:
    program = Program(10, 3, A, (3, 4, 7))
    assert program.calls == 6417
    assert program.counts[2] == {A: 314, R: 262}
    assert program.counts[9] == {A: 412, R: 164}


@pytest.mark.parametrize(("n", "m"), [(2, 1), (3, 0), (4, 1), (5, 2), (7, 2)])
@pytest.mark.parametrize("order", [A, R])
def test_frames_count_what_the_program_counts(n: int, m: int, order: str) -> None:
    for traitors in traitor_sets(n, m):
        program = Program(n, m, order, traitors)
        result = play("flat-vote", n, m, dict.fromkeys(traitors, "parity"), order=order)
        for general in set(range(n)) - set(traitors):
            assert tally(result, general) == program.counts[general], (traitors, general)
            assert result.decisions[general] == program.obeys(general), (traitors, general)
        to_oneself = sum(program.counts[0].values()) if m else 1
        assert sum(messages(result)) == program.calls - to_oneself


def test_ten_of_176_traitor_sets_break_it_where_none_breaks_om_3() -> None:
    broken = []
    for traitors in traitor_sets(10, 3):
        result = play("flat-vote", 10, 3, dict.fromkeys(traitors, "parity"), order=A)
        assert result.audit.is_clean
        if result.verdict.outcome.value != "pass":
            assert result.verdict.outcome.value == "out-of-model"
            broken.append(traitors)
    assert len(broken) == 10
    assert (1, 3, 5) in broken


@pytest.mark.parametrize("traitors", traitor_sets(4, 1))
@pytest.mark.parametrize("lie", ["parity", "flip", "silent"])
def test_with_m_1_it_comes_to_what_om_1_comes_to(traitors: tuple[int, ...], lie: str) -> None:
    flat = play("flat-vote", 4, 1, dict.fromkeys(traitors, lie))
    oral = play("oral", 4, 1, dict.fromkeys(traitors, lie))
    assert obeyed(flat) == obeyed(oral)
    assert flat.verdict.outcome.value == "pass"
    assert flat.verdict.not_owed is None


def test_silence_counts_as_the_default() -> None:
    result = play("flat-vote", 5, 2, {4: "silent"})
    # Of 4 x 3 words of the last round 4 owes three; the others each pass on one more of his.
    assert tally(result, 1) == {A: 6, R: 6}
    assert obeyed(result) == dict.fromkeys((1, 2, 3), R)
    assert frames(result) == [4, 9, 12]


@pytest.mark.parametrize(
    ("values", "reason"), [("00", "bad_shape"), ("000000", "bad_value")], ids=["shape", "value"]
)
def test_what_is_no_array_of_words_is_refused(values: str, reason: str) -> None:
    """A frame of round 3 holds 3 values of a domain of three, a byte each."""
    values = values.replace("00", "07") if reason == "bad_value" else values
    traitor = a("tests.attackers:OralBytes", values=values) | {"when": {"rounds": [3]}}
    result = play("flat-vote", 5, 2, {4: traitor}, values=[A, R, "wait"])
    assert refused(result) == {(g, 4, reason): 1 for g in (0, 1, 2, 3)}
    assert tally(result, 1) == {A: 9, R: 3}
