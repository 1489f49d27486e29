"""A run among containers: what it plays, how its generals are kept, and what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from orchestrator import arp, camp, images, quarters, subnets, trial
from orchestrator.__main__ import byzantine
from orchestrator.backends import Backend, BackendError
from orchestrator.backends.containers import MUSTER_S, Containers
from orchestrator.casting import Cast, cast
from orchestrator.cli import scenarios
from orchestrator.engine import Engine
from orchestrator.headquarters import Headquarters
from orchestrator.results import Result
from tests.containers.shipped import ALONE, hosts_where_it_is_as_in_the_simulator
from tests.live.test_backends_agree import SHIPPED

DEADLINE_S = 60.0

#: A run whose second round lasts for a minute, because somebody in it says nothing.
LASTING = ["--protocol", "oral", "--order", "attack", "--traitor", "3=silent", "--delta", "60s"]

#: Plays a scenario in a process of its own, whose generals do not wait long for one who is dead:
#: not for two musters, as they would, but for one.
IMPATIENT = """
import orchestrator.backends.containers as containers, sys
containers.MUSTER_S, containers.MUSTER_EACH_S = 4.0, 1.0
post = containers.Camp.post
containers.Camp.post = lambda camp, general, patience_s: post(camp, general, patience_s / 2)
from orchestrator.__main__ import main
sys.argv[0] = "byzantine"
main()
"""


#: Processes whose runs are ours. The engine may have others, which no test may touch.
ours = {os.getpid()}
find_all = camp.find


def find_ours(engine: Engine) -> list[camp.Found]:
    return [one for one in find_all(engine) if pid_of(one) in ours]


def pid_of(found: camp.Found) -> int:
    _boot, _space, pid, _started = [*found.owner.split("/"), "", "", "0", ""][:4]
    return int(pid or 0)


@pytest.fixture(autouse=True)
def nothing_is_left(built: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test here leaves the engine as it found it, and says so if it did not."""
    monkeypatch.setattr(camp, "find", find_ours)
    yield
    left = camp.find(built)
    for one in left:
        camp.strike(built, one.id)
    assert not left


@pytest.fixture
def parts() -> Cast:
    return cast(scenarios.load("oral-traitorous-lieutenant"))


