"""Partitions, kills, clocks and links that misbehave, played in the simulator: rows CH1 to CH8."""

from __future__ import annotations

from typing import Any

import pytest

from node.journal import Missed, Resumed
from orchestrator.backends import BackendError, FaultError
from orchestrator.backends.simulation import Simulation
from orchestrator.faults import Fault, Kill
from orchestrator.results import Result
from orchestrator.scenario import Outcome
from tests.stage import A, R, messages, obeyed, play, refused, scenario


def befallen(*steps: dict[str, Any], n: int = 4, m: int = 1, **fields: Any) -> Result:
    return play("oral", n, m, chaos=list(steps), **fields)


def missed(result: Result, general: int) -> list[tuple[int, int]]:
    entries = result.transcript.records[general].entries
    return [(e.general, e.round) for e in entries if isinstance(e, Missed)]


PARTED = {"at": "round 1", "partition": [[0, 1], [2, 3]]}


def test_ch1_a_partition_is_counted_and_explained() -> None:
    result = befallen(PARTED)
    # General 1 has the order, and nothing from 2 and 3: OM-3 takes majority(A, R, R).
    assert obeyed(result) == {1: R, 2: R, 3: R}
    assert result.verdict.outcome is Outcome.OUT_OF_MODEL
    assert len(result.verdict.faulty) == 2
    assert "outnumber m = 1" in result.verdict.sentence()
    assert "answers for" in result.verdict.sentence()
    assert result.assumptions["A1"].is_kept is False


def test_ch1_with_room_for_two_faults_the_same_partition_is_no_longer_too_much() -> None:
    result = befallen({"at": "round 1", "partition": [[0, 1, 2, 3, 4], [5, 6]]}, n=7, m=2)
    assert result.verdict.outcome is Outcome.PASS
    assert result.verdict.faulty == (5, 6)
    assert result.verdict.not_owed is None


def test_ch1_a_partition_that_is_healed_in_time_harms_nobody() -> None:
    result = befallen({**PARTED, "at": "round 1", "for": "100ms"})
    assert obeyed(result) == {1: A, 2: A, 3: A}
    assert (result.verdict.outcome, result.verdict.faulty) == (Outcome.PASS, ())
    assert all(one.is_kept is not False for one in result.assumptions.values())


def test_ch2_a_one_way_cut_is_one_way() -> None:
    result = befallen({"at": "round 1", "cut": {"from": 1, "to": 2}})
    assert missed(result, 2) == [(1, 2)]
    assert missed(result, 1) == []
    assert result.verdict.outcome is Outcome.PASS
    assert len(result.verdict.faulty) == 1


def test_ch2_both_ends_are_judged_as_the_one_at_fault() -> None:
    """With 3 a traitor as well, each reading has two faults, and neither promise is owed."""
    result = befallen({"at": "round 1", "cut": {"from": 1, "to": 2}}, traitors={3: "flip"})
    assert obeyed(result)[2] == R
    assert result.verdict.outcome is Outcome.OUT_OF_MODEL


def test_ch3_what_a_healed_cut_lets_go_is_late_and_its_sender_stays_unheard() -> None:
    cut = {"at": "round 1", "cut": {"from": 1, "to": 2}, "for": "2 rounds"}
    result = befallen(cut, n=7, m=2)
    # What 1 owed 2 in round 2, which was cut, and what he sends in round 3, unheard from then on.
    assert refused(result) == {(2, 1, "late"): 2}
    assert missed(result, 2) == [(1, 2)]
    assert set(obeyed(result).values()) == {A}
    assert result.verdict.outcome is Outcome.PASS


