"""A camp: the networks, containers and volumes of one run, found again by their labels.

What was made is never kept a list of: whoever strikes a camp asks the engine what bears its label.
So a camp whose orchestrator was killed in the middle of making it is found whole. The labels of
docker compose are there too: `docker compose -p byzantine-<id> ps`, `logs` and `down` work.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import tarfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from ipaddress import IPv4Network
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeAlias

from docker.errors import APIError, NotFound
from docker.types import EndpointConfig, IPAMConfig, IPAMPool, LogConfig, Mount
from docker.types.daemon import CancellableStream

from node.orders import GeneralId
from orchestrator import arp, quarters, subnets
from orchestrator.engine import Engine, EngineError, refusals
from orchestrator.quarters import COMMAND, FIELD, GENERAL_LABEL

RUN_LABEL: Final = "byzantine.run"
OWNER_LABEL: Final = "byzantine.owner"

#: Containers that are started, or removed, at a time. More of them only keep each other from
#: importing, on a machine of few cores.
HANDS: Final = 4
#: Seconds that the engine may take to remove what it was told to remove.
STRIKE_S: Final = 60.0
#: Seconds that the engine may take to copy what a general has put out.
COPIED_S: Final = 1.0
#: What the engine is at is looked at again after so long, in seconds.
LOOK_AGAIN_S: Final = 0.02
#: As much of a container's id as people read.
SHORT_ID: Final = 12
#: Characters of a container's last line that are repeated.
LAST_WORDS_MAX: Final = 300

_NETWORK_LABEL: Final = "com.docker.compose.network"
_VOLUME_LABEL: Final = "com.docker.compose.volume"
_NO_ROOM: Final = ("overlaps", "non-overlapping", "fully subnetted")


@dataclass(frozen=True)
class Plot:
    """One network of a camp. Its first address is the engine's host; the generals have the next."""

    name: str
    subnet: IPv4Network

    @property
    def gateway(self) -> str:
        return str(self.subnet.network_address + 1)

    def address(self, general: GeneralId) -> str:
        return str(self.subnet.network_address + 2 + general)