# What is played.


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One scenario of each size, as lasting clusters play the others; with `--exhaustive` all."""
    if "path" in metafunc.fixturenames:
        played = SHIPPED if metafunc.config.getoption("--exhaustive") else ALONE
        metafunc.parametrize("path", played, ids=lambda path: path.stem)


def test_a_shipped_scenario_is_the_same_among_containers_as_in_the_simulator(
    path: Path, tmp_path: Path
) -> None:
    hosts_where_it_is_as_in_the_simulator(path, Containers(), tmp_path)


def test_the_run_directory_says_whose_container_was_whose(
    built: Engine, parts: Cast, tmp_path: Path
) -> None:
    seen: dict[int, str] = {}

    class Looking(Containers):
        def command(self, on_decided: Callable[[int], None], *course: Any) -> Any:
            (found,) = [one for one in camp.find(built) if f"byzantine-{one.id}" == self.project]
            for container in found.containers:
                seen[int(container["Labels"][quarters.GENERAL_LABEL])] = container["Id"]
            return super().command(on_decided, *course)

    result = trial.play(scenarios.load("oral-traitorous-lieutenant"), Looking(), tmp_path)
    run = json.loads((path_of(result) / "run.json").read_text())
    assert run["backend"] == "containers"
    assert sorted(seen) == [0, 1, 2, 3]
    for general, id in run["hosts"].items():
        assert len(id) == 12
        assert seen[int(general)].startswith(id)
    for general in seen:
        log = (path_of(result) / f"general-{general}.log").read_text()
        assert '"event":"decided"' in log


def test_the_command_plays_it(tmp_path: Path) -> None:
    done = byzantine_run("oral-traitorous-lieutenant", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "on containers" in done.stdout
    assert "pass: every promise held" in done.stdout


# How generals are kept.


def test_a_general_is_hardened_as_the_design_says(built: Engine, parts: Cast) -> None:
    with mustered(parts) as backend:
        for container in inspected(built, backend):
            host, config = container["HostConfig"], container["Config"]
            assert config["User"] == "65532:65532"
            assert host["ReadonlyRootfs"] is True
            assert host["CapDrop"] == ["ALL"]
            assert not host["CapAdd"]
            assert host["SecurityOpt"] == ["no-new-privileges"]
            assert host["Memory"] == host["MemorySwap"] == 96 << 20
            assert host["PidsLimit"] == 64
            assert host["Init"] is True
            assert not host["Privileged"]
            assert not host["Binds"]
            assert not container["Mounts"]
            assert not host["PortBindings"]
            assert config["Healthcheck"]["Test"][0] == "CMD"


def test_nobody_becomes_more_than_he_is(built: Engine, parts: Cast) -> None:
    with mustered(parts) as backend:
        said = in_container(built, backend, "cat /proc/self/status; touch /x; id -u")
    assert "CapEff:\t0000000000000000" in said
    assert "CapBnd:\t0000000000000000" in said
    assert "NoNewPrivs:\t1" in said
    assert "Read-only file system" in said
    assert said.endswith("65532\n")


def test_the_run_has_two_small_networks_that_lead_nowhere(built: Engine, parts: Cast) -> None:
    with mustered(parts) as backend:
        (found,) = [one for one in camp.find(built) if f"byzantine-{one.id}" == backend.project]
        roles = {one["Labels"]["com.docker.compose.network"]: one for one in found.networks}
        said = in_container(built, backend, "cat /proc/net/route")
    assert set(roles) == {"field", "command"}
    for network in roles.values():
        assert network["Internal"] is True
        (subnet,) = subnets.of_engine([network])
        assert subnet.prefixlen == 26
        assert subnet.subnet_of(subnets.pool({}))
    destinations = [line.split()[1] for line in said.splitlines()[1:]]
    assert len(destinations) == 2
    assert "00000000" not in destinations, "no default route"


def test_a_general_listens_on_the_field_alone(built: Engine, parts: Cast) -> None:
    with mustered(parts) as backend:
        said = in_container(built, backend, "cat /proc/net/tcp")
        listening = [line.split()[1] for line in said.splitlines()[1:] if line.split()[3] == "0A"]
        (found,) = [one for one in camp.find(built) if f"byzantine-{one.id}" == backend.project]
        field = [n for n in found.networks if n["Labels"]["com.docker.compose.network"] == "field"]
    (subnet,) = subnets.of_engine(field)
    addresses = {text.partition(":")[0] for text in listening} - {"0B00007F"}  # the engine's DNS
    assert len(addresses) == 1
    (address,) = addresses
    assert ".".join(str(byte) for byte in reversed(bytes.fromhex(address))) in map(str, subnet)


def test_a_token_shows_nowhere(
    built: Engine, parts: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens: list[bytes] = []
    expect = Headquarters.expect

    def overheard(self: Headquarters, general: int) -> bytes:
        tokens.append(expect(self, general))
        return tokens[-1]

    monkeypatch.setattr(Headquarters, "expect", overheard)
    look = "cat /proc/*/environ /proc/*/cmdline; find / -xdev -newer /proc/1 -type f -exec cat {} +"
    with mustered(parts, tmp_path) as backend:
        shown = json.dumps(inspected(built, backend)) + in_container(built, backend, look)
    shown += "".join(path.read_text() for path in tmp_path.iterdir())
    assert len(tokens) == 4
    assert "BYZANTINE_BIND_HOST" in shown, "the look itself is not blind"
    for token in tokens:
        assert token.hex() not in shown
        assert repr(token) not in shown


def test_compose_knows_the_run_as_a_project(built: Engine, parts: Cast) -> None:
    with mustered(parts) as backend:
        listed = subprocess.run(
            ["docker", "compose", "-p", str(backend.project), "ps", "--format", "{{.Service}}"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
    assert sorted(listed) == ["general-0", "general-1", "general-2", "general-3"]


def test_two_runs_at_once_share_nothing(built: Engine, parts: Cast) -> None:
    with mustered(parts) as one, mustered(parts) as other:
        assert one.project != other.project
        found = [c for c in camp.find(built) if f"byzantine-{c.id}" in (one.project, other.project)]
        nets = [list(subnets.of_engine(camp_.networks)) for camp_ in found]
        assert [len(camp_.containers) for camp_ in found] == [4, 4]
    assert not any(a.overlaps(b) for a in nets[0] for b in nets[1])


@pytest.mark.timeout(400)
def test_forty_runs_in_a_row_share_no_name_and_leave_nothing(built: Engine) -> None:
    """CH11. Two generals each, so that what is tried is the networks' coming and going."""
    scenario = scenarios.load("two-generals-all-arrive")
    projects = set()
    for _ in range(40):
        backend = Containers()
        assert trial.play(scenario, backend).verdict.outcome == "pass"
        projects.add(backend.project)
        assert not camp.find(built)
    assert len(projects) == 40


