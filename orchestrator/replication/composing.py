"""Replicas of the key-value store as a compose file: nothing but the images is needed on the host.

Each replica makes its key on a volume of its own. Its desk is a volume in memory, which it shares
with the client alone: whoever uses the store first founds the cluster there (`desks.py`). So no key
is written into the file, and no client sees a replica's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

import msgspec

from node.protocols.pbft.configuration import Configuration
from node.protocols.pbft.messages import ReplicaId
from orchestrator import images, quarters
from orchestrator.compose import MERGE, image_of, in_memory, literal, quartered, written
from orchestrator.quarters import COMMAND, FIELD
from orchestrator.replication.desks import PLAN_FILE, Plan, door_name, field_name

CLIENT: Final = "client"
#: Where a replica has its desk, and where the client has the desks of all.
DESK: Final = PurePosixPath("/run/desk")
DESKS: Final = PurePosixPath("/run/desks")
#: Where the orchestrator's image keeps what it makes.
CLIENT_FOLDER: Final = "/runs"

_COMMON: Final = "x-replica"


def compose_file(
    plan: Plan, casting: Mapping[ReplicaId, str], file: str, context: str | None
) -> str:
    """The text of a compose file that puts a cluster up. `file` is what it will be called;
    `context` the checkout that missing images are built from, as seen from its folder, if any."""
    return written(_heading(plan, casting, file), _document(plan, casting, context), _COMMON)


def _heading(plan: Plan, casting: Mapping[ReplicaId, str], file: str) -> Iterator[str]:
    compose = f"docker compose -f {file}"
    n, f = plan.configuration.n, plan.configuration.f
    yield f"kv: {n} replicas of a key-value store, {f} of which may betray"
    for replica, strategy in casting.items():
        yield f"    and replica {replica} does: {strategy}"
    yield ""
    yield f"  {compose} up --exit-code-from {CLIENT}"
    yield f"  {compose} run --rm {CLIENT} put name Lamport"
    yield f"  {compose} kill replica-0"
    yield f"  {compose} run --rm --no-deps {CLIENT} get name"
    yield f"  {compose} start replica-0"
    yield f"  {compose} down --volumes"
    yield ""
    yield "The first has several clients use the store at once, and judges what they were answered:"
    yield "0 where every promise held. What was put stays on the volumes. Without --no-deps compose"
    yield "would start a replica that was killed."
    yield ""
    named = "".join(f" --traitor {replica}={one}" for replica, one in casting.items())
    yield f"Written by `byzantine compose --service kv -n {n}{named}`."


def _document(plan: Plan, casting: Mapping[ReplicaId, str], context: str | None) -> dict[str, Any]:
    replicas = range(plan.configuration.n)
    services = {_service(r): _replica(r, casting.get(r)) for r in replicas}
    services[CLIENT] = _client(replicas, context)
    return {
        "name": "byzantine-kv",
        _COMMON: image_of(images.GENERAL, context) | quartered(quarters.REPLICA_MEMORY_BYTES),
        "services": services,
        "networks": {name: {"internal": True} for name in (FIELD, COMMAND)},
        "volumes": {
            **{_service(r): {} for r in replicas},
            **{_desk(r): in_memory() for r in replicas},
            CLIENT: {},
        },
        "configs": {"plan": {"content": literal(_text(plan))}},
    }


def _replica(replica: ReplicaId, strategy: str | None) -> dict[str, Any]:
    # Names that one network knows each: by them it binds there alone, and is found there alone.
    return {
        MERGE: _COMMON,
        "hostname": _service(replica),
        "command": [
            *("--replica", quarters.REPLICA_FOLDER),
            *("--enlist", str(replica), str(DESK)),
            *filter(None, [strategy]),
        ],
        "labels": {quarters.GENERAL_LABEL: str(replica)},
        "networks": {
            FIELD: {"aliases": [field_name(replica)]},
            COMMAND: {"aliases": [door_name(replica)]},
        },
        "volumes": [
            f"{_service(replica)}:{quarters.REPLICA_FOLDER}",
            f"{_desk(replica)}:{DESK}",
        ],
    }


def _client(replicas: range, context: str | None) -> dict[str, Any]:
    return {
        **image_of(images.ORCHESTRATOR, context),
        "entrypoint": ["python3", "-m", "orchestrator", "kv", "--desks", str(DESKS)],
        "command": ["exercise"],
        "init": True,
        "cap_drop": list(quarters.DENIED_CAPABILITIES),
        "security_opt": list(quarters.SECURITY),
        "depends_on": [_service(r) for r in replicas],
        "networks": [COMMAND],
        "volumes": [
            f"{CLIENT}:{CLIENT_FOLDER}",
            *(f"{_desk(r)}:{DESKS / str(r)}" for r in replicas),
        ],
        "configs": [{"source": "plan", "target": str(DESKS / PLAN_FILE)}],
    }


def _text(plan: Plan) -> str:
    """The plan as JSON, without what is so by default."""
    given, usual = plan.configuration, Configuration(n=plan.configuration.n)
    told = {
        name: getattr(given, name)
        for name in Configuration.__struct_fields__
        if name == "n" or getattr(given, name) != getattr(usual, name)
    }
    text = msgspec.json.encode({"clients": plan.clients, "configuration": told})
    return msgspec.json.format(text, indent=2).decode() + "\n"


def _service(replica: ReplicaId) -> str:
    return f"replica-{replica}"


def _desk(replica: ReplicaId) -> str:
    return f"desk-{replica}"