@dataclass(frozen=True)
class Camp:
    """One run's place on an engine, by its id. Made by `pitch`."""

    engine: Engine
    id: str
    field: Plot
    command: Plot

    @property
    def project(self) -> str:
        return project_of(self.id)

    def post(self, general: GeneralId, patience_s: float) -> dict[str, str]:
        """A general's environment: where he may listen, and how long he waits for a word."""
        return {
            "BYZANTINE_BIND_HOST": self.field.address(general),
            "BYZANTINE_PORT": str(quarters.FIELD_PORT),
            "BYZANTINE_PATIENCE": str(patience_s),
        }

    def put_up(
        self,
        general: GeneralId,
        image: str,
        environment: Mapping[str, str],
        summons: bytes | None,
    ) -> str:
        """Starts a general's container and hands him his summons; the container's id.

        Without a summons he is a lasting one, who waits for them.
        """
        options = ["--summons", "-"] + (["--lasting"] if summons is None else [])
        with refusals(f"starting general {general}"):
            container = self._create(f"general-{general}", general, image, options, environment)
            if summons is None:
                self.engine.client.api.start(container)
                return container
            start_and_summon(self.engine, container, summons)
        return container

    def put_up_replica(
        self, replica: GeneralId, image: str, strategy: str | None, memory: str
    ) -> str:
        """Starts a replica's container on its volume, which is made if it is not there; its id.

        `memory` is its limit, as the engine writes it: 512m.
        """
        service = f"replica-{replica}"
        volume = f"{self.project}_{service}"
        options = ["--replica", quarters.REPLICA_FOLDER]
        options += ["--enlist", str(replica), quarters.REPLICA_DESK, *filter(None, [strategy])]
        with refusals(f"starting replica {replica}"):
            api = self.engine.client.api
            api.create_volume(volume, labels=_labels(self.id) | {_VOLUME_LABEL: service})
            container = self._create(
                service,
                replica,
                image,
                options,
                {},
                command_address=self.command.address(replica),
                mem_limit=memory,
                memswap_limit=memory,
                mounts=[Mount(quarters.REPLICA_FOLDER, volume, type="volume")],
            )
            api.start(container)
        return container

    def _create(
        self,
        service: str,
        general: GeneralId,
        image: str,
        options: list[str],
        environment: Mapping[str, str],
        *,
        command_address: str | None = None,
        **given: Any,
    ) -> str:
        """A container that has not started. `given` goes beyond what every general has, or in its
        place."""
        api = self.engine.client.api
        quartered: dict[str, Any] = {
            "init": True,
            "read_only": True,
            "cap_drop": list(quarters.DENIED_CAPABILITIES),
            "security_opt": list(quarters.SECURITY),
            "mem_limit": quarters.MEMORY_BYTES,
            "memswap_limit": quarters.MEMORY_BYTES,
            "pids_limit": quarters.PIDS,
            "tmpfs": {quarters.HEALTH_FOLDER: quarters.HEALTH_OPTIONS},
            "network_mode": self.field.name,
            "log_config": LogConfig(type="json-file", config=dict(quarters.LOG_OPTIONS)),
        }
        endpoints = {
            self.field.name: EndpointConfig(
                api.api_version, ipv4_address=self.field.address(general)
            ),
            self.command.name: EndpointConfig(api.api_version, ipv4_address=command_address),
        }
        created: dict[str, Any] = api.create_container(
            image,
            options,
            hostname=service,
            user=quarters.USER,
            stdin_open=True,
            # Otherwise his input would end with the first who wrote to it.
            detach=True,
            environment=dict(environment),
            name=f"{self.project}-{service}",
            labels=_labels(self.id)
            | {
                GENERAL_LABEL: str(general),
                "com.docker.compose.service": service,
                "com.docker.compose.container-number": "1",
                "com.docker.compose.oneoff": "False",
                # Compose overlooks a container without one.
                "com.docker.compose.config-hash": self.id,
            },
            host_config=api.create_host_config(**quartered | given),
            networking_config=api.create_networking_config(endpoints),  # type: ignore[arg-type]
        )
        return str(created["Id"])


def start_and_summon(engine: Engine, container: str, summons: bytes) -> None:
    """Starts a container and hands its general his summons; refusals are the caller's to tell."""
    with _standard_input(engine, container) as tell:
        engine.client.api.start(container)
        tell(summons)


def summon(engine: Engine, container: str, summons: bytes) -> None:
    """Hands a summons to a general who waits for one."""
    with refusals("summoning a general"), _standard_input(engine, container) as tell:
        tell(summons)


@contextmanager
def _standard_input(engine: Engine, container: str) -> Iterator[Callable[[bytes], None]]:
    """What is told goes to a container's standard input: no `inspect`, log or disk ever has it."""
    link = engine.client.api.attach_socket(container, params={"stdin": 1, "stream": 1})

    def tell(line: bytes) -> None:
        # He may have ended already; the engine's news say so better than a broken pipe.
        with suppress(BrokenPipeError, ConnectionResetError):
            # What is wrapped for reading has the socket inside.
            getattr(link, "_sock", link).sendall(line)

    yield tell
    link.close()


def new_id() -> str:
    """The id of a camp to come. Whoever has it can strike what was made, however little it is."""
    return secrets.token_hex(4)


def pitch(engine: Engine, id: str, generals: int, pool: IPv4Network) -> Camp:
    """Makes the two networks of a camp. EngineError with advice where there is no room for it."""
    if not engine.endpoint.is_remote and (objection := arp.objection(generals)):
        raise EngineError(objection)
    prefix = subnets.prefix_for(generals)
    with ThreadPoolExecutor(2) as hands:
        plots = list(
            hands.map(lambda role: _plot(engine, id, role, pool, prefix), (FIELD, COMMAND))
        )
    return Camp(engine, id, *plots)