# What goes wrong, and what is left of it.


def test_a_general_who_is_killed_is_lost_at_once_and_the_run_ends(
    built: Engine, parts: Cast
) -> None:
    with mustered(parts) as backend:
        (victim,) = [c for c in inspected(built, backend) if c["Name"].endswith("general-2")]
        built.client.api.kill(victim["Id"])
        started_s = time.monotonic()
        decided = backend.command(lambda general: None)
        journals = backend.collect()
    assert time.monotonic() - started_s < 30.0
    assert 2 not in journals
    assert set(journals) == {0, 1, 3}
    assert 2 not in decided


def give_all(monkeypatch: pytest.MonkeyPatch, more: dict[str, str]) -> None:
    """Has every container made with these variables as well."""
    put_up = camp.Camp.put_up

    def given_more(
        self: camp.Camp, general: int, image: str, given: dict[str, str], token: bytes
    ) -> str:
        return put_up(self, general, image, given | more, token)

    monkeypatch.setattr(camp.Camp, "put_up", given_more)


def test_a_general_who_cannot_come_up_is_named(
    parts: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a general may not bind is no address of his container."""
    give_all(monkeypatch, {"BYZANTINE_BIND_HOST": "192.0.2.1"})
    why = r"node \d not ready: it could not listen on a port .*: cannot listen on 192.0.2.1:"
    started_s = time.monotonic()
    with pytest.raises(BackendError, match=why), Containers() as backend:
        backend.muster(parts, None)
    assert time.monotonic() - started_s < MUSTER_S / 2, "told at once, not at the deadline"


def test_a_general_whose_program_fails_at_its_start_is_quoted_at_once(
    parts: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_all(monkeypatch, {"BYZANTINE_PORT": "seven"})
    why = r"node \d not ready: it failed \(exit status 2\): .*argument --port: .*'seven'"
    started_s = time.monotonic()
    with pytest.raises(BackendError, match=why), Containers() as backend:
        backend.muster(parts, None)
    assert time.monotonic() - started_s < MUSTER_S / 2, "told at once, not at the deadline"


def test_more_than_the_hosts_arp_table_has_room_for_are_refused_at_once(
    parts: Cast, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(arp, "LIMIT", tmp_path / "gc_thresh3")
    arp.LIMIT.write_text("19\n")
    why = "4 containers .* need 20 entries .* holds 19, enough for 3: .*gc_thresh3=40"
    with pytest.raises(BackendError, match=why), Containers() as backend:
        backend.muster(parts, None)


def test_an_arp_table_that_was_full_is_told_beside_who_did_not_come_up(
    parts: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter((7, 8))
    monkeypatch.setattr(arp, "times_full", lambda: next(counts))
    give_all(monkeypatch, {"BYZANTINE_PORT": "seven"})
    why = r"it failed .*; meanwhile this host's ARP table was full, .* 20 entries .*gc_thresh3=40"
    with pytest.raises(BackendError, match=why), Containers() as backend:
        backend.muster(parts, None)


def test_an_engine_that_refuses_to_start_one_is_quoted(
    parts: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarters, "USER", "nobody-of-that-name")
    why = r"starting general \d: .*nobody-of-that-name"
    with pytest.raises(BackendError, match=why), Containers() as backend:
        backend.muster(parts, None)


def test_a_fault_in_the_middle_leaves_nothing(parts: Cast) -> None:
    def fail(general: int) -> None:
        raise ZeroDivisionError

    with mustered(parts) as backend, pytest.raises(ZeroDivisionError):
        backend.command(fail)


def test_disbanding_twice_or_before_anything_is_well() -> None:
    backend: Backend = Containers()
    backend.disband()
    backend.disband()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminated"])
@pytest.mark.parametrize("stage", ["networks", "first", "mustered"])
def test_an_interrupted_run_returns_130_and_leaves_nothing(
    built: Engine, stage: str, number: int, tmp_path: Path
) -> None:
    with byzantine_process(tmp_path) as run:
        until(lambda: has_reached(built, run, stage))
        run.send_signal(number)
        _, errors = run.communicate(timeout=DEADLINE_S)
    assert run.returncode == 130
    assert "Traceback" not in errors


def test_after_its_orchestrator_was_killed_a_run_ends_and_is_found(
    built: Engine, tmp_path: Path
) -> None:
    with byzantine_process(tmp_path) as run:
        until(lambda: has_reached(built, run, "mustered"))
        (found,) = camps_of(built, run)
        assert CliRunner().invoke(byzantine, ["down"]).exit_code == 0
        assert camps_of(built, run), "a run that is played is left alone"
        run.kill()
    until(lambda: all(c["State"] == "exited" for c in camps_of(built, run)[0].containers))
    done = CliRunner().invoke(byzantine, ["down"])
    assert f"byzantine-{found.id}  removed: 4 containers, 2 networks" in done.output
    assert not camps_of(built, run)


def test_down_all_takes_what_is_played(built: Engine, tmp_path: Path) -> None:
    with byzantine_process(tmp_path) as run:
        until(lambda: has_reached(built, run, "mustered"))
        assert CliRunner().invoke(byzantine, ["down", "--all"]).exit_code == 0
        assert not camps_of(built, run)
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=DEADLINE_S)


def test_what_is_kept_stays_until_it_is_taken_down(built: Engine, tmp_path: Path) -> None:
    done = byzantine_run("oral-traitorous-lieutenant", "--keep", "--out", str(tmp_path))
    assert done.returncode == 0
    (kept,) = [one for one in camp.find(built) if f"byzantine-{one.id}" in done.stderr]
    assert [one["State"] for one in kept.containers] == ["running"] * 4
    assert not kept.is_in_use
    removed = CliRunner().invoke(byzantine, ["down", f"byzantine-{kept.id}"])
    assert removed.exit_code == 0
    assert "removed: 4 containers, 2 networks" in removed.output


def test_a_run_that_cannot_be_removed_is_told_and_the_next_one_is(
    built: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's container has a volume of the first."""
    strike = camp.strike
    monkeypatch.setattr(camp, "strike", lambda engine, id: strike(engine, id, strike_s=0.5))
    ids = sorted(camp.new_id() for _ in range(2))
    for id in ids:
        labels = {camp.RUN_LABEL: id, camp.OWNER_LABEL: camp.this_process()}
        built.client.volumes.create(f"byzantine-{id}_replica-0", labels=labels)
    stranger = built.client.containers.create(
        images.GENERAL.name, volumes={f"byzantine-{ids[0]}_replica-0": {"bind": "/mnt"}}
    )
    try:
        done = CliRunner().invoke(byzantine, ["down", *ids], standalone_mode=False)
        assert done.return_value == 4
        assert re.search(f"{ids[0]} could not be removed .*in use.*{stranger.id}", done.stderr)
        assert f"byzantine-{ids[1]}  removed: 0 containers, 0 networks, 1 volumes" in done.stdout
    finally:
        stranger.remove(force=True)
        strike(built, ids[0])


def test_a_run_that_does_not_exist_is_refused() -> None:
    done = CliRunner().invoke(byzantine, ["down", "nobody"])
    assert done.exit_code == 2
    assert "no such run: nobody" in done.output


def test_a_pool_that_is_used_up_is_a_hint_and_4(tmp_path: Path) -> None:
    started_s = time.monotonic()
    full = os.environ | {subnets.POOL_VARIABLE: "10.213.0.0/26"}
    done = byzantine_run("oral-traitorous-lieutenant", "--out", str(tmp_path), env=full)
    assert done.returncode == 4
    assert "fully subnetted" in done.stderr
    assert "byzantine down" in done.stderr
    assert subnets.POOL_VARIABLE in done.stderr
    assert time.monotonic() - started_s < 20.0


def test_a_missing_image_is_a_hint_and_4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "version", lambda name: "0.0.0")
    done = CliRunner().invoke(
        byzantine,
        ["run", "oral-traitorous-lieutenant", "--backend", "containers", "--out", str(tmp_path)],
        standalone_mode=False,
    )
    assert done.return_value == 4
    assert "`byzantine images build`" in done.stderr


