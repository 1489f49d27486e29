"""A cluster of PBFT in containers: how its replicas are quartered, and that they outlive them."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from node import cluster
from node.client_links import Counterpart
from node.cluster import ClusterError, Identity
from node.protocols.pbft import wire
from node.protocols.pbft.configuration import Configuration
from node.protocols.pbft.messages import Asked, Request
from orchestrator import camp, quarters
from orchestrator.__main__ import byzantine
from orchestrator.backends.containers import Containers
from orchestrator.casting import cast
from orchestrator.cli import scenarios
from orchestrator.cli.kv import put_up
from orchestrator.client import CLIENTS, Client, NoAnswer
from orchestrator.engine import Engine
from orchestrator.replication import encampment
from orchestrator.replication.homes import CAMP_FILE, Condition, Standing
from tests.containers.replicas import await_told, container_of, left_of, up
from tests.containers.test_compose import GIVEN


def test_the_commands(built: Engine, folder: Path) -> None:
    def say(*words: str, code: int = 0) -> str:
        arguments = [*words, "--cluster", str(folder)]
        result = CliRunner().invoke(byzantine, arguments, standalone_mode=False)
        assert (result.return_value or result.exit_code) == code, result.output
        return result.output

    assert "4 replicas of kv are up in containers" in say(
        "up", "--service", "kv", "--backend", "containers"
    )
    say("kv", "put", "name", "Lamport")
    assert say("kv", "get", "name") == "Lamport\n"
    say("kv", "cas", "name", "Pease", "x", code=1)
    say("kv", "cas", "name", "Lamport", "Shostak")
    assert say("kv", "scan") == "'name' 'Shostak'\n"
    assert "pass: every promise held" in say("kv", "exercise", "--operations", "10")
    say("kv", "kill", "3")
    say("kv", "kill", "3", code=4)
    assert "replica 3  down" in say("kv", "status")
    assert "up in containers" in say("up", "--service", "kv")
    say("kv", "pause", "2")
    told = json.loads(say("kv", "status", "--format", "json"))
    assert [one["condition"] for one in told] == ["running", "running", "paused", "running"]
    say("kv", "delete", "name")
    say("kv", "resume", "2")
    say("kv", "get", "name", code=1)
    assert say("kv", "logs", "2").count("replica 2  started as process") == 1
    say("kv", "pause", "0")
    assert say("kv", "down") == "stopped: 0, 1, 2, 3\n"
    say("kv", "status", code=3)
    with pytest.raises(click.UsageError, match="has its replicas in containers"):
        put_up(4, "kv", folder, "processes", 1, ())
    assert say("kv", "down") == "stopped: none was running\n"
    id = (folder / CAMP_FILE).read_text().strip()
    removed = CliRunner().invoke(byzantine, ["down", id], standalone_mode=False)
    assert removed.output == f"byzantine-{id}  removed: 4 containers, 2 networks, 4 volumes\n"
    assert not left_of(built, id)
    assert "have been removed" in say("up", "--service", "kv", code=4)
    assert "have been removed" in say("kv", "status", code=4)


def test_all_are_killed_at_once_and_nothing_but_the_volumes_remains(
    built: Engine, folder: Path
) -> None:
    up(folder)
    with Client(folder) as client:
        for number in range(20):
            client.put(f"key-{number:02}", str(number).encode())
    before = container_of(built, folder)
    for id in before.values():
        built.client.api.kill(id)
    up(folder)
    after = container_of(built, folder)
    assert not set(before.values()) & set(after.values())
    with Client(folder) as client:
        assert client.scan() == [(f"key-{n:02}", str(n).encode()) for n in range(20)]


def test_a_replica_is_quartered_like_a_general_with_a_volume_of_its_own(
    built: Engine, folder: Path
) -> None:
    up(folder)
    replicas = [
        built.client.api.inspect_container(id) for id in container_of(built, folder).values()
    ]
    with Containers() as backend:
        backend.muster(cast(scenarios.load("oral-traitorous-lieutenant")), None)
        general = built.client.api.inspect_container(backend._container_of[0])
    for one in replicas:
        memory = dict.fromkeys(("Memory", "MemorySwap"), quarters.REPLICA_MEMORY_BYTES)
        assert given(one) == given(general) | memory
        assert one["Config"]["User"] == quarters.USER
        assert one["NetworkSettings"]["Ports"] == {}
        assert len(one["NetworkSettings"]["Networks"]) == 2
    volumes = [mount["Name"] for one in replicas for mount in one["Mounts"]]
    assert len(volumes) == len(set(volumes)) == 4
    label = (folder / CAMP_FILE).read_text().strip()
    for volume in volumes:
        assert built.client.volumes.get(volume).attrs["Labels"][camp.RUN_LABEL] == label


def test_a_replicas_key_is_on_its_volume_and_nowhere_else(built: Engine, folder: Path) -> None:
    """SC6."""
    up(folder)
    keys = []
    for id in container_of(built, folder).values():
        key = camp.read_file(built, id, f"{quarters.REPLICA_FOLDER}/key")
        assert key is not None
        keys.append(key.strip())
    assert len({*keys}) == 4
    shown = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    for id in container_of(built, folder).values():
        container = built.client.containers.get(id)
        look = container.exec_run(["sh", "-c", "cat /proc/*/environ /proc/*/cmdline"]).output
        desk = container.exec_run(["sh", "-c", f"cat {quarters.REPLICA_DESK}/*"]).output
        shown += json.dumps(container.attrs).encode() + container.logs() + look + desk
    assert b"exchange_public" in shown, "the look itself is not blind"
    for key in keys:
        assert key not in shown
        assert bytes.fromhex(key.decode()) not in shown


def test_of_a_cluster_that_cannot_be_founded_nothing_is_left(
    built: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    new_id = camp.new_id
    monkeypatch.setattr(camp, "new_id", lambda: made.append(new_id()) or made[-1])
    with pytest.raises(ClusterError, match=r"replica 2 did not start: .*no-such-strategy"):
        up(folder, casting={2: "no-such-strategy"})
    assert not left_of(built, *made)
    assert not any(path.is_file() for path in folder.glob("*"))
    up(folder)


def test_who_went_beyond_his_memory_is_told_and_comes_back_with_more(
    built: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All do at once, whom a client has asked to keep more than they can."""
    monkeypatch.setenv(encampment.MEMORY_VARIABLE, "64m")
    up(folder)
    with Client(folder, patience_s=1.0) as client:
        kept = filled(client, folder)
    for one in down(folder):
        assert one.end.startswith("it went beyond its 64 MiB of memory")
    monkeypatch.delenv(encampment.MEMORY_VARIABLE)
    for replica in range(4):
        with suppress(ClusterError):
            encampment.kill(folder, replica)
    up(folder)
    with Client(folder) as client:
        assert [key for key, _ in client.scan()][:kept] == [f"{n:04}" for n in range(kept)]