def _plot(engine: Engine, id: str, role: str, pool: IPv4Network, prefix: int) -> Plot:
    """A new network on a subnet that is free, and was still free when the engine was asked."""
    api = engine.client.api
    name = network_of(id, role)
    with refusals("listing networks"):
        taken = [*subnets.of_engine(api.networks()), *subnets.of_host()]
    for subnet in subnets.free(pool, prefix, taken):
        plot = Plot(name, subnet)
        ipam = IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet), gateway=plot.gateway)])
        with refusals(f"making network {name}"):
            try:
                api.create_network(
                    name,
                    driver="bridge",
                    # Neither leads out: the orchestrator is at the gateway, on this host.
                    internal=True,
                    ipam=ipam,
                    labels=_labels(id) | {_NETWORK_LABEL: role},
                )
            except APIError as error:
                if any(word in str(error.explanation) for word in _NO_ROOM):
                    continue  # Another run was faster.
                raise
        return plot
    raise EngineError(
        f"no free /{prefix} is left in {pool}, which is fully subnetted: `byzantine down` removes "
        f"what earlier runs left, or choose another pool: {subnets.POOL_VARIABLE}={subnets.POOL}"
    )


class Watch:
    """Hears of containers of a camp that have ended, from the moment it is made.

    `fd` becomes readable when there is news. `ended` maps a container's id to its exit status.
    `is_blind`: the engine tells no more, which it does not do while it lives.
    """

    def __init__(self, engine: Engine, id: str) -> None:
        self.ended: dict[str, int] = {}
        self.is_blind = False
        self._is_closed = False
        self.fd, self._bell = os.pipe()
        os.set_blocking(self.fd, False)
        with refusals("asking for news of containers"):
            self._events: CancellableStream[Any] = engine.client.api.events(
                decode=True,
                filters={"type": "container", "event": "die", "label": f"{RUN_LABEL}={id}"},
            )
        self._thread = threading.Thread(target=self._listen, name="watch", daemon=True)
        self._thread.start()

    def hear(self) -> None:
        """Takes the news as heard, so that `fd` is no longer readable."""
        with suppress(BlockingIOError):
            os.read(self.fd, 1 << 16)

    def forget(self, container: str) -> None:
        """Of one that ended and is to be started again."""
        self.ended.pop(container, None)

    def ring(self) -> None:
        """Makes `fd` readable, from any thread."""
        os.write(self._bell, b"\0")

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        with suppress(OSError):
            self._events.close()
        self._thread.join()
        os.close(self.fd)
        os.close(self._bell)

    def _listen(self) -> None:
        with suppress(Exception):
            for event in self._events:
                self.ended[event["id"]] = int(event["Actor"]["Attributes"].get("exitCode", -1))
                self.ring()
        if not self._is_closed:
            self.is_blind = True
            self.ring()


# What is there, and how it goes.


#: A container, a network or a volume, as the engine lists it.
Listed: TypeAlias = Mapping[str, Any]


@dataclass
class Found:
    """A camp as the engine shows it: what belongs to it, and who made it."""

    id: str
    is_remote: bool
    owner: str = ""
    containers: list[Listed] = field(default_factory=list)
    networks: list[Listed] = field(default_factory=list)
    volumes: list[Listed] = field(default_factory=list)

    @property
    def is_lasting(self) -> bool:
        """Whether its generals wait for orders, run after run."""
        return any("--lasting" in one["Command"] for one in self.containers)

    @property
    def command_gateway(self) -> str:
        """The address of this host on its network of commands."""
        (network,) = [one for one in self.networks if one["Labels"].get(_NETWORK_LABEL) == COMMAND]
        return str(network["IPAM"]["Config"][0]["Gateway"])

    def pitched(self, engine: Engine) -> Camp:
        """The camp as it was pitched. EngineError where its networks are not there any more."""
        plots = {
            one["Labels"].get(_NETWORK_LABEL): Plot(
                one["Name"], IPv4Network(one["IPAM"]["Config"][0]["Subnet"])
            )
            for one in self.networks
        }
        if not {FIELD, COMMAND} <= plots.keys():
            raise EngineError(f"the networks of {project_of(self.id)} are gone")
        return Camp(engine, self.id, plots[FIELD], plots[COMMAND])

    def container_of(self) -> dict[GeneralId, Listed]:
        """Its generals' containers, as the engine lists them, in ascending order."""
        found = {int(one["Labels"][GENERAL_LABEL]): one for one in self.containers}
        return dict(sorted(found.items()))

    @property
    def is_in_use(self) -> bool:
        """Whether the process that made it still runs, or may run where we cannot look."""
        return self.is_remote or is_running(self.owner)


