"""Bracha's reliable broadcast (1987): each rule by itself, and runs in any order of arrival."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest

from node import wire
from node.effects import CancelTimer, Decide, Effect, Halt, Refuse, Send, SetTimer
from node.events import Received, Started, TimerFired
from node.journal import Noted
from node.messages import Bundle, Empty, Frame, Oral, Signed
from node.orders import Enumerated
from node.protocols.reliable_broadcast import ECHO, INITIAL, READY, WATCH, ReliableBroadcast
from orchestrator.backends.simulation import _FRAME, Simulation
from orchestrator.results import Result
from orchestrator.scenario import ScenarioError
from tests.stage import A, Bent, R, a, messages, obeyed, play, refused, scenario

RUN = bytes(32)


def general(me: int = 1, *, n: int = 4, m: int = 1, order: str | None = None) -> ReliableBroadcast:
    return ReliableBroadcast(
        me=me, n=n, m=m, commander=0, domain=Enumerated(), watch_s=9.0, order=order
    )


def said(part: ReliableBroadcast, sender: int, kind: int, value: str) -> list[Effect]:
    code = np.array([Enumerated().code(value)], dtype=np.uint8)
    return part.on_event(Received(sender, Frame(RUN, kind, Oral(Enumerated().pack(code)))))


def kinds(effects: list[Effect]) -> list[int]:
    return [effect.round for effect in effects if isinstance(effect, Send)]


def accepted(effects: list[Effect]) -> list[Any]:
    return [effect.value for effect in effects if isinstance(effect, Decide)]


def test_rb_1_the_commander_sends_initial_and_echoes_it_himself() -> None:
    effects = general(0, order=A).on_event(Started(5.0))
    assert effects[0] == SetTimer(WATCH, 14.0, rule=WATCH)
    assert kinds(effects) == [INITIAL, ECHO]


def test_rb_2_one_initial_of_the_commander_is_echoed_once() -> None:
    part = general()
    assert kinds(said(part, 0, INITIAL, A)) == [ECHO]
    assert said(part, 0, INITIAL, R) == [Refuse(0, "duplicate", rule="RB-2")]  # type: ignore[arg-type]


def test_rb_3_more_than_half_of_n_and_m_echoes_make_ready() -> None:
    part = general(n=7, m=2)
    assert kinds(said(part, 0, INITIAL, A)) == [ECHO]
    assert [kinds(said(part, g, ECHO, A)) for g in (0, 2, 3, 4)] == [[], [], [], [READY]]


def test_rb_3_m_plus_1_readies_make_ready_whoever_was_not_told() -> None:
    part = general(n=7, m=2)
    assert [kinds(said(part, g, READY, R)) for g in (2, 3, 4)] == [[], [], [ECHO, READY]]


def test_rb_4_two_m_plus_1_readies_are_accepted_once_and_the_watch_ends() -> None:
    part = general()
    said(part, 0, INITIAL, A)
    assert accepted(said(part, 2, READY, A)) == []
    effects = said(part, 3, READY, A)
    assert accepted(effects) == [A]
    assert CancelTimer(WATCH, rule=WATCH) in effects
    assert accepted(said(part, 0, READY, A)) == []


def test_rb_4_two_m_readies_are_not_enough() -> None:
    part = general(n=7, m=2)
    # The third makes him ready himself, which is the fourth; the fifth is 2m + 1.
    assert [accepted(said(part, sender, READY, A)) for sender in (2, 3, 4)] == [[], [], []]
    assert accepted(said(part, 5, READY, A)) == [A]


def test_echoes_of_two_values_are_not_added_up() -> None:
    part = general()
    said(part, 0, INITIAL, A)
    assert kinds(said(part, 2, ECHO, R)) == []
    assert kinds(said(part, 3, ECHO, R)) == []
    assert kinds(said(part, 0, ECHO, A)) == []


@pytest.mark.parametrize(
    ("sender", "kind", "reason"),
    [
        (2, INITIAL, "not_awaited"),
        (2, 0, "bad_round"),
        (2, 4, "bad_round"),
        (2, -1, "bad_round"),
        (2, 1 << 40, "bad_round"),
    ],
)
def test_what_has_no_place_is_refused(sender: int, kind: int, reason: str) -> None:
    refusals = said(general(), sender, kind, A)
    assert [(r.sender, r.reason.value) for r in refusals if isinstance(r, Refuse)] == [
        (sender, reason)
    ]


@pytest.mark.parametrize("body", [Empty(), Oral(b""), Oral(b"\x01"), Signed(()), Bundle(())])
def test_what_is_no_value_is_refused_and_leaves_its_sender_his_say(body: Any) -> None:
    part = general()
    effects = part.on_event(Received(2, Frame(RUN, ECHO, body)))
    assert len(effects) == 1
    assert isinstance(effects[0], Refuse)
    assert said(part, 2, ECHO, A) == []


def test_the_watch_ends_a_run_in_which_nothing_is_accepted_and_no_other() -> None:
    assert general().on_event(TimerFired("another")) == []
    assert general().on_event(TimerFired(WATCH)) == [
        Halt(rule=WATCH, text="accepts nothing while watched")
    ]
    part = general()
    for sender in (0, 2, 3):
        said(part, sender, READY, A)
    assert part.on_event(TimerFired(WATCH)) == []


# Whole runs.


def statuses(result: Result) -> tuple[str, ...]:
    return tuple(p.status.value for p in result.verdict.properties.values())


def test_a_loyal_run_costs_an_initial_an_echo_and_a_ready_of_each() -> None:
    result = play("reliable-broadcast", 7, 2, order=A)
    assert set(result.decisions.values()) == {A}
    assert messages(result) == [6, 42, 42]
    assert refused(result) == {}


@pytest.mark.parametrize("lie", ["flip", "parity", "random", "silent", "replayer"])
@pytest.mark.parametrize("traitors", [(0,), (3,), (0, 3), (0, 6), (2, 5)])
def test_two_traitors_among_seven_break_nothing(lie: str, traitors: tuple[int, ...]) -> None:
    result = play("reliable-broadcast", 7, 2, dict.fromkeys(traitors, lie), order=A)
    assert result.verdict.outcome.value == "pass"
    assert result.audit.is_clean
    if 0 not in traitors:
        assert set(obeyed(result).values()) == {A}


@pytest.mark.parametrize("told", list(product((A, R), repeat=3)), ids=lambda told: "".join(told))
@pytest.mark.parametrize("seed", range(4))
def test_in_any_order_of_arrival_all_accept_the_same_or_none_does(
    told: tuple[str, ...], seed: int
) -> None:
    chance = np.random.default_rng(seed)

    def shuffle(
        bent: Bent, at_s: float, sender: int, receiver: int, frame: Frame, data: bytes
    ) -> Iterator[tuple[float, int, bytes]]:
        yield at_s + float(chance.random()), receiver, data

    faces = {v: [g for g, said in enumerate(told, start=1) if said == v] for v in (A, R)}
    result = play(
        "reliable-broadcast", 4, 1, {0: a("two-faced", faces=faces)}, on=Bent(shuffle), delta=60
    )
    assert result.verdict.outcome.value == "pass"
    assert len(set(obeyed(result).values())) == 1


def test_a_silent_commander_leaves_nothing_accepted_and_nothing_broken() -> None:
    result = play("reliable-broadcast", 4, 1, {0: "silent"})
    assert statuses(result) == ("held", "vacuous", "vacuous")
    assert result.verdict.outcome.value == "pass"
    last = result.transcript.records[1].entries[-2]
    assert last == Noted("accepts nothing while watched", WATCH)


class Deaf(Simulation):
    """Nothing reaches general 3."""

    def _enter(self, at_s: float, kind: int, general: int, what: Any) -> None:
        if kind != _FRAME or general != 3 or not isinstance(wire.decode(what[1]), Frame):
            super()._enter(at_s, kind, general, what)


def test_that_one_accepts_and_another_never_does_is_broken() -> None:
    result = play("reliable-broadcast", 4, 1, on=Deaf())
    assert result.verdict.properties["termination"].status.value == "broken"
    assert result.verdict.outcome.value == "violation"
    result = play("reliable-broadcast", 4, 1, {0: "replayer"}, on=Deaf())
    assert result.verdict.properties["termination"].status.value == "broken"


def test_a_link_that_loses_is_charged_and_one_that_delays_harms_nobody() -> None:
    slow = {"at": "round 1", "links": {"delay": "300ms"}}
    result = play("reliable-broadcast", 4, 1, chaos=[slow])
    assert result.verdict.outcome.value == "pass"
    assert set(result.decisions.values()) == {A}


def test_a_timetable_names_times_where_there_are_no_rounds() -> None:
    with pytest.raises(ScenarioError, match="has no rounds: name a time"):
        scenario("reliable-broadcast", 4, 1, chaos=[{"at": "round 2", "kill": 1}])


def test_three_generals_are_one_too_few() -> None:
    """n = 3m: with 2 silent nobody can have 2m + 1 readies but of everyone."""
    result = play("reliable-broadcast", 3, 1, {2: "silent"})
    assert result.verdict.properties["termination"].status.value == "broken"
    assert result.verdict.outcome.value == "out-of-model"
