"""A lasting cluster: put up once, it obeys order after order, in roles that change."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from docker.api import APIClient

from orchestrator import camp, trial
from orchestrator.__main__ import byzantine
from orchestrator.backends import lasting
from orchestrator.backends.lasting import Lasting
from orchestrator.backends.simulation import Simulation
from orchestrator.engine import Engine
from orchestrator.scenario import Scenario, from_fields
from tests.live.test_backends_agree import comes_to

N = 7


@pytest.fixture(scope="module")
def cluster(cluster_of: Callable[[int], camp.Found]) -> camp.Found:
    return cluster_of(N)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(byzantine, list(arguments), standalone_mode=False)


def described(**fields: Any) -> Scenario:
    return from_fields(
        {"name": "a", "protocol": "oral", "n": N, "m": 2, "order": "attack"} | fields
    )


PLAYED = [
    described(traitors=[{"generals": [3, 4], "strategy": "parity"}]),
    described(protocol="signed", traitors=[{"generals": [4, 5], "strategy": "silent"}]),
    described(order="retreat", traitors=[{"generals": [1, 2], "strategy": "flip"}]),
    described(traitors=[{"generals": [0, 6], "strategy": "random"}], seed=7),
]


def test_orders_are_played_as_in_simulation_whoever_betrays(cluster: camp.Found) -> None:
    """He who betrayed is loyal in the next order, and nothing of it is left."""
    for scenario in PLAYED:
        real = trial.play(scenario, Lasting(cluster), Path("runs"))
        assert comes_to(real) == comes_to(trial.play(scenario, Simulation()))


def test_keys_that_say_who_is_who_last_and_those_that_sign_do_not(
    built: Engine, cluster: camp.Found
) -> None:
    before = lasting.members(built, cluster)
    rosters = [trial.play(described(), Lasting(cluster)).mustered.roster for _ in range(2)]
    first, second = (roster.generals for roster in rosters)
    assert [one.curve_public for one in first] == [one.curve_public for one in second]
    signing = [one.signing_public for roster in rosters for one in roster.generals]
    assert len(set(signing)) == 2 * N
    after = lasting.members(built, cluster)
    assert before == after
    assert len({one.fingerprint for one in after}) == N


def test_an_order_tells_each_tally_and_the_consensus(cluster: camp.Found) -> None:
    done = call("order", "attack", "-m", "2", "--traitor", "3,4=flip", "--cluster", cluster.id)
    assert done.return_value == 0, done.output
    assert "4 attack, 2 retreat" in done.stdout
    assert "consensus: all 5 loyal generals decide attack" in done.stdout


def test_where_too_many_betray_there_is_no_consensus_and_the_code_says_so(
    cluster: camp.Found,
) -> None:
    lies = ("--traitor", "1,2,3=flip")
    done = call("order", "attack", "-m", "2", *lies, "--cluster", cluster.id)
    assert done.return_value == 3, done.output
    assert "no consensus among the 4 loyal generals: 1 attack, 3 retreat" in done.stdout


def test_the_run_directory_has_this_orders_log_alone(cluster: camp.Found) -> None:
    for order in ("attack", "retreat"):
        done = call("order", order, "--format", "json", "--cluster", cluster.id)
        run = Path(json.loads(done.stdout)["run"])
        opened = (run / "general-2.log").read_text().count('"event":"opened"')
        assert opened == 1
        hosts = json.loads((run / "run.json").read_text())["hosts"]
        assert hosts == {str(g): one["Id"][:12] for g, one in cluster.container_of().items()}


def test_what_the_engine_is_slow_to_copy_is_waited_for(
    cluster: camp.Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs, asked = APIClient.logs, set()

    def late(self: APIClient, container: str, **options: Any) -> bytes:
        said: bytes = logs(self, container, **options)
        if container in asked:
            return said
        asked.add(container)
        return said.replace(b'"event":"closed"', b"")

    monkeypatch.setattr(APIClient, "logs", late)
    done = call("order", "attack", "--format", "json", "--cluster", cluster.id)
    run = Path(json.loads(done.stdout)["run"])
    for general in range(N):
        told = (run / f"general-{general}.log").read_text()
        assert told.count('"event":"closed"') == 1
    assert len(asked) == N


def test_status_names_whoever_does_not_answer(built: Engine, cluster: camp.Found) -> None:
    well = call("status", "--cluster", cluster.id)
    assert well.return_value == 0
    assert well.stdout.count("healthy") == N
    victim = built.client.containers.get(cluster.container_of()[3]["Id"])
    victim.pause()
    try:
        ill = call("status", "--cluster", cluster.id, "--format", "json")
        assert ill.return_value == 4
        assert [one["general"] for one in json.loads(ill.stdout) if one["ailment"]] == [3]
        refused = call("order", "attack", "--cluster", cluster.id)
        assert refused.return_value == 4
        assert "general 3 is paused" in refused.stderr
    finally:
        victim.unpause()
    assert call("order", "attack", "--cluster", cluster.id).return_value == 0


def test_logs_of_the_cluster_are_those_of_all_orders(cluster: camp.Found) -> None:
    for order in ("attack", "retreat"):
        assert call("order", order, "--cluster", cluster.id).return_value == 0
    done = call("logs", f"byzantine-{cluster.id}", "2", "--format", "json")
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert events.count("opened") == events.count("decided") > 1
    assert call("logs", f"byzantine-{cluster.id}", "99").return_value == 2


def test_what_goes_up_comes_down(built: Engine) -> None:
    done = call("up", "-n", "3")
    name = done.stdout.split()[0]
    assert "3 generals" in done.stdout
    call("down", name)
    assert call("status", "--cluster", name.removeprefix("byzantine-")).return_value == 4
    assert not [one for one in camp.find(built) if camp.project_of(one.id) == name]


def test_a_cluster_is_what_it_was_after_an_orchestrator_was_killed(cluster: camp.Found) -> None:
    """Whoever was summoned and hears no more waits for the next order by his own deadline."""
    child = os.fork()
    if child == 0:
        backend = Lasting(cluster)
        backend.muster(trial.cast(described()), None)
        os.kill(os.getpid(), 9)
    _, how = os.waitpid(child, 0)
    assert os.WTERMSIG(how) == 9
    assert call("order", "attack", "--cluster", cluster.id).return_value == 0
