"""Lockstep: deadlines, early ends, absentees, and what is refused (assumptions A1 to A3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from node.effects import CancelTimer, Decide, Miss, Note, Reason, Refuse, Send, SetTimer
from node.events import Received, Started, TimerFired
from node.messages import Empty, Frame, Oral
from node.orders import GeneralId
from node.rounds import DEADLINE, Rounds

RUN = b"r" * 32
DELTA_S = 0.5


class Diary:
    """A protocol of three rounds that keeps what it hears, and tells in `say` which round it is.

    `owed`: from whom a frame is owed in each round.
    """

    rounds = 3

    def __init__(self, *owed: set[GeneralId]) -> None:
        self.owed = dict(enumerate(owed, start=1))
        self.heard: list[tuple[int, list[tuple[GeneralId, Any]]]] = []

    def speakers(self, round: int) -> frozenset[GeneralId]:
        return frozenset(self.owed[round])

    def say(self, round: int) -> list[Send]:
        return [Send((1, 2), round, Empty(), messages=1, rule="diary")]

    def hear(self, round: int, heard: Mapping[GeneralId, Any]) -> list[Any]:
        self.heard.append((round, list(heard.items())))
        return [Note(f"heard round {round}", rule="diary")]

    def decide(self) -> Decide:
        return Decide(value="done", tally=(), rule="diary")


def machine(*owed: set[GeneralId]) -> tuple[Rounds, Diary]:
    diary = Diary(*(owed or ({1, 2},) * 3))
    return Rounds(diary, DELTA_S), diary


def frame(sender: GeneralId, round: int, values: bytes = b"") -> Received:
    return Received(sender, Frame(RUN, round, Oral(values or bytes([sender, round]))))


def body(sender: GeneralId, round: int) -> tuple[GeneralId, Oral]:
    return sender, Oral(bytes([sender, round]))


def refusal(sender: GeneralId, reason: Reason) -> list[Refuse]:
    return [Refuse(sender, reason, rule="A2" if reason is Reason.NOT_AWAITED else "A3")]


DEADLINE_PASSES = TimerFired(DEADLINE)


# Deadlines.


def test_the_start_opens_round_1_and_sets_its_deadline() -> None:
    rounds, diary = machine()
    assert rounds.on_event(Started(10.0)) == [*diary.say(1), SetTimer(DEADLINE, 10.5, rule="A3")]
    assert rounds.round == 1


def test_the_deadline_of_round_r_is_start_plus_r_delta_however_early_the_rounds_before_it() -> None:
    rounds, _ = machine()
    rounds.on_event(Started(10.0))
    for round, deadline_s in ((1, 11.0), (2, 11.5)):
        rounds.on_event(frame(1, round))
        assert SetTimer(DEADLINE, deadline_s, rule="A3") in rounds.on_event(frame(2, round))


def test_what_arrives_at_the_deadline_itself_is_in_time() -> None:
    """Until the timer fires, whatever the clock says: the host delivers frames before timers."""
    rounds, diary = machine()
    rounds.on_event(Started(0.0))
    rounds.on_event(frame(1, 1))
    rounds.on_event(frame(2, 1))
    assert diary.heard == [(1, [body(1, 1), body(2, 1)])]


def test_what_arrives_after_the_deadline_is_late() -> None:
    rounds, diary = machine()
    rounds.on_event(Started(0.0))
    rounds.on_event(frame(1, 1))
    rounds.on_event(DEADLINE_PASSES)
    assert rounds.on_event(frame(2, 1)) == refusal(2, Reason.LATE)
    assert diary.heard == [(1, [body(1, 1)])]


def test_a_second_start_changes_nothing() -> None:
    rounds, _ = machine()
    rounds.on_event(Started(0.0))
    assert rounds.on_event(Started(5.0)) == []
    rounds.on_event(frame(1, 1))
    assert SetTimer(DEADLINE, 1.0, rule="A3") in rounds.on_event(frame(2, 1))


def test_a_timer_of_another_name_is_not_the_deadline() -> None:
    rounds, diary = machine()
    rounds.on_event(Started(0.0))
    assert rounds.on_event(TimerFired("tea")) == []
    assert (rounds.round, diary.heard) == (1, [])


# Early ends.


def test_a_round_ends_as_soon_as_all_awaited_frames_are_in() -> None:
    rounds, diary = machine()
    rounds.on_event(Started(0.0))
    assert rounds.on_event(frame(2, 1)) == []
    effects = rounds.on_event(frame(1, 1))
    assert effects == [
        Note("heard round 1", rule="diary"),
        *diary.say(2),
        SetTimer(DEADLINE, 1.0, rule="A3"),
    ]


def test_after_the_last_round_the_timer_is_cancelled_and_the_decision_made() -> None:
    rounds, _ = machine()
    rounds.on_event(Started(0.0))
    for round in (1, 2, 3):
        rounds.on_event(frame(1, round))
        effects = rounds.on_event(frame(2, round))
    assert effects == [
        Note("heard round 3", rule="diary"),
        CancelTimer(DEADLINE, rule="A3"),
        Decide(value="done", tally=(), rule="diary"),
    ]


def test_the_frames_of_a_round_come_together_ordered_by_sender_not_by_arrival() -> None:
    rounds, diary = machine({3, 1, 12, 2}, set(), set())
    rounds.on_event(Started(0.0))
    for sender in (12, 2, 3, 1):
        rounds.on_event(frame(sender, 1))
    assert diary.heard[0] == (1, [body(1, 1), body(2, 1), body(3, 1), body(12, 1)])


def test_a_general_with_nobody_to_wait_for_is_done_at_the_start() -> None:
    """As OM's commander, or a general alone."""
    rounds, diary = machine(set(), set(), set())
    effects = rounds.on_event(Started(0.0))
    assert effects[-1] == Decide(value="done", tally=(), rule="diary")
    assert not any(isinstance(effect, SetTimer) for effect in effects)
    assert [send.round for send in effects if isinstance(send, Send)] == [1, 2, 3]
    assert diary.heard == [(1, []), (2, []), (3, [])]