def test_without_an_engine_it_is_4(tmp_path: Path) -> None:
    nobody = os.environ | {"DOCKER_HOST": f"unix://{tmp_path}/nobody.sock"}
    done = byzantine_run("oral-traitorous-lieutenant", "--out", str(tmp_path), env=nobody)
    assert done.returncode == 4
    assert "no engine answers at unix://" in done.stderr


def test_only_containers_can_be_kept() -> None:
    done = CliRunner().invoke(byzantine, ["run", "oral-traitorous-lieutenant", "--keep"])
    assert done.exit_code == 2


# How a test looks at a run.


def mustered(parts: Cast, logs: Path | None = None) -> Containers:
    """To be used as a context: generals who stand ready."""
    backend = Containers()
    try:
        backend.muster(parts, logs)
    except BaseException:
        backend.disband()
        raise
    return backend


def inspected(engine: Engine, backend: Containers) -> list[dict[str, Any]]:
    (found,) = [one for one in camp.find(engine) if f"byzantine-{one.id}" == backend.project]
    return [engine.client.api.inspect_container(one["Id"]) for one in found.containers]


def in_container(engine: Engine, backend: Containers, command: str) -> str:
    """What a shell beside one of the generals puts out."""
    container = engine.client.containers.get(inspected(engine, backend)[0]["Id"])
    return container.exec_run(["sh", "-c", command]).output.decode(errors="replace")


