"""A lasting cluster: generals who are put up once and obey order after order, in changing roles.

It is a camp like any run's, found again by its labels. Each order is a run of its own, with an
orchestrator of its own, who summons the generals and lets them wait again when it is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Final

from node.orders import GeneralId
from node.settings import summons
from orchestrator import camp, images, quarters, subnets
from orchestrator.backends.containers import Containers
from orchestrator.camp import Camp, Found
from orchestrator.engine import Engine, EngineError
from orchestrator.headquarters import Headquarters

#: Seconds that generals have to come up, and more of them for each.
UP_S: Final = 15.0
UP_EACH_S: Final = 1.0
#: Seconds that generals have to hang up once an order's run is over.
DISMISS_S: Final = 2.0
#: A general who has not come up is asked again after so long, in seconds.
ASK_AGAIN_S: Final = 0.05
#: In the line that ends a general's log of an order.
_LAST_LINE: Final = b'"event":"closed"'
#: What a general answers who is well, before the fingerprint of his key.
_ALIVE: Final = "alive "


@dataclass(frozen=True)
class Member:
    """One general of a cluster. `fingerprint`: his CURVE key's, if he answers; else `ailment`."""

    general: GeneralId
    container: str
    state: str
    fingerprint: str | None
    ailment: str | None


def put_up(engine: Engine, n: int) -> Found:
    """A new cluster of n generals, all of whom answer. EngineError, and nothing left, otherwise."""
    image = images.require(engine, images.GENERAL)
    try:
        pool = subnets.pool()
    except ValueError as error:
        raise EngineError(str(error)) from None
    id = camp.new_id()
    with ExitStack() as undo:
        undo.callback(camp.strike, engine, id)
        pitched = camp.pitch(engine, id, n, pool)
        with ThreadPoolExecutor(camp.HANDS) as hands:
            list(hands.map(_putting_up(pitched, image), range(n)))
        _await_all(engine, id, time.monotonic() + UP_S + n * UP_EACH_S)
        undo.pop_all()
    return find(engine, id)


def find(engine: Engine, id: str | None = None) -> Found:
    """The cluster of that id; without one, the only one there is. EngineError with advice."""
    found = [one for one in camp.find(engine) if one.is_lasting and id in (None, one.id)]
    if not found:
        named = f" {id}" if id else ""
        raise EngineError(f"there is no lasting cluster{named}: `byzantine up -n 10` puts one up")
    if len(found) > 1:
        names = ", ".join(one.id for one in found)
        raise EngineError(f"there are several lasting clusters: say which, --cluster {names}")
    return found[0]


def members(engine: Engine, cluster: Found) -> list[Member]:
    """Every general of a cluster, each asked how he is."""
    with ThreadPoolExecutor(camp.HANDS) as hands:
        return list(hands.map(lambda one: _member(engine, *one), cluster.container_of().items()))


class Lasting(Containers):
    """The run of one order, among the generals of a cluster, who stay."""

    def __init__(self, cluster: Found, *, allow_remote: bool = False) -> None:
        super().__init__(allow_remote=allow_remote, keep=True)
        self._camp_id = cluster.id
        self._cluster = cluster
        self._since_s = time.time()

    def _pitch(self, engine: Engine, n: int) -> str:
        images.require(engine, images.GENERAL)
        for general, container in self._cluster.container_of().items():
            if container["State"] != "running":
                raise EngineError(
                    f"general {general} is {container['State']}: `byzantine down` and `up` give "
                    f"another cluster; or see docker inspect {container['Id'][: camp.SHORT_ID]}"
                )
        self._since_s = time.time()
        return self._cluster.command_gateway

    def _put_up(self, general: GeneralId, token: bytes, patience_s: float) -> None:
        assert self._engine is not None
        container = str(self._cluster.container_of()[general]["Id"])
        self._container_of[general] = container
        call = summons(token, self._hq.endpoint, self._hq.public)
        camp.summon(self._engine, container, call)

    def _address(self, general: GeneralId) -> str:
        networks = self._cluster.container_of()[general]["NetworkSettings"]["Networks"]
        return str(networks[camp.network_of(self._camp_id, quarters.FIELD)]["IPAddress"])

    def _part(self, headquarters: Headquarters) -> None:
        headquarters.dismiss(self._children, time.monotonic() + DISMISS_S)

    def _strike(self) -> None:
        if self._engine is None:
            return
        with closing(self._engine) as engine:
            if self._logs is not None:
                camp.save_logs(engine, self._camp_id, self._logs, self._since_s, _LAST_LINE)
        self._engine = None


def _putting_up(pitched: Camp, image: str) -> Callable[[GeneralId], str]:
    def one(general: GeneralId) -> str:
        environment = pitched.post(general, quarters.LASTING_PATIENCE_S)
        return pitched.put_up(general, image, environment, None)

    return one


def _await_all(engine: Engine, id: str, deadline_s: float) -> None:
    """Until every general answers. EngineError names one who does not."""
    while True:
        ill = [one for one in members(engine, find(engine, id)) if one.ailment]
        if not ill:
            return
        if ill[0].state != "running" or time.monotonic() > deadline_s:
            last = camp.last_words(engine, ill[0].container)
            raise EngineError(f"node {ill[0].general} not ready: {ill[0].ailment}; {last}")
        time.sleep(ASK_AGAIN_S)


def _member(engine: Engine, general: GeneralId, container: camp.Listed) -> Member:
    id, state = str(container["Id"]), str(container["State"])
    if state != "running":
        return Member(general, id[: camp.SHORT_ID], state, None, f"his container is {state}")
    is_well, said = camp.ask(engine, id)
    told = said.strip()
    if is_well and told.startswith(_ALIVE):
        return Member(general, id[: camp.SHORT_ID], state, told.removeprefix(_ALIVE), None)
    return Member(general, id[: camp.SHORT_ID], state, None, told or "he does not answer")
