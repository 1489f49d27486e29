"""What befalls containers is done by kernel and engine, and comes to what it does in simulation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec.structs import replace

from orchestrator import trial
from orchestrator.backends import Backend, FaultError, Uneventful
from orchestrator.backends.containers import Containers
from orchestrator.backends.simulation import Simulation
from orchestrator.casting import Cast, Part, cast
from orchestrator.cuts import Gate
from orchestrator.engine import Engine
from orchestrator.expectation import unmet
from orchestrator.faults import Cut, Disconnect, Fault, Kill, Pause
from orchestrator.images import LINK_FAULT
from orchestrator.scenario import from_fields, load
from tests.chaos_stories import FOR_CONTAINERS
from tests.chaos_stories import STORIES as SHIPPED
from tests.live.test_backends_agree import comes_to
from tests.live.test_chaos import STORIES
from tests.live.test_chaos import played as play_story

BARRIERS = (1, 2)


def cut(*links: tuple[int, int]) -> Cut:
    return Cut(frozenset(links))


def between(some: set[int], others: set[int]) -> Cut:
    return cut(*((a, b) for a in some for b in others), *((b, a) for a in some for b in others))


@dataclass
class Timetable(Uneventful):
    """One fault, from the barrier of one round to that of another or to the end."""

    backend: Backend
    fault: Fault
    first: int
    last: int | None = None
    look: Callable[[], None] = lambda: None
    lasts: bool = field(default=False, init=False)

    def at_barrier(self, round: int) -> None:
        if round == self.first:
            self.backend.inflict(self.fault)
            self.lasts = True
        elif round == self.last:
            self.end()

    def end(self) -> None:
        if self.lasts:
            self.look()
            self.backend.heal(self.fault)
            self.lasts = False


def parts(**fields: Any) -> Cast:
    """Four generals with a traitor to withstand: two rounds, each behind a barrier."""
    described = {"name": "a", "protocol": "oral", "n": 4, "m": 1, "order": "attack"} | fields
    whole = cast(from_fields(described))
    halting = tuple(
        Part(one.general, replace(one.brief, barriers=BARRIERS), one.role) for one in whole.parts
    )
    return Cast(halting, whole.scenario, whole.seed)


def played(
    backend: Backend, cast: Cast, fault: Fault, first: int, last: int | None, **look: Any
) -> dict[int, Any]:
    with backend:
        backend.muster(cast, None)
        timetable = Timetable(backend, fault, first, last, **look)
        decided = backend.command(lambda general: None, timetable)
        backend.collect()
        if isinstance(backend, Containers) and not isinstance(fault, Kill):
            assert rules(backend) == {}, "no rule is left"
    return {general: (one.value, one.tally) for general, one in decided.items()}


def rules(backend: Containers) -> dict[str, int]:
    """The rules in the kernels of all who still run, as a look beside the backend finds them."""
    found: dict[str, int] = {}
    for id in backend._container_of.values():
        assert backend._engine is not None
        found |= Gate(backend._engine, LINK_FAULT.name, backend._camp_id, id).counted()
    return found


@pytest.fixture
def real(built: Engine) -> Iterator[Containers]:
    backend = Containers()
    yield backend
    backend.disband()


#: Beyond those of the timetable's own tests.
BEFALLEN = {
    "commander-cut-off": (cut((0, 1), (0, 2), (0, 3)), 1, None),
    "cut-and-healed": (between({3}, {0, 1, 2}), 1, 2),
    "disconnected": (Disconnect(3), 2, None),
    "disconnected-and-back": (Disconnect(3), 1, 2),
}


@pytest.mark.parametrize("story", STORIES)
def test_a_timetable_comes_to_what_it_does_in_simulation(story: str) -> None:
    """CH1 to CH8, CH15: links are in the kernel's hands here, and hosts in the engine's."""
    simulated = play_story(Simulation(), *STORIES[story])
    real = play_story(Containers(), *STORIES[story])
    told, expected = comes_to(real), comes_to(simulated)
    # What a healed link lets go may come when nobody listens any more.
    for one in (told, expected):
        del one["refused"]
    assert told == expected
    assert real.verdict.charges == simulated.verdict.charges
    assert all(one.was_inflicted for one in real.incidents)


@pytest.mark.parametrize("name", FOR_CONTAINERS)
def test_a_shipped_story_comes_out_as_it_expects(built: Engine, name: str) -> None:
    (path,) = (one for one in SHIPPED if one.stem == name)
    result = trial.play(load(path), Containers())
    assert unmet(result) == []
    assert all(one.was_inflicted for one in result.incidents)


@pytest.mark.parametrize("story", BEFALLEN)
def test_a_fault_comes_to_what_it_does_in_simulation(real: Containers, story: str) -> None:
    fault, first, last = BEFALLEN[story]
    simulated = played(Simulation(), parts(), fault, first, last)
    assert played(real, parts(), fault, first, last) == simulated


def test_a_cut_is_in_the_receivers_kernel_one_way_and_counted(real: Containers) -> None:
    seen: list[dict[str, int]] = []
    played(real, parts(), cut((0, 2)), 1, 2, look=lambda: seen.append(rules(real)))
    assert len(seen) == 1
    assert list(seen[0]) == [real._address(0)], "one address, at one receiver"
    assert real.dropped[0, 2] > 0
    assert [link for link, packets in real.dropped.items() if packets] == [(0, 2)]


def test_a_fault_that_cannot_be_inflicted_is_no_fault_that_was_survived(
    real: Containers,
) -> None:
    """CH13: there is no such container."""
    real.muster(parts(), None)
    real._container_of[2] = "0" * 64
    for fault in (cut((1, 2)), Pause(2), Kill(2), Disconnect(2)):
        with pytest.raises(FaultError, match="No such container"):
            real.inflict(fault)
        real._faults.clear()


@pytest.mark.parametrize("fault", [Pause(3), Kill(3), Disconnect(3)], ids=str)
def test_when_it_is_inflicted_it_is_so_and_when_it_is_healed_no_more(
    built: Engine, real: Containers, fault: Fault
) -> None:
    """Looked at by another way, at once: nothing here waits."""
    real.muster(parts(), None)
    container = real._container_of[3]
    real.inflict(fault)
    before = built.client.api.inspect_container(container)
    real.heal(fault)
    after = built.client.api.inspect_container(container)
    match fault:
        case Pause():
            states = (before["State"]["Paused"], after["State"]["Paused"])
        case Kill():
            states = (not before["State"]["Running"], not after["State"]["Running"])
            assert before["State"]["ExitCode"] == 137
        case _:
            states = tuple(len(one["NetworkSettings"]["Networks"]) == 1 for one in (before, after))
    assert states == (True, False)


def test_a_run_under_a_fault_leaves_nothing_and_ends_in_time(real: Containers) -> None:
    started_s = time.monotonic()
    real.muster(parts(), None)
    real.inflict(Pause(2))
    real.inflict(between({0, 1}, {3}))
    real.disband()
    assert time.monotonic() - started_s < 30.0
