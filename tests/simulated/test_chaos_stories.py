"""Every story of scenarios/chaos comes out as its `expect` says, and all that was to befall did."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import trial
from orchestrator.backends.simulation import Simulation
from orchestrator.expectation import unmet
from orchestrator.scenario import load
from tests.chaos_stories import FOR_CONTAINERS, STORIES


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_a_story_of_chaos_comes_out_as_it_says(path: Path) -> None:
    scenario = load(path)
    result = trial.play(scenario, Simulation())
    assert unmet(result) == []
    assert all(one.was_inflicted for one in result.incidents)
    assert result.audit.findings == []
    assert scenario.summary
    assert scenario.reference
    assert scenario.expect.outcome is not None


def test_there_are_stories_enough_and_a_dozen_for_containers() -> None:
    assert len(STORIES) >= 25
    assert len(set(FOR_CONTAINERS)) == 12
    assert set(FOR_CONTAINERS) <= {path.stem for path in STORIES}