def test_ch6_a_killed_lieutenant_is_silence_and_restarted_he_says_nothing() -> None:
    kill = {"at": "round 2", "kill": 3}
    restart = {"at": "round 3", "restart": 3}
    result = befallen(kill, restart, n=7, m=2)
    assert 3 not in result.decided
    assert missed(result, 1) == [(3, 2)]
    assert {value for g, value in obeyed(result).items() if g != 3} == {A}
    assert result.verdict.outcome is Outcome.PASS
    assert result.verdict.charges == {3: "was killed"}
    assert [one.was_inflicted for one in result.incidents] == [True, True]


def test_ch7_a_commander_killed_between_two_sends_is_a_faulty_commander() -> None:
    held = {"at": "round 1", "cut": {"from": 0, "to": [2, 3]}}
    result = befallen(held, {"at": "round 2", "kill": 0})
    assert obeyed(result) == {1: R, 2: R, 3: R}
    assert result.verdict.properties["ic1"].status == "held"
    assert result.verdict.properties["ic2"].status == "vacuous"
    assert result.verdict.outcome is Outcome.PASS


@pytest.mark.parametrize(("by", "faulty"), [("250ms", ()), ("1500ms", (2,)), ("-1500ms", (2,))])
def test_ch8_a_clock_is_charged_once_it_is_off_by_more_than_a_round(
    by: str, faulty: tuple[int, ...]
) -> None:
    """A general is silent, so that there are deadlines to be waited for."""
    skew = {"at": "round 1", "clock-skew": {"general": 2, "by": by}}
    result = befallen(skew, n=7, m=2, traitors={6: "silent"})
    assert result.verdict.outcome is Outcome.PASS
    assert set(result.verdict.faulty) - {6} == set(faulty)
    assert (result.assumptions["A3"].is_kept is False) is bool(faulty)
    assert {value for g, value in obeyed(result).items() if g not in faulty} == {A}


def test_ch13_a_fault_that_could_not_be_inflicted_was_not_borne() -> None:
    class Stubborn(Simulation):
        def inflict(self, fault: Fault) -> None:
            raise FaultError("the container is gone")

    result = play("oral", 4, 1, on=Stubborn(), chaos=[{"at": "round 2", "kill": 3}])
    assert result.verdict.outcome is Outcome.UNKNOWN
    assert "the container is gone" in result.verdict.sentence()


def test_a_step_whose_moment_never_came_was_not_borne() -> None:
    result = befallen({"at": "400ms", "kill": 3})
    assert result.verdict.outcome is Outcome.UNKNOWN
    assert "400ms never came" in result.verdict.sentence()


def test_a_backend_refuses_aloud_what_it_cannot_do() -> None:
    class Gentle(Simulation):
        def why_not(self, fault: Fault) -> str | None:
            return "nobody is killed here" if isinstance(fault, Kill) else None

    with pytest.raises(BackendError, match=r"chaos\.0: kill: nobody is killed here"):
        play("oral", 4, 1, on=Gentle(), chaos=[{"at": "round 2", "kill": 3}])


def test_a_pause_holds_a_general_and_all_that_reaches_him() -> None:
    result = befallen({"at": "round 2", "pause": 3, "for": "1 round"}, n=7, m=2)
    assert missed(result, 1) == [(3, 2)]
    assert result.decisions[3] == A
    assert result.verdict.outcome is Outcome.PASS
    assert result.verdict.charges == {3: "was struck"}
    assert result.assumptions["A3"].is_kept is False


def test_a_promoted_traitor_is_faulty_and_a_demoted_one_tells_the_truth_again() -> None:
    promote = {"at": "round 2", "promote": {"general": 3, "strategy": "flip"}, "for": "1 round"}
    result = befallen(promote, n=7, m=2)
    assert result.verdict.faulty == (3,)
    told = [e.round for e in result.transcript.records[3].entries if type(e).__name__ == "Lied"]
    assert set(told) == {2}
    assert result.audit.findings == []


