"""What oral messages get from traitors, played in the simulator: rows OM1 to OM12.

OM3, every lie of one traitor, is in test_exhaustive.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from orchestrator.scenario import ScenarioError
from tests.attackers import OralBytes, OtherRounds, Twice, named
from tests.stage import A, R, a, frames, messages, obeyed, play, refused, scenario, tally

TWO_FACED = a("two-faced", faces={A: [1, 3, 5], R: [2, 4, 6]})


@dataclass(frozen=True)
class Row:
    """One attack on OM(m), order attack, default retreat, and all that must come of it.

    `obeyed`: the loyal lieutenants' decisions; `messages`: the paper's, by round; `refused`: by
    (receiver, sender, reason), everyone else's count is zero; `tally`: of one loyal lieutenant.
    """

    id: str
    n: int
    m: int
    traitors: dict[int, Any]
    obeyed: dict[int, str]
    messages: list[int]
    refused: dict[tuple[int, int, str], int] = field(default_factory=dict)
    tally: tuple[int, dict[str, int]] | None = None
    outcome: str = "pass"
    fields: dict[str, Any] = field(default_factory=dict)


ROWS = [
    Row(
        "OM1 a lieutenant flips everything",
        4,
        1,
        {3: "flip"},
        {1: A, 2: A},
        [3, 6],
        tally=(1, {A: 2, R: 1}),
    ),
    Row(
        "OM2 the commander tells odd and even different orders",
        4,
        1,
        {0: "parity"},
        {1: A, 2: A, 3: A},
        [3, 6],
        tally=(2, {A: 2, R: 1}),
    ),
    Row(
        "OM4 three generals, one traitor",
        3,
        1,
        {2: "flip"},
        {1: R},
        [2, 2],
        tally=(1, {A: 1, R: 1}),
        outcome="out-of-model",
    ),
    Row(
        "OM5 two two-faced traitors against m=1",
        7,
        1,
        {0: TWO_FACED, 6: TWO_FACED},
        {1: A, 2: R, 3: A, 4: R, 5: A},
        [6, 30],
        tally=(2, {A: 3, R: 3}),
        outcome="out-of-model",
    ),
    Row(
        "OM5 the same two against m=2",
        7,
        2,
        {0: TWO_FACED, 6: TWO_FACED},
        {1: A, 2: A, 3: A, 4: A, 5: A},
        [6, 30, 120],
    ),
    Row(
        "OM6 ten generals, three of them by parity",
        10,
        3,
        {3: "parity", 4: "parity", 7: "parity"},
        dict.fromkeys((1, 2, 5, 6, 8, 9), A),
        [9, 72, 504, 3024],
    ),
    Row(
        "OM7 a second frame of a round that still waits",
        4,
        1,
        {1: named(Twice)},
        {2: A, 3: A},
        [3, 8],
        {(2, 1, "duplicate"): 1, (3, 1, "duplicate"): 1},
        tally=(2, {A: 3}),
    ),
    Row(
        "OM7 a second frame of a round that his first one ended",
        4,
        1,
        {3: named(Twice)},
        {1: A, 2: A},
        [3, 8],
        {(1, 3, "late"): 1, (2, 3, "late"): 1},
        tally=(2, {A: 3}),
    ),
    Row(
        "OM8 an array too long",
        4,
        1,
        {3: named(OralBytes, values="8080")},
        {1: A, 2: A},
        [3, 6],
        {(1, 3, "bad_shape"): 1, (2, 3, "bad_shape"): 1},
        tally=(1, {A: 2, R: 1}),
    ),
    Row(
        "OM8 an array too short",
        7,
        2,
        {6: named(OralBytes, values="") | {"when": {"rounds": [3]}}},
        dict.fromkeys(range(1, 6), A),
        [6, 30, 120],
        {(g, 6, "bad_shape"): 1 for g in range(1, 6)},
    ),
    Row(
        "OM8 no oral values at all from the commander",
        4,
        1,
        {0: named(OralBytes, values="")},
        {1: R, 2: R, 3: R},
        [3, 6],
        {(g, 0, "bad_shape"): 1 for g in (1, 2, 3)},
        tally=(1, {R: 3}),
    ),
    Row(
        "OM8 bits behind the last value",
        4,
        1,
        {3: named(OralBytes, values="81")},
        {1: A, 2: A},
        [3, 6],
        {(1, 3, "noncanonical"): 1, (2, 3, "noncanonical"): 1},
        tally=(1, {A: 2, R: 1}),
    ),
    Row(
        "OM8 a value outside the domain",
        4,
        1,
        {3: named(OralBytes, values="03")},
        {1: A, 2: A},
        [3, 6],
        {(1, 3, "bad_value"): 1, (2, 3, "bad_value"): 1},
        tally=(1, {A: 2, R: 1}),
        fields={"values": [R, A, "wait"]},
    ),
    Row(
        "OM8 no finite number",
        4,
        1,
        {3: named(OralBytes, values="000000000000f87f")},
        {1: 7.0, 2: 7.0},
        [3, 6],
        {(1, 3, "bad_value"): 1, (2, 3, "bad_value"): 1},
        tally=(1, {7.0: 2, 0.0: 1}),
        fields={"values": "numbers", "order": 7},
    ),
    Row(
        "OM8 rounds that there are not",
        4,
        1,
        {3: named(OtherRounds, rounds=[3, 0, -1, 2**63, 2**64 - 1])},
        {1: A, 2: A},
        [2, 2, 3, 6, 2, 2, 2],
        {(1, 3, "bad_round"): 5, (2, 3, "bad_round"): 5},
        tally=(1, {A: 3}),
    ),
    Row(
        "OM8 a round in which he has no say",
        4,
        1,
        {3: named(OtherRounds, rounds=[1])},
        {1: A, 2: A},
        [5, 6],
        {(1, 3, "not_awaited"): 1, (2, 3, "not_awaited"): 1},
        tally=(1, {A: 3}),
    ),
    Row(
        "OM8 a frame for the next round is kept, and the true one is his second",
        7,
        2,
        {1: named(OtherRounds, rounds=[3]) | {"when": {"rounds": [2]}}},
        dict.fromkeys(range(2, 7), A),
        [6, 30, 125],
        {(g, 1, "duplicate"): 1 for g in range(2, 7)},
        tally=(2, {A: 6}),
    ),
    Row(
        "OM10 a lieutenant silent in every round",
        4,
        1,
        {3: "silent"},
        {1: A, 2: A},
        [3, 4],
        tally=(1, {A: 2, R: 1}),
    ),
    Row(
        "OM10 a commander silent in every round",
        4,
        1,
        {0: "silent"},
        {1: R, 2: R, 3: R},
        [6],
        tally=(1, {R: 3}),
    ),
    Row(
        "OM11 a tie",
        5,
        1,
        {0: a("two-faced", faces={A: [1, 2], R: [3, 4]})},
        {1: R, 2: R, 3: R, 4: R},
        [4, 12],
        tally=(1, {A: 2, R: 2}),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_row(row: Row) -> None:
    result = play("oral", row.n, row.m, row.traitors, **row.fields)
    assert obeyed(result) == row.obeyed
    assert messages(result) == row.messages
    assert refused(result) == row.refused
    assert result.verdict.outcome.value == row.outcome
    assert result.audit.is_clean
    assert result.audit.proofs == {}, "oral messages prove nothing"
    if row.tally is not None:
        general, counted = row.tally
        assert tally(result, general) == counted


def test_om1_and_om2_hold_each_promise_by_name() -> None:
    lieutenant = play("oral", 4, 1, {3: "flip"}).verdict.properties
    assert {name: p.status for name, p in lieutenant.items()} == {
        "ic1": "held",
        "ic2": "held",
        "termination": "held",
    }
    commander = play("oral", 4, 1, {0: "parity"}).verdict.properties
    assert {name: p.status for name, p in commander.items()} == {
        "ic1": "held",
        "ic2": "vacuous",
        "termination": "held",
    }


def test_om4_is_warned_of_before_it_is_played() -> None:
    warnings = scenario("oral", 3, 1, {2: "flip"}).warnings()
    assert any("3m + 1" in warning for warning in warnings)
    broken = play("oral", 3, 1, {2: "flip"}).verdict
    assert broken.properties["ic2"].status == "broken"
    assert "n = 3 is below 4" in broken.sentence()


def test_om5_breaks_ic1_only_and_says_why_it_was_not_owed() -> None:
    verdict = play("oral", 7, 1, {0: TWO_FACED, 6: TWO_FACED}).verdict
    assert verdict.properties["ic1"].status == "broken"
    assert verdict.not_owed == "faulty generals {0, 6} outnumber m = 1"


def test_om6_takes_one_frame_for_all_paths_of_a_round() -> None:
    result = play("oral", 10, 3, {3: "parity", 4: "parity", 7: "parity"})
    assert sum(messages(result)) == 3609
    assert frames(result) == [9, 72, 72, 72]


@pytest.mark.parametrize("silent", [0, 1, 3])
@pytest.mark.parametrize(("n", "m"), [(4, 1), (7, 2)])
def test_om10_silence_costs_one_deadline_and_no_more(n: int, m: int, silent: int) -> None:
    """Nobody decides after the last deadline, (m + 1) delta; who was silent once is not awaited
    again, so that his silence costs the round in which he first owed a frame."""
    delta_s = 0.5
    result = play("oral", n, m, {silent: "silent"}, delta=delta_s)
    assert result.verdict.outcome == "pass"
    assert result.seconds <= (m + 1) * delta_s * 1.2
    first_owed = 1 if silent == 0 else 2
    assert first_owed * delta_s <= result.seconds < first_owed * delta_s + 0.01


def test_om10_nobody_waits_where_nobody_is_silent() -> None:
    assert play("oral", 7, 2).seconds < 0.001


def test_om12_is_refused_before_it_starts_with_what_it_would_take() -> None:
    with pytest.raises(ScenarioError) as refusal:
        scenario("oral", 16, 5)
    assert "3 999 675 messages" in str(refusal.value)
    assert "--force" in str(refusal.value)


def test_om12_is_played_by_force() -> None:
    result = play("oral", 16, 5, {15: "flip"}, force=True)
    assert set(obeyed(result).values()) == {A}
    assert sum(messages(result)) == 3_999_675