def path_of(result: Result) -> Path:
    assert result.path is not None
    return result.path


def arguments(*given: str) -> list[str]:
    return ["run", "--backend", "containers", *given]


def byzantine_run(*given: str, env: Any = None) -> subprocess.CompletedProcess[str]:
    with started([sys.executable, "-m", "orchestrator", *arguments(*given)], env) as run:
        said, errors = run.communicate(timeout=DEADLINE_S)
    return subprocess.CompletedProcess(run.args, run.returncode, said, errors)


def byzantine_process(out: Path) -> subprocess.Popen[str]:
    return started([sys.executable, "-c", IMPATIENT, *arguments(*LASTING), "--out", str(out)])


def started(command: list[str], env: Any = None) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    run = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env)
    ours.add(run.pid)
    return run


def camps_of(engine: Engine, run: subprocess.Popen[str]) -> list[camp.Found]:
    return [one for one in camp.find(engine) if pid_of(one) == run.pid]


def has_reached(engine: Engine, run: subprocess.Popen[str], stage: str) -> bool:
    assert run.poll() is None, "it ended before it got there"
    found = camps_of(engine, run)
    match stage:
        case "networks":
            return bool(found)
        case "first":
            return bool(found) and any(c["State"] == "running" for c in found[0].containers)
        case "mustered":
            return bool(found) and sum(c["State"] == "running" for c in found[0].containers) == 4
    raise AssertionError(stage)


def until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline_s
