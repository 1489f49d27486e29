"""What containers need on this machine: each thing tried, not assumed, and how to mend it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from docker.errors import ContainerError

from orchestrator import arp, images, quarters, subnets
from orchestrator.engine import Engine, EngineError, connect, find_endpoint, refusals
from orchestrator.images import Condition

#: A plugin of the docker command that does not say its version by then is not there, in seconds.
PLUGIN_S: Final = 10
#: The fewest generals who withstand a traitor among them.
GENERALS_MIN: Final = 4
#: The port in a trial rule, where nobody listens.
_TRIAL_PORT: Final = 9
_BUILD: Final = "`byzantine images build`, with --offline where no image registry is reached"

#: All that partitions are made of: a set table, a one-way drop by port, chance, a count, read back.
_NFTABLES_TRIAL: Final = f"""
set -e
nft add table inet trial
nft add chain inet trial input '{{ type filter hook input priority 0; }}'
nft add rule inet trial input ip saddr 192.0.2.1 tcp dport {_TRIAL_PORT} counter drop
nft add rule inet trial input tcp dport {_TRIAL_PORT} numgen random mod 100 '<' 30 counter drop
nft list table inet trial
nft delete table inet trial
"""
_NETEM_TRIAL: Final = "tc qdisc add dev lo root netem delay 1ms && tc qdisc del dev lo root"


class State(StrEnum):
    GOOD = "good"
    #: Something cannot be done, and nothing needs it.
    ABSENT = "absent"
    #: Something that is needed is not there.
    MISSING = "missing"
    #: Could not be looked at, because something else is missing.
    UNTESTED = "untested"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, what was found, and how to mend it where it must be."""

    what: str
    state: State
    found: str
    mend: str = ""

    @property
    def is_in_the_way(self) -> bool:
        return self.state in (State.MISSING, State.UNTESTED)


def examine(*, allow_remote: bool = False) -> Iterator[Finding]:
    """Everything in turn. Without an engine the rest is looked at as far as it can be."""
    engine: Engine | None = None
    try:
        engine = connect(allow_remote=allow_remote)
        found = f"{engine.version}, API {engine.api_version}, at {engine.endpoint}"
        yield Finding("engine", State.GOOD, found)
    except EngineError as error:
        yield Finding("engine", State.MISSING, str(error), _engine_mend())
    yield _plugin("compose", ["docker", "compose", "version", "--short"], "docker-compose")
    yield _plugin("buildx", ["docker", "buildx", "version"], "docker-buildx")
    for what, look in _LOOKS.items():
        yield _looked(what, look, engine)
    if engine is not None:
        engine.close()


def _looked(what: str, look: Callable[[Engine], Finding], engine: Engine | None) -> Finding:
    if engine is None:
        return Finding(what, State.UNTESTED, "needs an engine")
    try:
        return look(engine)
    except EngineError as error:
        return Finding(what, State.MISSING, str(error))


def _engine_mend() -> str:
    try:
        is_remote = find_endpoint().is_remote
    except EngineError:
        is_remote = False
    return "" if is_remote else "install Docker Engine 25 or newer, and start it"


def _plugin(what: str, command: list[str], package: str) -> Finding:
    """A plugin of the docker command, by the version that it says it has."""
    mend = f"apt-get install {package}, or https://docs.docker.com/engine/install"
    try:
        said = subprocess.run(  # noqa: S603 - every argument is ours
            command, capture_output=True, text=True, timeout=PLUGIN_S, check=True
        ).stdout
    except FileNotFoundError:
        return Finding(what, State.MISSING, "there is no docker command", mend)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return Finding(what, State.MISSING, f"`{' '.join(command)}` fails", mend)
    return Finding(what, State.GOOD, " ".join(said.split()))