def filled(client: Client, folder: Path) -> int:
    """How many large values were kept, before so many were down that nobody was answered."""
    for number in range(2_000):
        while True:
            try:
                client.put(f"{number:04}", bytes(60_000))
            except NoAnswer:
                if down(folder):
                    return number
            else:
                break
    pytest.fail("there is room for 120 MB")


def down(folder: Path) -> list[Standing]:
    return [one for one in encampment.standings(folder) if one.condition is Condition.DOWN]


def test_strangers_and_noise_at_the_door_are_refused(built: Engine, folder: Path) -> None:
    """NT2, NT5; and each network has the port that is for it."""
    up(folder)
    described = cluster.read(folder)
    stranger, known = Identity(b"s" * 32), cluster.read_identity(folder / CLIENTS / "1.key")
    members = [(m.client_endpoint, m.exchange_public) for m in described.members]
    claimed = wire.encode(Asked(described.id, (Request(0, 1, 0, (b"",), False),)))
    with ExitStack() as stack:
        for one in (stranger, known):
            links = Counterpart(one.exchange_secret, one.exchange_public, members)
            stack.callback(links.close)
            for data in (b"", b"\xff" * 100, claimed):
                links.say(0, data)
        now = await_told(folder, 0, lambda now: now["refusals"].get("client/not_sender"))
        assert now["refusals"] == {"client/malformed": 2, "client/not_sender": 1}
    member = described.members[0]
    for endpoint, other in (
        (member.endpoint, member.client_endpoint),
        (member.client_endpoint, member.endpoint),
    ):
        host, port = endpoint.removeprefix("tcp://").split(":")
        socket.create_connection((host, int(port)), 5).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(other.rpartition(":")[2])), 5)


def test_a_service_of_ones_own_is_refused_because_no_image_holds_it(folder: Path) -> None:
    with pytest.raises(ClusterError, match="no image holds"):
        encampment.put_up(folder, Configuration(n=4), "mine:Counter", 1, {})


def given(inspected: dict[str, Any]) -> dict[str, Any]:
    return {key: inspected["HostConfig"][key] or None for key in GIVEN}
