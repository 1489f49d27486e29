"""What can befall a general's container, each followed by a look that it is so.

EngineError where a container is not in the state it was to be put in by the deadline.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from orchestrator.camp import network_of, start_and_summon
from orchestrator.engine import Engine, EngineError, refusals
from orchestrator.quarters import FIELD

#: Seconds that a container may take to come into the state it is wanted in.
STATE_S: Final = 10.0
#: A container that is not there yet is looked at again after so long, in seconds.
LOOK_AGAIN_S: Final = 0.01
#: Seconds that a container which is told to stop has, before it is killed.
STOP_S: Final = 5


def kill(engine: Engine, container: str) -> None:
    """SIGKILL; he has ended when this returns."""
    with refusals("killing a container"):
        engine.client.api.kill(container)
    _await(engine, container, "exited", lambda found: found["State"]["Status"] == "exited")


def stop(engine: Engine, container: str) -> None:
    """SIGTERM; he has ended when this returns."""
    with refusals("stopping a container"):
        engine.client.api.stop(container, timeout=STOP_S)
    _await(engine, container, "exited", lambda found: found["State"]["Status"] == "exited")


def restart(engine: Engine, container: str, summons: bytes) -> None:
    """Starts a container that has ended; he runs, and is summoned, when this returns."""
    start_and_summon(engine, container, summons)
    _await(engine, container, "running", lambda found: bool(found["State"]["Running"]))


def pause(engine: Engine, container: str) -> None:
    """All of its processes stand still when this returns."""
    with refusals("pausing a container"):
        engine.client.api.pause(container)
    _await(engine, container, "paused", lambda found: bool(found["State"]["Paused"]))


def unpause(engine: Engine, container: str) -> None:
    """They go on when this returns."""
    with refusals("unpausing a container"):
        engine.client.api.unpause(container)
    _await(engine, container, "running", lambda found: not found["State"]["Paused"])


def disconnect(engine: Engine, camp_id: str, container: str) -> None:
    """It is not on the field when this returns; the orchestrator still reaches it."""
    field = network_of(camp_id, FIELD)
    with refusals("disconnecting a container"):
        engine.client.api.disconnect_container_from_network(container, field)
    _await(engine, container, "off the field", lambda found: field not in _networks(found))


def connect(engine: Engine, camp_id: str, container: str, address: str) -> None:
    """It is on the field, at that address, when this returns."""
    field = network_of(camp_id, FIELD)
    with refusals("connecting a container"):
        engine.client.api.connect_container_to_network(container, field, ipv4_address=address)
    _await(
        engine,
        container,
        f"on the field at {address}",
        lambda found: _networks(found).get(field, {}).get("IPAddress") == address,
    )


def _networks(found: dict[str, Any]) -> dict[str, Any]:
    return dict(found["NetworkSettings"]["Networks"])


def _await(
    engine: Engine, container: str, wanted: str, is_so: Callable[[dict[str, Any]], bool]
) -> None:
    until_s = time.monotonic() + STATE_S
    while True:
        with refusals("looking at a container"):
            found = engine.client.api.inspect_container(container)
        if is_so(found):
            return
        if time.monotonic() > until_s:
            state = found["State"]["Status"]
            raise EngineError(f"container {container[:12]} is {state} and never was {wanted}")
        time.sleep(LOOK_AGAIN_S)
