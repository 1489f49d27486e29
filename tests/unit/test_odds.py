"""`byzantine odds`: the chance that more than m of n are down, against what is known and chance."""

from __future__ import annotations

import math
from typing import Any

import pytest

from orchestrator.odds import Rates, chance_of_more, simulate
from tests.simulated.test_cli import say

YEAR_H = 8766.0


def binomial_more(n: int, m: int, p: float) -> float:
    return sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(m + 1, n + 1))


@pytest.mark.parametrize(("n", "m"), [(1, 0), (4, 1), (7, 2), (13, 4), (5, 4)])
@pytest.mark.parametrize("mission_h", [1.0, 100.0, 5000.0, 1e6])
def test_without_repair_it_is_the_tail_of_a_binomial(n: int, m: int, mission_h: float) -> None:
    p = -math.expm1(-mission_h / 1000.0)
    found = chance_of_more(n, m, Rates(1000.0, None, mission_h))
    assert found == pytest.approx(binomial_more(n, m, p), rel=1e-9)


def test_one_general_with_repair_still_fails_at_his_first_failure() -> None:
    found = chance_of_more(1, 0, Rates(1000.0, 10.0, 500.0))
    assert found == pytest.approx(-math.expm1(-0.5), rel=1e-12)


def test_two_disks_fail_together_as_often_as_the_textbook_says() -> None:
    """Two of n down within one repair: n (n - 1) MTTR / MTTF^2 an hour, where repair is quick."""
    rates = Rates(mttf_h=1e6, repair_h=24.0, mission_h=5 * YEAR_H)
    rate = 8 * 7 * 24.0 / 1e6**2
    assert chance_of_more(8, 1, rates) == pytest.approx(rate * rates.mission_h, rel=1e-3)


def test_chances_far_below_rounding_keep_their_digits() -> None:
    rates = Rates(mttf_h=1e6, repair_h=24.0, mission_h=YEAR_H)
    # Five of eight down at once: a product of five rates, over four repairs that race.
    rate = math.perm(8, 5) * 24.0**4 / 1e6**5 / math.factorial(4)
    assert chance_of_more(8, 4, rates) == pytest.approx(rate * YEAR_H, rel=2e-3)
    assert chance_of_more(8, 4, rates) < 1e-16


def test_what_strikes_all_at_once_cannot_be_outvoted() -> None:
    alone = Rates(1e6, 24.0, 5 * YEAR_H)
    shared = Rates(1e6, 24.0, 5 * YEAR_H, beta=0.05)
    together = -math.expm1(-0.05 * 5 * YEAR_H / 1e6)
    for m in (1, 2, 3):
        assert chance_of_more(8, m, alone) < 1e-3
        assert chance_of_more(8, m, shared) == pytest.approx(together, rel=0.05)


def test_all_failures_shared_leave_nothing_to_redundancy() -> None:
    rates = Rates(1000.0, 10.0, 100.0, beta=1.0)
    chances = {chance_of_more(n, m, rates) for n, m in ((4, 1), (7, 2), (10, 3))}
    assert all(chance == pytest.approx(-math.expm1(-0.1)) for chance in chances)


def test_more_generals_for_the_same_m_fail_more_often_and_a_larger_m_less() -> None:
    rates = Rates(YEAR_H, 24.0, 5 * YEAR_H, beta=0.01)
    chances = [chance_of_more(n, 1, rates) for n in range(4, 12)]
    assert chances == sorted(chances)
    chances = [chance_of_more(10, m, rates) for m in range(6)]
    assert chances == sorted(chances, reverse=True)


def test_m_of_m_can_never_be_exceeded() -> None:
    rates = Rates(1.0, None, 1e6, beta=1.0)
    assert chance_of_more(3, 3, rates) == 0.0
    assert simulate(3, 3, rates, 100, seed=1).failed == 0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("n", "m", "rates"),
    [
        (4, 1, Rates(1000.0, 50.0, 2000.0)),
        (7, 2, Rates(1000.0, 100.0, 1000.0, beta=0.05)),
        (4, 1, Rates(1000.0, None, 300.0, beta=0.2)),
        (3, 0, Rates(1000.0, 1.0, 100.0)),
    ],
    ids=["repaired", "shared", "never repaired", "none is borne"],
)
def test_chance_itself_finds_the_same(n: int, m: int, rates: Rates, seed: int) -> None:
    trials = 20_000
    expected = chance_of_more(n, m, rates)
    found = simulate(n, m, rates, trials, seed)
    deviation = math.sqrt(expected * (1 - expected) / trials)
    assert abs(found.failed / trials - expected) < 4 * deviation
    assert found.low < found.failed / trials < found.high


def test_nothing_found_is_no_certainty() -> None:
    found = simulate(4, 3, Rates(1e9, 1.0, 1.0), 1000, seed=1)
    assert found.failed == 0
    assert found.low < 1e-12
    assert 0.003 < found.high < 0.005


@pytest.mark.parametrize(
    "fields", [{"mttf_h": 0.0}, {"mission_h": math.inf}, {"repair_h": -1.0}, {"beta": 1.5}], ids=str
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"mttf_h": 1.0, "repair_h": 1.0, "mission_h": 1.0}
    with pytest.raises(ValueError, match=r"positive|beta"):
        Rates(**(usual | fields))


# The command.

USUAL = ("odds", "--mttf", "1y", "--repair", "1d", "--mission", "5y")


def test_the_table_stars_what_oral_messages_can_bear() -> None:
    lines = say(*USUAL, "-n", "4,7", "-m", "1..2").lines
    assert lines[1].split() == ["n", "m", "=", "1", "m", "=", "2"]
    assert [line.count("*") for line in lines[3:]] == [1, 2]


def test_as_json_a_line_has_every_number_of_a_pair() -> None:
    said = say(*USUAL, "-n", "4", "-m", "0..5", "--format", "json", "--check", "500").objects
    assert [(one["n"], one["m"]) for one in said] == [(4, 0), (4, 1), (4, 2), (4, 3)]
    assert said[1]["chance"] == chance_of_more(4, 1, Rates(YEAR_H, 24.0, 5 * YEAR_H))
    assert all(one["from"] <= one["failed"] / 500 <= one["to"] for one in said)


def test_the_same_seed_finds_the_same() -> None:
    check = (*USUAL, "-n", "4", "-m", "1", "--check", "500", "--format", "csv")
    assert say(*check).out == say(*check).out != say(*check, "--seed", "2").out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("odds", "--mttf", "10", "--mission", "1y"), "is no time above zero"),
        (("odds", "--mttf", "0h", "--mission", "1y"), "is no time above zero"),
        (("odds", "--mttf", "1 fortnight", "--mission", "1y"), "is no time above zero"),
        ((*USUAL, "-n", "4..3"), "is not within 1..255"),
        ((*USUAL, "-n", "many"), "is no number and no range"),
        ((*USUAL, "--beta", "2"), "2"),
        ((*USUAL, "--mttf", "1s", "--repair", "1s", "--check", "10"), "too many failures"),
    ],
)
def test_a_wrong_option_is_told(arguments: tuple[str, ...], reason: str) -> None:
    said = say(*arguments)
    assert said.code == 2
    assert reason in said.err