def find(engine: Engine) -> list[Found]:
    """All camps on an engine, whole or in parts, by id."""
    camps: dict[str, Found] = {}
    with refusals("looking for runs"):
        containers = engine.client.api.containers(all=True, filters={"label": RUN_LABEL})
        networks = engine.client.api.networks(filters={"label": RUN_LABEL})
        volumes = _volumes(engine, RUN_LABEL)
    kinds = (("containers", containers), ("networks", networks), ("volumes", volumes))
    for kind, listed in kinds:
        for one in listed:
            labels = one["Labels"]
            id = labels[RUN_LABEL]
            camp = camps.setdefault(id, Found(id, engine.endpoint.is_remote))
            camp.owner = labels.get(OWNER_LABEL, camp.owner)
            getattr(camp, kind).append(one)
    return sorted(camps.values(), key=lambda camp: camp.id)


def strike(engine: Engine, id: str, strike_s: float = STRIKE_S) -> None:
    """Removes all that bears a camp's label. May be repeated, and be done by several at once."""
    api = engine.client.api
    deadline_s = time.monotonic() + strike_s
    by_label = {"label": f"{RUN_LABEL}={id}"}
    with ThreadPoolExecutor(HANDS) as hands, refusals(f"removing run {id}"):
        while True:
            containers = [one["Id"] for one in api.containers(all=True, filters=by_label)]
            refused = _each(
                hands, containers, lambda one: api.remove_container(one, force=True, v=True)
            )
            networks = [one["Id"] for one in api.networks(filters=by_label)]
            refused += _each(hands, networks, api.remove_network)
            volumes = [one["Name"] for one in _volumes(engine, by_label["label"])]
            refused += _each(hands, volumes, api.remove_volume)
            if not (containers or networks or volumes):
                return
            if time.monotonic() > deadline_s:
                why = "".join(f": {one}" for one in refused[:1])
                raise EngineError(f"run {id} could not be removed within {strike_s:g} s{why}")
            time.sleep(LOOK_AGAIN_S)


def _volumes(engine: Engine, label: str) -> list[Listed]:
    return engine.client.api.volumes(filters={"label": label})["Volumes"] or []


def save_logs(
    engine: Engine, id: str, folder: Path, since: float | None = None, end: bytes = b""
) -> None:
    """Writes what each general of a camp has put out into `folder`/general-<id>.log.

    `since` leaves out what was said before, in seconds since the epoch. What a container that goes
    on has put out the engine copies by and by: until `end` is there it is asked again, for a while.
    Of one whose container somebody is removing, nothing can be read any more.
    """
    api = engine.client.api
    deadline_s = time.monotonic() + COPIED_S

    def read(container: Mapping[str, Any]) -> tuple[str, bytes]:
        said = b""
        with _unless_gone():
            said = api.logs(container["Id"], since=since)
            while end not in said and time.monotonic() < deadline_s:
                time.sleep(LOOK_AGAIN_S)
                said = api.logs(container["Id"], since=since)
        return container["Labels"][GENERAL_LABEL], said

    by_label = {"label": [f"{RUN_LABEL}={id}", GENERAL_LABEL]}
    with ThreadPoolExecutor(HANDS) as hands, refusals(f"reading the logs of run {id}"):
        logs = list(hands.map(read, api.containers(all=True, filters=by_label)))
    for general, said in logs:
        (folder / f"general-{general}.log").write_bytes(said)


