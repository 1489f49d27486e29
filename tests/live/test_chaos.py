"""What chaos does to processes, and that the simulator tells the same story: rows CH2 to CH8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator import trial
from orchestrator.backends.fork_client import ForkServer, state_of
from orchestrator.backends.processes import Processes
from orchestrator.backends.simulation import Simulation
from orchestrator.expectation import unmet
from orchestrator.faults import Fault, Kill, Pause
from orchestrator.results import Result
from orchestrator.scenario import Outcome, load
from tests.chaos_stories import FOR_CONTAINERS
from tests.chaos_stories import STORIES as STORIES_OF_CHAOS
from tests.live.conftest import until
from tests.live.test_backends_agree import comes_to
from tests.stage import A, scenario

#: A general who is silent makes every round last until its deadline.
STORIES: dict[str, tuple[str, int, int, dict[int, Any], list[dict[str, Any]]]] = {
    "partition": ("oral", 4, 1, {}, [{"at": "round 1", "partition": [[0, 1], [2, 3]]}]),
    "CH2 one-way cut": ("oral", 4, 1, {}, [{"at": "round 1", "cut": {"from": 1, "to": 2}}]),
    "CH3 healed in round 3": (
        "oral",
        7,
        2,
        {},
        [{"at": "round 1", "cut": {"from": 1, "to": 2}, "for": "2 rounds"}],
    ),
    "CH6 killed and restarted": (
        "signed",
        7,
        2,
        {},
        [{"at": "round 2", "kill": 3}, {"at": "round 3", "restart": 3}],
    ),
    "CH7 killed between two sends": (
        "signed",
        4,
        1,
        {},
        [{"at": "round 1", "cut": {"from": 0, "to": [2, 3]}}, {"at": "round 2", "kill": 0}],
    ),
    "CH8 clock half a round ahead": (
        "oral",
        7,
        2,
        {6: "silent"},
        [{"at": "round 1", "clock-skew": {"general": 2, "by": "150ms"}}],
    ),
    # Three rounds ahead he ends each round at once, whatever has come by that very instant: there
    # backends may differ. Three rounds behind, he is late for all.
    "CH8 clock three rounds behind": (
        "oral",
        7,
        2,
        {6: "silent"},
        [{"at": "round 1", "clock-skew": {"general": 2, "by": "-900ms"}}],
    ),
    "paused for a round": (
        "signed",
        5,
        2,
        {},
        [{"at": "round 2", "pause": 3, "for": "1 round"}],
    ),
    "paused from the start": ("oral", 4, 1, {}, [{"at": "round 1", "pause": 3}]),
    "lossy links": (
        "signed",
        5,
        2,
        {4: "parity"},
        [{"at": "round 1", "links": {"lose": 0.2, "corrupt": 0.1, "delay": "uniform 1ms 9ms"}}],
    ),
    "turned traitor": (
        "oral",
        7,
        2,
        {},
        [{"at": "round 2", "promote": {"general": 3, "strategy": "flip"}, "for": "1 round"}],
    ),
}


def played(on: Any, protocol: str, n: int, m: int, traitors: Any, chaos: Any) -> Result:
    return trial.play(scenario(protocol, n, m, traitors, chaos=chaos, delta="300ms", seed=5), on)


@pytest.mark.parametrize("story", STORIES)
def test_processes_bear_what_the_simulator_bears(story: str, forks: ForkServer) -> None:
    simulated = played(Simulation(), *STORIES[story])
    real = played(Processes(forks=forks), *STORIES[story])
    told, expected = comes_to(real), comes_to(simulated)
    # What a healed link lets go may come when nobody listens any more.
    for one in (told, expected):
        del one["refused"]
    assert told == expected
    assert real.verdict.charges == simulated.verdict.charges
    assert all(one.was_inflicted for one in real.incidents)
    for name, assumption in simulated.assumptions.items():
        assert real.assumptions[name].is_kept is assumption.is_kept


def test_ch6_kill_ends_the_process_and_a_restarted_one_votes_nowhere(
    forks: ForkServer, tmp_path: Path
) -> None:
    seen: dict[str, Any] = {}

    class Watched(Processes):
        def inflict(self, fault: Fault) -> None:
            super().inflict(fault)
            if isinstance(fault, Kill):
                seen["killed"] = state_of(self._children[fault.general].pid)

        def heal(self, fault: Fault) -> None:
            super().heal(fault)
            if isinstance(fault, Kill):
                seen["again"] = state_of(self._restarted[fault.general].pid)

    made = scenario(
        "signed",
        5,
        2,
        chaos=[{"at": "round 2", "kill": 3}, {"at": "round 3", "restart": 3}],
        delta="300ms",
    )
    result = trial.play(made, Watched(forks=forks), tmp_path)
    assert seen["killed"] in ("", "Z")
    assert seen["again"] in tuple("RSD")
    assert result.verdict.outcome is Outcome.PASS
    assert {g: v for g, v in result.decisions.items() if g != 3} == dict.fromkeys((0, 1, 2, 4), A)
    assert "3" not in {str(g) for g in result.transcript.records}
    assert result.audit.hands[3].signed == 0


def test_a_paused_process_is_stopped_by_the_kernel_and_goes_on_afterwards(
    forks: ForkServer,
) -> None:
    seen: dict[str, Any] = {}

    class Watched(Processes):
        def inflict(self, fault: Fault) -> None:
            super().inflict(fault)
            assert isinstance(fault, Pause)
            seen["pid"] = self._children[fault.general].pid
            seen["paused"] = state_of(seen["pid"])

    chaos = [{"at": "round 2", "pause": 2, "for": "100ms"}]
    result = trial.play(
        scenario("oral", 4, 1, {3: "silent"}, chaos=chaos, delta="400ms"), Watched(forks=forks)
    )
    assert seen["paused"] == "T"
    assert result.decisions[2] == A
    # Half of the round was left: nobody missed him.
    assert result.verdict.charges == {}
    assert until(lambda: state_of(seen["pid"]) in ("", "Z"))


@pytest.mark.parametrize("name", FOR_CONTAINERS)
def test_a_story_for_containers_comes_out_among_processes_too(name: str, forks: ForkServer) -> None:
    (path,) = (one for one in STORIES_OF_CHAOS if one.stem == name)
    result = trial.play(load(path), Processes(forks=forks))
    assert unmet(result) == []
    assert all(one.was_inflicted for one in result.incidents)