def _subnets(engine: Engine) -> Finding:
    try:
        pool = subnets.pool()
    except ValueError as error:
        return Finding("subnets", State.MISSING, str(error), f"set {subnets.POOL_VARIABLE}")
    with refusals("listing networks"):
        taken = [*subnets.of_engine(engine.client.api.networks()), *subnets.of_host()]
    runs = sum(1 for _ in subnets.free(pool, subnets.PREFIX_MAX, taken)) // 2
    found = f"room for {runs} runs at a time in {pool}"
    mend = f"`byzantine down`, or another pool: {subnets.POOL_VARIABLE}={subnets.POOL}"
    return Finding("subnets", State.GOOD if runs else State.MISSING, found, "" if runs else mend)


def _memory(engine: Engine) -> Finding:
    with refusals("asking the engine about its host"):
        info: dict[str, Any] = engine.client.info()
    missing = [word for key, word in _LIMITS.items() if not info.get(key)]
    if missing:
        mend = "enable the memory and pids controllers of the kernel's control groups"
        return Finding("memory", State.MISSING, f"no limits of {' and '.join(missing)}", mend)
    bytes_free = _bytes_available() or int(info["MemTotal"])
    room = bytes_free // quarters.MEMORY_BYTES
    found = f"{bytes_free / 1e9:.1f} GB free, for {room} generals of 96 MiB at least"
    return _room("memory", room, found, "end something, or take less")


def _arp(engine: Engine) -> Finding:
    if engine.endpoint.is_remote or (room := arp.room()) is None:
        return Finding(
            "arp", State.ABSENT, "the table of the engine's host cannot be seen from here"
        )
    found = f"room for {room} containers at a time that all speak to each other"
    return _room("arp", room, found, arp.advice(arp.entries_of(GENERALS_MIN)))


def _room(what: str, generals: int, found: str, mend: str) -> Finding:
    """Whether so many generals are enough for a run."""
    if generals >= GENERALS_MIN:
        return Finding(what, State.GOOD, found)
    return Finding(what, State.MISSING, found, mend)


def _image(image: images.Image) -> Callable[[Engine], Finding]:
    def look(engine: Engine) -> Finding:
        held = images.held(engine, image)
        if held.condition in (Condition.MISSING, Condition.STALE):
            found = f"{image.name} is {held.condition}"
            return Finding(f"image {image.title}", State.MISSING, found, "`byzantine images build`")
        found = f"{image.name}, {held.megabytes:.0f} MB, {held.condition}"
        return Finding(f"image {image.title}", State.GOOD, found)

    return look


def _nftables(engine: Engine) -> Finding:
    mend = "load the kernel's nf_tables, or run one that has it: without it links cannot be cut"
    return _kernel(engine, "nftables", _NFTABLES_TRIAL, State.MISSING, mend)


def _netem(engine: Engine) -> Finding:
    mend = "not needed: loss and delay act on messages"
    return _kernel(engine, "netem", _NETEM_TRIAL, State.ABSENT, mend)


def _kernel(engine: Engine, what: str, trial: str, otherwise: State, mend: str) -> Finding:
    """Runs a trial in a network namespace of its own, where nothing can come to harm."""
    held = images.held(engine, images.LINK_FAULT)
    if held.condition is Condition.MISSING:
        found = f"needs {images.LINK_FAULT.name}"
        return Finding(what, State.UNTESTED, found, _BUILD)
    with refusals(f"trying {what} in the kernel"):
        try:
            engine.client.containers.run(
                images.LINK_FAULT.name,
                entrypoint=["sh", "-c", trial],
                command=[],
                network_mode="none",
                cap_drop=["ALL"],
                cap_add=["NET_ADMIN"],
                remove=True,
                stderr=True,
                init=True,
                labels={"byzantine.run": "doctor"},
            )
        except ContainerError as error:
            said = _text(error.stderr).strip().splitlines()
            return Finding(what, otherwise, said[0] if said else str(error), mend)
    return Finding(what, State.GOOD, "tried in the kernel")


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def _bytes_available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


_LIMITS: Final = {"MemoryLimit": "memory", "PidsLimit": "processes"}

_LOOKS: Final[dict[str, Callable[[Engine], Finding]]] = {
    "subnets": _subnets,
    "memory": _memory,
    "arp": _arp,
    **{f"image {image.title}": _image(image) for image in images.IMAGES},
    "nftables": _nftables,
    "netem": _netem,
}
