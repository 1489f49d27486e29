"""A scenario as a compose file: generals and orchestrator in containers, and nothing on the host.

The generals wait to be summoned, each at a named pipe on a volume in memory that he shares with the
orchestrator alone. So no key, token or address is written into the file; they find each other by
their names on the two networks. They are quartered like those of a run's camp.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from node.orders import GeneralId
from orchestrator import images, quarters
from orchestrator.images import Image
from orchestrator.quarters import COMMAND, FIELD
from orchestrator.scenario import Scenario

ORCHESTRATOR: Final = "orchestrator"
#: Where a general waits, and where the orchestrator has the same folder of each of them.
ORDERS_FOLDER: Final = PurePosixPath("/run/orders")
SCENARIO_FILE: Final = "/run/scenario.yaml"

#: The key that takes in what all generals have in common, which stands above them.
MERGE: Final = "merge"
_COMMON: Final = "x-general"
_IN_MEMORY_OPTIONS: Final = "uid=65532,gid=65532,mode=0700,size=64k,noexec,nosuid,nodev"


class Uncomposable(Exception):  # noqa: N818 - a scenario that is valid, elsewhere
    """A scenario that needs something of the host's; the text says what."""


def compose_file(scenario: Scenario, file: str, context: str | None) -> str:
    """The text of a compose file that plays a scenario. Uncomposable where it cannot be.

    `file` is what the file will be called; `context` the checkout that images which are missing are
    built from, as seen from the file's folder. None: they must be there.
    """
    _check(scenario)
    return written(_heading(scenario, file), _document(scenario, context), _COMMON)


def written(heading: Iterable[str], document: dict[str, Any], common: str) -> str:
    """A file: comments, and YAML in which what stands at the key `common`, x-NAME, is taken in by
    whoever says MERGE."""
    comments = "".join(f"# {line}".rstrip() + "\n" for line in heading)
    yaml = YAML()
    yaml.width = 100
    yaml.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    yaml.dump(document, out)
    anchor = common.removeprefix("x-")
    text = out.getvalue().replace(f"{common}:\n", f"{common}: &{anchor}\n", 1)
    text = text.replace(f"{MERGE}: {common}\n", f"<<: *{anchor}\n")
    return f"{comments}\n{text}"


def _check(scenario: Scenario) -> None:
    own = sorted({traitor.strategy for traitor in scenario.traitors if ":" in traitor.strategy})
    if own:
        raise Uncomposable(
            f"{', '.join(own)} is a strategy of your own, which the images do not hold"
        )


def _heading(scenario: Scenario, file: str) -> Iterator[str]:
    yield f"{scenario.name}: {scenario.summary}" if scenario.summary else scenario.name
    yield ""
    yield f"  docker compose -f {file} up --exit-code-from {ORCHESTRATOR}"
    yield f"  docker compose -f {file} down --volumes"
    yield ""
    yield "The exit code is the verdict's: 0 where the run came out as its `expect` says. It can be"
    yield f"played again while the generals are up: `docker compose -f {file} run --rm"
    yield f"{ORCHESTRATOR}`, and then whoever is killed takes nobody with him."
    yield ""
    yield f"Written by `byzantine compose {scenario.name}`."


def _document(scenario: Scenario, context: str | None) -> dict[str, Any]:
    generals = range(scenario.n)
    services = {_service(g): _posted(g) for g in generals}
    services[ORCHESTRATOR] = _orchestrator(generals, context)
    return {
        "name": f"byzantine-{scenario.name}",
        _COMMON: _general(context),
        "services": services,
        "networks": {name: {"internal": True} for name in (FIELD, COMMAND)},
        "volumes": {_orders(g): in_memory() for g in generals},
        "configs": {"scenario": {"content": literal(scenario.resolved_yaml())}},
    }


def _general(context: str | None) -> dict[str, Any]:
    """What all generals have in common."""
    patience = f"{quarters.LASTING_PATIENCE_S:g}"
    return {
        **image_of(images.GENERAL, context),
        "command": [
            *("--summons", str(ORDERS_FOLDER / quarters.SUMMONS), "--lasting"),
            *("--port", str(quarters.FIELD_PORT), "--patience", patience),
        ],
        **quartered(quarters.MEMORY_BYTES),
    }


def quartered(memory_bytes: int) -> dict[str, Any]:
    """What a general, or a replica, is given and denied, as a camp does."""
    return {
        "user": quarters.USER,
        "init": True,
        "read_only": True,
        "cap_drop": list(quarters.DENIED_CAPABILITIES),
        "security_opt": list(quarters.SECURITY),
        "mem_limit": memory_bytes,
        "memswap_limit": memory_bytes,
        "pids_limit": quarters.PIDS,
        "tmpfs": [f"{quarters.HEALTH_FOLDER}:{quarters.HEALTH_OPTIONS}"],
        "logging": {"driver": "json-file", "options": dict(quarters.LOG_OPTIONS)},
        # What they log is for `docker compose logs`; the page is the orchestrator's.
        "attach": False,
    }


def _posted(general: GeneralId) -> dict[str, Any]:
    """What is one general's own."""
    # A name that only the field knows: by it he binds there alone, and is found there alone.
    on_field = f"{_service(general)}.{FIELD}"
    return {
        MERGE: _COMMON,
        "hostname": _service(general),
        "environment": {"BYZANTINE_BIND_HOST": on_field},
        "labels": {quarters.GENERAL_LABEL: str(general)},
        "networks": {FIELD: {"aliases": [on_field]}, COMMAND: {}},
        "volumes": [f"{_orders(general)}:{ORDERS_FOLDER}"],
    }


def _orchestrator(generals: range, context: str | None) -> dict[str, Any]:
    return {
        **image_of(images.ORCHESTRATOR, context),
        "command": ["run", "--summons", str(ORDERS_FOLDER), SCENARIO_FILE],
        "init": True,
        "cap_drop": list(quarters.DENIED_CAPABILITIES),
        "security_opt": list(quarters.SECURITY),
        "depends_on": [_service(g) for g in generals],
        "networks": [COMMAND],
        "volumes": [f"{_orders(g)}:{ORDERS_FOLDER / str(g)}" for g in generals],
        "configs": [{"source": "scenario", "target": SCENARIO_FILE}],
    }


def image_of(image: Image, context: str | None) -> dict[str, Any]:
    """The image, and how to build it where it is missing."""
    if context is None:
        return {"image": image.name}
    base = f"${{BASE_IMAGE:-{image.base}}}"
    arguments = {"BASE_IMAGE": base, "VERSION": image.name.partition(":")[2]}
    build = {"context": context, "target": image.target, "network": "host", "args": arguments}
    return {"image": image.name, "build": build}


def in_memory() -> dict[str, Any]:
    """A small volume that no disk has."""
    options = {"type": "tmpfs", "device": "tmpfs", "o": _IN_MEMORY_OPTIONS}
    return {"driver": "local", "driver_opts": options}


def literal(text: str) -> str:
    """Text as it stands: compose would take a dollar for a variable."""
    block: str = LiteralScalarString(text.replace("$", "$$"))
    return block


def _service(general: GeneralId) -> str:
    return f"general-{general}"


def _orders(general: GeneralId) -> str:
    return f"orders-{general}"
