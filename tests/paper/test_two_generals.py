"""Two generals, R19: every loss of N messages, by the rule book and among whole generals."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import pytest

from node.messages import Frame
from orchestrator.losses import all_losses, fate
from tests.simulated.test_cli import say
from tests.stage import A, Bent, R, a, messages, play, refused


@pytest.mark.parametrize("count", range(1, 13))
def test_r19_for_every_n_some_loss_leaves_one_attacking_alone(count: int) -> None:
    """The loss of the last message, and of no other: whoever sent it cannot know."""
    played = all_losses(count)
    assert len(played.fates) == 2**count
    assert [one.lost for one in played.splits] == [(count,)]
    last_sender = (count - 1) % 2
    assert played.splits[0].decisions[last_sender] == A
    assert played.splits[0].decisions[1 - last_sender] == R


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_agreement_is_as_likely_as_the_chain_of_messages_says(count: int, rate: float) -> None:
    played = all_losses(count)
    assert played.agreement(rate) == pytest.approx(1 - rate * (1 - rate) ** (count - 1))
    assert played.attack(rate) == pytest.approx((1 - rate) ** count)


@pytest.mark.parametrize("count", range(1, 6))
def test_whole_generals_come_to_the_same_under_every_loss(count: int) -> None:
    for size in range(count + 1):
        for lost in combinations(range(1, count + 1), size):

            def lose(
                _: Bent,
                at_s: float,
                sender: int,
                receiver: int,
                frame: Frame,
                data: bytes,
                lost: tuple[int, ...] = lost,
            ) -> Iterator[tuple[float, int, bytes]]:
                if frame.round not in lost:
                    yield at_s, receiver, data

            result = play("two-generals", 2, 0, messages=count, on=Bent(lose))
            decisions = (result.decisions[0], result.decisions[1])
            assert decisions == fate(count, lost).decisions, lost
            assert result.verdict.properties["ic1"].status.value == (
                "broken" if lost == (count,) else "held"
            )


@pytest.mark.parametrize("lost", [1, 2, 3, 4])
def test_nobody_is_charged_with_a_loss_and_nothing_is_owed_after_one(lost: int) -> None:
    step = {"at": "round 1", "links": {"rounds": [lost], "lose": 1}}
    result = play("two-generals", 2, 0, messages=4, chaos=[step])
    assert result.verdict.faulty == ()
    assert result.verdict.not_owed is not None
    assert result.verdict.properties["ic2"].status.value == "vacuous"
    assert result.verdict.outcome.value == ("out-of-model" if lost == 4 else "pass")


def test_nobody_sends_after_a_loss() -> None:
    result = play("two-generals", 2, 0, {0: "silent"}, messages=5)
    assert messages(result) == []
    assert result.decisions == {0: R, 1: R}


def test_without_a_loss_both_attack_after_n_messages() -> None:
    result = play("two-generals", 2, 0, messages=6)
    assert messages(result) == [1] * 6
    assert result.decisions == {0: A, 1: A}
    assert result.verdict.outcome.value == "pass"


def test_what_is_no_order_is_refused_and_counts_as_lost() -> None:
    lie = a("tests.attackers:OralBytes", values="0000")
    result = play("two-generals", 2, 0, {0: lie}, messages=2)
    assert refused(result) == {(1, 0, "bad_shape"): 1}
    assert result.decisions[1] == R


# The command.


def test_the_table_of_all_losses() -> None:
    rows = say("losses", "--format", "json", "--rate", "0.25").objects
    assert [row["losses"] for row in rows] == [2**n for n in range(1, 13)]
    assert {row["both attack"] for row in rows} == {1} == {row["one alone"] for row in rows}
    assert rows[1]["agree at 0.25"] == 1 - 0.25 * 0.75


def test_each_loss_by_itself() -> None:
    rows = say("losses", "--messages", "3", "--each", "--format", "json").objects
    assert len(rows) == 8
    assert [row["lost"] for row in rows if row["split"]] == ["3"]


def test_more_messages_than_can_be_played_are_refused() -> None:
    said = say("losses", "--messages", "17")
    assert said.code == 2
    assert "17 is not within 1..16" in said.err