def test_a_round_in_which_nobody_speaks_is_over_at_once() -> None:
    rounds, diary = machine({1}, set(), {1})
    rounds.on_event(Started(0.0))
    rounds.on_event(frame(1, 1))
    assert (rounds.round, diary.heard) == (3, [(1, [body(1, 1)]), (2, [])])


# Absentees.


def test_one_who_misses_a_deadline_is_noted_and_no_longer_waited_for() -> None:
    rounds, diary = machine()
    rounds.on_event(Started(0.0))
    rounds.on_event(frame(1, 1))
    effects = rounds.on_event(DEADLINE_PASSES)
    assert effects[0] == Miss(2, 1, rule="A3")
    rounds.on_event(frame(1, 2))
    assert (rounds.round, diary.heard[-1]) == (3, (2, [body(1, 2)]))


def test_an_absentee_is_unheard_until_the_run_ends() -> None:
    rounds, diary = machine()
    rounds.on_event(Started(0.0))
    rounds.on_event(frame(1, 1))
    rounds.on_event(DEADLINE_PASSES)
    for round in (2, 3):
        assert rounds.on_event(frame(2, round)) == refusal(2, Reason.LATE)
        rounds.on_event(frame(1, round))
    assert diary.heard[1:] == [(2, [body(1, 2)]), (3, [body(1, 3)])]


def test_frames_kept_from_before_an_absentee_was_missed_are_unheard_too() -> None:
    """He sent round 2 and not round 1: he is faulty, and silence may not depend on arrival."""
    rounds, diary = machine()
    rounds.on_event(Started(0.0))
    rounds.on_event(frame(2, 2))
    rounds.on_event(frame(2, 3))
    rounds.on_event(frame(1, 1))
    rounds.on_event(DEADLINE_PASSES)
    rounds.on_event(frame(1, 2))
    rounds.on_event(frame(1, 3))
    assert diary.heard == [(round, [body(1, round)]) for round in (1, 2, 3)]


