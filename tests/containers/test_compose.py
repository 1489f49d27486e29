"""Compose files: a story is played in containers alone, by generals quartered as a run's are."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from orchestrator import camp, quarters
from orchestrator.__main__ import byzantine
from orchestrator.backends.containers import Containers
from orchestrator.casting import cast
from orchestrator.cli import scenarios
from orchestrator.engine import Engine
from tests.containers import replicas

FOLDER = Path(__file__).parents[2] / "compose"
KV = FOLDER / "kv.yaml"
SHIPPED = sorted(set(FOLDER.glob("*.yaml")) - {KV})
DEADLINE_S = 90.0
#: What a general's container is given and denied, in the engine's own words.
GIVEN = (
    "CapAdd", "CapDrop", "Init", "LogConfig", "Memory", "MemorySwap", "PidsLimit", "PortBindings",
    "Privileged", "ReadonlyRootfs", "SecurityOpt", "Tmpfs",
)  # fmt: skip

#: Plays as the orchestrator of a file does, but does not wait long for one who is dead.
IMPATIENT = """
import orchestrator.backends.standing as standing, sys
standing.MUSTER_S, standing.MUSTER_EACH_S = 3.0, 1.0
from orchestrator.__main__ import main
main()
"""

Compose = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def compose(built: Engine, tmp_path: Path) -> Iterator[Compose]:
    """`compose(file, command...)`, in a project of the test's own, which is gone when it ends."""
    project = f"byzantine-test-{os.getpid()}-{tmp_path.name.replace('_', '-')}".lower()[:60]
    files: set[Path] = set()

    def call(file: Path, *command: str) -> subprocess.CompletedProcess[str]:
        files.add(file)
        return subprocess.run(
            ["docker", "compose", "-p", project, "-f", str(file), *command],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    yield call
    for file in files:
        assert call(file, "down", "--volumes", "--timeout", "1").returncode == 0
    left = {"label": f"com.docker.compose.project={project}"}
    assert not built.client.containers.list(all=True, filters=left)
    assert not built.client.networks.list(filters=left)
    assert not built.client.volumes.list(filters=left)


def written(tmp_path: Path, scenario: str, *options: str) -> Path:
    file = tmp_path / "scenario.yaml"
    done = CliRunner().invoke(
        byzantine, ["compose", scenario, "--out", str(file), *options], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return file


def up(
    compose: Compose, file: Path, last: str = "orchestrator"
) -> subprocess.CompletedProcess[str]:
    return compose(file, "up", "--no-build", "--exit-code-from", last)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_shipped_file_is_played_by_compose_alone(compose: Compose, file: Path) -> None:
    done = up(compose, file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pass: every promise held" in done.stdout


def test_the_exit_code_is_the_verdicts(compose: Compose, tmp_path: Path) -> None:
    expected = "expect={outcome: violation}"
    file = written(tmp_path, "oral-traitorous-lieutenant", "--set", expected)
    done = up(compose, file)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "not as expected" in done.stdout


def test_generals_outlive_the_verdict_and_play_again(compose: Compose, tmp_path: Path) -> None:
    file = written(tmp_path, "signed-two-faced-commander")
    for _ in range(2):
        played = compose(file, "run", "--rm", "--no-TTY", "orchestrator")
        assert played.returncode == 0, played.stdout + played.stderr
        running = compose(file, "ps", "--services", "--status", "running").stdout.split()
        assert running == ["general-0", "general-1", "general-2"]


def test_who_was_killed_is_named_and_takes_nobody_with_him(
    compose: Compose, tmp_path: Path
) -> None:
    file = written(tmp_path, "signed-two-faced-commander")
    assert compose(file, "up", "--detach", "general-0", "general-1", "general-2").returncode == 0
    assert compose(file, "kill", "general-2").returncode == 0
    options = ("--rm", "--no-TTY", "--no-deps", "--entrypoint", "python3")
    order = ("run", "--summons", "/run/orders", "/run/scenario.yaml")
    played = compose(file, "run", *options, "orchestrator", "-c", IMPATIENT, *order)
    assert played.returncode == 4
    assert "node 2 not ready: he is not there to be summoned" in played.stderr + played.stdout
    running = compose(file, "ps", "--services", "--status", "running").stdout.split()
    assert running == ["general-0", "general-1"]


def test_generals_of_compose_are_quartered_as_those_of_a_run(
    built: Engine, compose: Compose, tmp_path: Path
) -> None:
    file = written(tmp_path, "oral-traitorous-lieutenant")
    assert compose(file, "up", "--detach", "general-0").returncode == 0
    (composed,) = compose(file, "ps", "--quiet", "general-0").stdout.split()
    with Containers() as backend:
        backend.muster(cast(scenarios.load("oral-traitorous-lieutenant")), None)
        (found,) = [one for one in camp.find(built) if f"byzantine-{one.id}" == backend.project]
        (put_up,) = [
            one["Id"] for one in found.containers if one["Labels"][quarters.GENERAL_LABEL] == "0"
        ]
        ours, theirs = (built.client.api.inspect_container(id) for id in (put_up, composed))
    assert _given(ours) == _given(theirs)
    assert sorted(_networks(ours)) == sorted(_networks(theirs)) == ["command", "field"]


def test_a_token_shows_neither_in_the_file_nor_in_the_container(
    built: Engine, compose: Compose, tmp_path: Path
) -> None:
    """What the generals were told passed through a pipe, and is nowhere when they have read it."""
    file = written(tmp_path, "signed-two-faced-commander")
    assert compose(file, "run", "--rm", "--no-TTY", "orchestrator").returncode == 0
    (id,) = compose(file, "ps", "--quiet", "general-1").stdout.split()
    container = built.client.containers.get(id)
    look = "stat -c '%A %u %s' /run/orders/*; cat /proc/*/environ /proc/*/cmdline"
    shown = container.exec_run(["sh", "-c", look]).output.decode() + container.logs().decode()
    assert "prw------- 65532 0" in shown, "a pipe, which holds nothing"
    assert "BYZANTINE_BIND_HOST" in shown, "the look itself is not blind"
    assert not re.search("[0-9a-f]{64}", shown)


def kv(compose: Compose, *words: str, options: tuple[str, ...] = (), code: int = 0) -> str:
    """What a client of the shipped store prints."""
    done = compose(KV, "run", "--rm", "--no-TTY", *options, "client", *words)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_the_shipped_store_is_exercised_by_compose_alone_and_keeps_what_was_put(
    compose: Compose,
) -> None:
    done = up(compose, KV, "client")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pass: every promise held" in done.stdout
    kv(compose, "put", "name", "Lamport")
    assert compose(KV, "kill", "replica-0").returncode == 0
    as_it_is = ("--no-deps",)
    assert kv(compose, "get", "name", options=as_it_is) == "Lamport\n"
    kv(compose, "cas", "name", "Lamport", "Pease", options=as_it_is)
    assert compose(KV, "start", "replica-0").returncode == 0
    assert compose(KV, "kill", "replica-3").returncode == 0
    # Who came back is one of the three who must answer.
    assert kv(compose, "scan", options=as_it_is) == "'name' 'Pease'\n"
    assert compose(KV, "down", "--timeout", "1").returncode == 0
    assert kv(compose, "get", "name") == "Pease\n"
    kv(compose, "status", code=4)


def test_clients_who_come_first_together_find_one_cluster(compose: Compose) -> None:
    assert compose(KV, "up", "--detach", *(f"replica-{r}" for r in range(4))).returncode == 0
    with ThreadPoolExecutor(3) as hands:
        keys = ("a", "b", "c")
        list(hands.map(lambda key: kv(compose, "put", key, "x"), keys))
    assert kv(compose, "scan") == "".join(f"'{key}' 'x'\n" for key in keys)


def test_a_traitor_of_compose_changes_no_answer(compose: Compose, tmp_path: Path) -> None:
    file = tmp_path / "kv.yaml"
    words = ["compose", "--service", "kv", "--traitor", "0=equivocator", "--out", str(file)]
    assert CliRunner().invoke(byzantine, words).exit_code == 0
    done = up(compose, file, "client")
    assert done.returncode == 0, done.stdout + done.stderr


def test_replicas_of_compose_are_quartered_as_those_of_a_camp(
    built: Engine, compose: Compose, folder: Path
) -> None:
    assert compose(KV, "up", "--detach", "replica-0").returncode == 0
    (composed,) = compose(KV, "ps", "--quiet", "replica-0").stdout.split()
    replicas.up(folder)
    put_up = replicas.container_of(built, folder)[0]
    ours, theirs = (built.client.api.inspect_container(id) for id in (put_up, composed))
    assert _given(ours) == _given(theirs)
    assert sorted(_networks(ours)) == sorted(_networks(theirs)) == ["command", "field"]
    shown = built.client.containers.get(composed).exec_run(
        ["sh", "-c", "stat -c '%A %u %n' /var/lib/byzantine/*"]
    )
    assert b"-rw------- 65532 /var/lib/byzantine/key" in shown.output


def _given(inspected: dict[str, Any]) -> dict[str, Any]:
    host, config = inspected["HostConfig"], inspected["Config"]
    given = {key: host[key] or None for key in GIVEN}
    return given | {key: config[key] for key in ("User", "Hostname", "Image", "Entrypoint")}


def _networks(inspected: dict[str, Any]) -> list[str]:
    return [name.rpartition("_")[2] for name in inspected["NetworkSettings"]["Networks"]]
