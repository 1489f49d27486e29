"""A service's scenario among processes: the timetable of the generals befalls real replicas."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from orchestrator.__main__ import byzantine
from orchestrator.backends import BackendError
from orchestrator.replication import ordeal, story
from orchestrator.replication.ordeal import Ordeal
from orchestrator.scenario import Outcome, ScenarioError

pytestmark = pytest.mark.live

SHIPPED = sorted(Path(__file__).parents[2].joinpath("scenarios", "service").glob("*.yaml"))


def played(tmp_path: Path, chaos: list[dict[str, Any]], **fields: Any) -> Ordeal:
    told = story.Story(service="kv", **{"timeout": "300ms", "chaos": chaos, **fields})
    return ordeal.play(told, b"", tmp_path / "runs")


def commanded(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(byzantine, list(words), standalone_mode=False)
    return done.return_value or done.exit_code, done.output


def inflicted(came: Ordeal) -> list[bool]:
    return [one.was_inflicted for one in came.incidents]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_story_passes_and_leaves_a_run_directory(path: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert commanded("kv", "play", str(path), "--out", str(runs))[0] == 0
    latest = runs / path.stem / "latest"
    assert (latest / "scenario.yaml").read_bytes() == path.read_bytes()
    run = json.loads((latest / "run.json").read_text())
    assert run["protocol"] == "pbft"
    assert run["hosts"].keys() == {"0", "1", "2", "3"}
    verdict = json.loads((latest / "verdict.json").read_text())
    assert verdict["outcome"] == "pass"
    assert all(one["failed"] is None for one in verdict["incidents"])
    pid = run["hosts"]["1"].removeprefix("pid ")
    assert f'"pid": {pid}' in (latest / "replica-1.log").read_text()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_an_isolated_primary_is_left_and_comes_back(tmp_path: Path) -> None:
    """View 1 comes only where no word of the primary passes."""
    came = played(tmp_path, [{"at": "300ms", "isolate": 0}, {"at": "view 1", "heal": "all"}])
    assert inflicted(came) == [True, True]
    assert came.outcome is Outcome.PASS


def test_links_lose_delay_and_duplicate(tmp_path: Path) -> None:
    rule = {"lose": 0.1, "delay": "uniform 1ms 9ms", "duplicate": 0.1, "corrupt": 0.05}
    came = played(tmp_path, [{"at": "100ms", "links": rule, "for": "1s"}])
    assert inflicted(came) == [True]
    assert came.outcome is Outcome.PASS
    assert came.path is not None


def test_a_delayed_link_is_late_and_loses_nothing(tmp_path: Path) -> None:
    slow = {"at": "100ms", "links": {"delay": "40ms"}, "for": "1s"}
    came = played(tmp_path, [slow], timeout="2s")
    assert came.outcome is Outcome.PASS
    assert 0.08 <= came.exercised.slowest_s < 3.0


def test_nobody_is_answered_without_a_quorum_and_all_are_once_it_is_back(tmp_path: Path) -> None:
    split = {"at": "300ms", "partition": [[0, 1], [2, 3]], "for": "1500ms"}
    came = played(tmp_path, [split, {"at": "2s", "pause": [1, 2], "for": "1s"}])
    assert came.outcome is Outcome.PASS
    assert came.exercised.slowest_s >= 1.0


def test_two_who_stay_dead_are_more_than_one_traitor(tmp_path: Path) -> None:
    came = played(tmp_path, [{"at": "300ms", "kill": [0, 1]}], bound="200ms", patience="1s")
    assert came.faulty == {0: "was killed", 1: "was killed"}
    assert came.outcome is Outcome.OUT_OF_MODEL


def test_who_comes_back_without_memory_is_faulty(tmp_path: Path) -> None:
    chaos = [{"at": "300ms", "kill": 3}, {"at": "600ms", "restart": 3}]
    assert played(tmp_path, chaos).faulty == {}
    forgetful = played(tmp_path, chaos, durable=False)
    assert forgetful.faulty == {3: "was killed and had forgotten"}
    assert forgetful.outcome is Outcome.PASS


def test_a_traitor_is_borne(tmp_path: Path) -> None:
    came = played(tmp_path, [{"at": "300ms", "pause": 1, "for": "200ms"}], traitors={3: "liar"})
    assert came.faulty == {3: "plays liar"}
    assert came.outcome is Outcome.PASS


def test_a_moment_that_never_came_leaves_the_run_unknown(tmp_path: Path) -> None:
    came = played(tmp_path, [{"at": "view 9", "kill": 1}], patience="500ms")
    assert came.outcome is Outcome.UNKNOWN
    assert came.incidents[0].failed == "view 9 never came"


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ({"clock-skew": {"general": 1, "by": "1s"}}, "one clock"),
        ({"disconnect": 1}, "no network to leave"),
        ({"promote": {"general": 1, "strategy": "flip"}}, "from the start"),
        ({"links": {"lose": 0.5, "rounds": [1]}}, "no round"),
    ],
)
def test_what_processes_cannot_do_is_refused_aloud(
    step: dict[str, Any], why: str, tmp_path: Path
) -> None:
    with pytest.raises(BackendError, match=why):
        played(tmp_path, [{"at": "300ms", **step}])
    assert not (tmp_path / "runs").exists()


def test_every_error_of_a_story_is_told_at_its_place(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "service: kv\nn: 4\ntraitors: {3: lair, 7: liar}\nchaos:\n"
        "  - at: round 2\n    kill: 0\n  - at: 1s\n    kill: 9\n"
    )
    with pytest.raises(ScenarioError) as told:
        story.load(path)
    assert str(told.value).splitlines() == [
        f"{path}:3:15: traitors.3: no such strategy; did you mean 'liar'?",
        f"{path}:3:24: traitors: there is no replica 7",
        f"{path}:5:5: chaos.0: a service has no moment round 2",
        f"{path}:7:5: chaos.1: there is no replica 9",
    ]
    path.write_text("service: kv\nn: 3\nfoo: 1\n")
    code, told_all = commanded("kv", "play", str(path))
    assert code == 2
    assert f"{path}:2:4: n: must be at least 4, not 3" in told_all
    assert f"{path}:3:1: there is no field 'foo'" in told_all