def test_one_of_whom_nothing_was_owed_is_no_absentee() -> None:
    rounds, diary = machine({1}, {1, 2}, {1, 2})
    rounds.on_event(Started(0.0))
    rounds.on_event(DEADLINE_PASSES)
    rounds.on_event(frame(2, 2))
    assert diary.heard == [(1, []), (2, [body(2, 2)])]


def test_where_everyone_is_silent_each_deadline_passes_once_and_the_rest_is_over_at_once() -> None:
    rounds, _ = machine()
    rounds.on_event(Started(0.0))
    effects = rounds.on_event(DEADLINE_PASSES)
    assert effects[:2] == [Miss(1, 1, rule="A3"), Miss(2, 1, rule="A3")]
    assert isinstance(effects[-1], Decide)


# What is refused.


@pytest.mark.parametrize("round", [-1, 0, 4, 2**63])
def test_om8_a_frame_of_no_round_of_this_run_is_refused(round: int) -> None:
    rounds, diary = machine()
    rounds.on_event(Started(0.0))
    assert rounds.on_event(frame(1, round, b"?")) == refusal(1, Reason.BAD_ROUND)
    assert diary.heard == []


def test_a_frame_that_nobody_owes_is_refused() -> None:
    rounds, diary = machine({1}, {1, 2}, {1, 2})
    rounds.on_event(Started(0.0))
    assert rounds.on_event(frame(2, 1)) == refusal(2, Reason.NOT_AWAITED)
    assert rounds.on_event(frame(7, 2)) == refusal(7, Reason.NOT_AWAITED)
    rounds.on_event(frame(1, 1))
    assert diary.heard == [(1, [body(1, 1)])]


def test_om7_of_two_frames_of_one_round_the_first_is_kept() -> None:
    rounds, diary = machine()
    rounds.on_event(Started(0.0))
    rounds.on_event(frame(1, 1, b"first"))
    assert rounds.on_event(frame(1, 1, b"second")) == refusal(1, Reason.DUPLICATE)
    rounds.on_event(frame(2, 1))
    assert diary.heard == [(1, [(1, Oral(b"first")), body(2, 1)])]


def test_of_two_frames_of_a_future_round_the_first_is_kept() -> None:
    rounds, diary = machine()
    rounds.on_event(Started(0.0))
    rounds.on_event(frame(1, 2, b"first"))
    assert rounds.on_event(frame(1, 2, b"second")) == refusal(1, Reason.DUPLICATE)
    for event in (frame(1, 1), frame(2, 1), frame(2, 2)):
        rounds.on_event(event)
    assert diary.heard[1] == (2, [(1, Oral(b"first")), body(2, 2)])


def test_a_round_all_of_whose_frames_were_kept_is_over_when_it_opens() -> None:
    rounds, diary = machine()
    rounds.on_event(Started(0.0))
    for sender, round in ((1, 2), (2, 2), (1, 3), (2, 3), (1, 1)):
        assert rounds.on_event(frame(sender, round)) == []
    effects = rounds.on_event(frame(2, 1))
    assert isinstance(effects[-1], Decide)
    assert diary.heard == [(round, [body(1, round), body(2, round)]) for round in (1, 2, 3)]


def test_frames_from_before_the_start_are_kept() -> None:
    """A peer whose barrier opened first may be a round ahead."""
    rounds, diary = machine()
    for sender in (2, 1):
        assert rounds.on_event(frame(sender, 1)) == []
    assert rounds.on_event(frame(1, 1)) == refusal(1, Reason.DUPLICATE)
    assert (rounds.round, diary.heard) == (0, [])
    rounds.on_event(Started(0.0))
    assert (rounds.round, diary.heard) == (2, [(1, [body(1, 1), body(2, 1)])])


def test_after_the_decision_every_frame_is_late() -> None:
    rounds, _ = machine(set(), {1}, set())
    rounds.on_event(Started(0.0))
    rounds.on_event(frame(1, 2))
    assert rounds.on_event(frame(1, 2)) == refusal(1, Reason.LATE)