def test_a_turned_traitor_who_forges_is_no_damage_to_the_audit() -> None:
    promote = {"at": "round 2", "promote": {"general": 2, "strategy": "forger"}}
    result = play("signed", 4, 1, chaos=[promote])
    assert refused(result) == {(1, 2, "bad_signature"): 1, (3, 2, "bad_signature"): 1}
    assert result.audit.findings == []
    assert result.verdict.outcome is Outcome.PASS


def test_a_lost_frame_is_charged_and_a_frame_delayed_within_the_round_is_not() -> None:
    lost = befallen({"at": "round 1", "links": {"from": 0, "to": 1, "lose": 1}})
    assert len(lost.verdict.faulty) == 1
    assert lost.assumptions["A1"].why == "0 -> 1 in round 1: lost"
    late = befallen({"at": "round 1", "links": {"from": 0, "to": 1, "delay": "400ms"}})
    assert late.verdict.faulty == ()
    assert obeyed(late) == {1: A, 2: A, 3: A}
    too_late = befallen({"at": "round 1", "links": {"from": 0, "to": 1, "delay": "600ms"}})
    assert too_late.assumptions["A3"].why == "0 -> 1 in round 1: late"
    assert len(too_late.verdict.faulty) == 1


def test_a_corrupted_frame_is_refused_or_charged_and_never_kills() -> None:
    for seed in range(30):
        corrupt = {"at": "round 1", "links": {"from": 1, "corrupt": 1}}
        result = befallen(corrupt, seed=seed)
        assert result.verdict.outcome is Outcome.PASS
        assert 1 in result.verdict.faulty
        assert result.assumptions["A1"].is_kept is False


def test_duplicates_are_refused_and_charge_nobody() -> None:
    result = befallen({"at": "round 1", "links": {"duplicate": 1}})
    assert result.verdict.faulty == ()
    assert sum(count for count in refused(result).values()) == 9
    assert messages(result) == [3, 6]


def test_rounds_that_a_timetable_names_open_at_a_barrier_for_all() -> None:
    result = befallen({"at": "round 2", "links": {"delay": "1ms"}})
    for record in result.transcript.records.values():
        assert [e.round for e in record.entries if isinstance(e, Resumed)] == [2]


def test_a_run_with_chaos_depends_on_its_seed_alone() -> None:
    steps = [
        {"at": "round 1", "links": {"lose": 0.2, "delay": "exponential 50ms"}},
        {"at": "round 2", "pause": 2, "for": "300ms"},
        {"at": "20ms", "isolate": 5, "for": "100ms"},
    ]
    first, second = (befallen(*steps, n=7, m=2, seed=3) for _ in range(2))
    for general, record in first.transcript.records.items():
        assert record.entries == second.transcript.records[general].entries


def test_the_resolved_scenario_has_the_timetable_and_loads_again() -> None:
    from orchestrator.scenario import parse

    chaos = [
        {"at": "round 2", "pause": [1, 2], "for": "1 round"},
        {"at": "150ms", "clock-skew": {"general": 3, "by": "-20ms"}},
        {"at": "decided 1", "links": {"delay": "uniform 1ms 2ms", "kinds": ["oral"]}},
        {"at": "round 1", "promote": {"general": 3, "strategy": "flip", "when": {"to": [1]}}},
        {"at": "round 2", "cut": {"from": [0], "to": [1, 2], "both": True}},
        {"at": "round 2", "heal": "all"},
    ]
    made = scenario("oral", 4, 1, chaos=chaos)
    assert parse(made.resolved_yaml(), made.name) == made


def test_a_kept_promise_that_nobody_owed_is_no_violation_of_the_explanation() -> None:
    """Everyone is isolated in turn: nobody is left to agree, and the verdict says so."""
    result = befallen({"at": "round 1", "isolate": [1, 2, 3]})
    assert result.verdict.outcome in (Outcome.PASS, Outcome.OUT_OF_MODEL)
    assert result.verdict.faulty == (1, 2, 3)
    assert "outnumber m = 1" in result.verdict.sentence()