def log(engine: Engine, container: str) -> bytes:
    """All that a container has put out."""
    with refusals("reading a container's log"):
        said: bytes = engine.client.api.logs(container)
    return said


def ask(engine: Engine, container: str) -> tuple[bool, str]:
    """Has a general's own health check run: whether he is well, and what it says."""
    api = engine.client.api
    with refusals("asking after a general's health"), _unless_gone():
        command = ["python3", "-IS", "/opt/byzantine/node/health.py"]
        asked = api.exec_create(container, command)["Id"]
        said = api.exec_start(asked)
        return api.exec_inspect(asked)["ExitCode"] == 0, said.decode(errors="replace")
    return False, "his container is gone"


def read_file(engine: Engine, container: str, path: str) -> bytes | None:
    """A file of a container, which need not run; None where there is no such file."""
    with refusals(f"reading {path}"), suppress(NotFound):
        stream, _ = engine.client.api.get_archive(container, path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
            file = archive.extractfile(archive.next() or "")
            return file.read() if file else None
    return None


def lay_file(engine: Engine, container: str, path: PurePosixPath, data: bytes) -> None:
    """Writes a file into a container, for whoever it runs as. It is not there all at once."""
    entry = tarfile.TarInfo(path.name)
    entry.size = len(data)
    entry.uid, entry.gid = map(int, quarters.USER.split(":"))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(entry, io.BytesIO(data))
    with refusals(f"writing {path}"):
        engine.client.api.put_archive(container, str(path.parent), packed.getvalue())


def last_words(engine: Engine, container: str) -> str:
    """The last line that a container has put out: of a line of the log, what went wrong."""
    said = b""
    with refusals("reading a container's log"), _unless_gone():
        said = engine.client.api.logs(container, tail=1)
    line = said.decode(errors="replace").strip()
    # What is no line of the log is whatever the interpreter had to say.
    with suppress(ValueError, KeyError, TypeError):
        line = str(json.loads(line)["reason"])
    return line[:LAST_WORDS_MAX]


def _each(hands: ThreadPoolExecutor, ids: Iterable[str], do: Callable[[str], object]) -> list[str]:
    """Does it to each; what is gone already is well. What the engine said of those it left."""

    def one(id: str) -> list[str]:
        with _unless_gone() as said:
            do(id)
        return said

    return [why for said in hands.map(one, ids) for why in said]


@contextmanager
def _unless_gone() -> Iterator[list[str]]:
    """What is gone, or is going, is well. What the engine said of what is still there."""
    said: list[str] = []
    try:
        yield said
    except NotFound:
        pass
    except APIError as error:
        # 409: it is being removed, or a volume is in use. 403: a container has not quite left a
        # network.
        if error.status_code not in (403, 409):
            raise
        said.append(str(error.explanation))


def project_of(id: str) -> str:
    return f"byzantine-{id}"


def network_of(id: str, role: str) -> str:
    """The name of a camp's network: FIELD or COMMAND."""
    return f"{project_of(id)}_{role}"


def _labels(id: str) -> dict[str, str]:
    return {
        RUN_LABEL: id,
        OWNER_LABEL: this_process(),
        "org.opencontainers.image.version": version("byzantine"),
        "com.docker.compose.project": project_of(id),
    }


# Who made it.


def this_process() -> str:
    """This process, as no other ever will be called: boot, space of pids, pid, and its start."""
    return f"{_boot()}/{_pid_space()}/{os.getpid()}/{_started(os.getpid())}"


def is_running(process: str) -> bool:
    """Whether that process of this machine still runs. Where we cannot see its pid, it may."""
    boot, space, pid, started, *_ = [*process.split("/"), "", "", "", ""]
    if boot != _boot() or not pid.isdigit():
        return False
    return space != _pid_space() or (started != "" and started == _started(int(pid)))


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return "unknown"


def _pid_space() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return "unknown"


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks; empty where it does not run."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return ""
    # The name, in brackets, may hold anything; the fields behind it are numbered from 3.
    return stat.rpartition(")")[2].split()[22 - 3]
