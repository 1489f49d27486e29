"""What the images hold, and how a general behaves as a container's only process."""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from docker.models.containers import Container

from node.settings import summons
from orchestrator import images
from orchestrator.engine import Engine, EngineError

Start = Callable[..., Container]

#: How DESIGN.md hardens a general.
HARDENED: dict[str, Any] = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "mem_limit": "96m",
    "pids_limit": 64,
    "network_mode": "none",
    "tmpfs": {"/run/byzantine": "uid=65532,gid=65532,mode=0700,size=64k"},
}
HEALTH = ["python3", "-IS", "/opt/byzantine/node/health.py"]
DEADLINE_S = 30.0

#: Prints what is installed, and which of these modules can be imported.
LOOK = """
import importlib.util, json, os, shutil, sys
from importlib.metadata import distributions
print(json.dumps({
    "uid": os.getuid(),
    "python": list(sys.version_info[:2]),
    "packages": {d.metadata["Name"].lower(): d.version for d in distributions()
                 if "/opt/byzantine" in str(d.locate_file(""))},
    "modules": [m for m in ("node", "orchestrator", "pip", "setuptools", "ensurepip", "click")
                if importlib.util.find_spec(m)],
    "tools": [t for t in ("pip", "pip3", "uv", "gcc", "cc", "make") if shutil.which(t)],
}))
"""


@pytest.fixture(scope="module")
def general(built: Engine) -> dict[str, Any]:
    """What a general's image says of itself from inside."""
    said = built.client.containers.run(
        images.GENERAL.name, ["-c", LOOK], entrypoint="python3", network_mode="none", remove=True
    )
    return dict(json.loads(said))


def test_a_general_holds_node_and_nothing_of_the_laboratory(general: dict[str, Any]) -> None:
    assert general["modules"] == ["node"]
    assert general["tools"] == []


def test_a_general_holds_the_locked_packages_at_their_locked_versions(
    general: dict[str, Any],
) -> None:
    lock = tomllib.loads((images.CHECKOUT / "uv.lock").read_text())
    locked = {(one["name"], one["version"]) for one in lock["package"]}
    assert set(general["packages"].items()) <= locked
    assert {"loguru", "msgspec", "numpy", "pynacl", "pyzmq"} <= set(general["packages"])
    assert set(general["packages"]) <= {
        *("loguru", "msgspec", "numpy", "pynacl", "pyzmq"),
        *("cffi", "pycparser"),  # what pynacl needs
    }


def test_a_general_is_nobody_in_particular(general: dict[str, Any]) -> None:
    assert general["uid"] == 65532


def test_an_image_says_what_it_is(built: Engine) -> None:
    for image in images.IMAGES:
        labels = built.client.images.get(image.name).labels
        assert labels["org.opencontainers.image.title"] == f"byzantine {image.title}"
        assert labels["org.opencontainers.image.version"] == image.name.partition(":")[2]
        assert labels[images.SOURCE_LABEL] == images.digest(images.CHECKOUT, image.sources)


def test_a_general_has_a_health_check_and_a_stop_signal(built: Engine) -> None:
    config = built.client.images.get(images.GENERAL.name).attrs["Config"]
    assert config["Healthcheck"]["Test"] == ["CMD", *HEALTH]
    assert config["StopSignal"] == "SIGTERM"
    assert config["User"] == "65532:65532"


@pytest.mark.parametrize("init", [True, False], ids=["with-init", "as-process-1"])
def test_a_hardened_general_is_healthy_and_stops_within_a_second(start: Start, init: bool) -> None:
    container = start(images.GENERAL.name, **_waiting(), **HARDENED, init=init)
    _until_healthy(container)
    asked_s = time.monotonic()
    container.stop(timeout=10)
    took_s = time.monotonic() - asked_s
    container.reload()
    assert container.attrs["State"]["ExitCode"] == 0
    assert took_s < 1.0
    assert '"event":"dismissed"' in container.logs().decode()


def test_a_stopped_general_is_called_unhealthy(start: Start) -> None:
    container = start(images.GENERAL.name, **_waiting(), **HARDENED, init=True)
    _until_healthy(container)
    stopped = container.exec_run(["sh", "-c", "kill -STOP $(cat /run/byzantine/pid)"])
    assert stopped.exit_code == 0
    code, said = container.exec_run(HEALTH)
    assert (code, said) == (1, b"the general did not answer within 3 s\n")


def test_a_general_without_a_folder_for_it_plays_on_unhealthy(start: Start) -> None:
    bare = {key: value for key, value in HARDENED.items() if key != "tmpfs"}
    container = start(images.GENERAL.name, **_waiting(), **bare, init=True)
    _until(lambda: b"nobody can ask" in container.logs())
    assert container.exec_run(HEALTH).exit_code == 1
    container.reload()
    assert container.status == "running"


def test_a_general_without_his_settings_says_what_he_lacks(start: Start) -> None:
    container = start(images.GENERAL.name, **HARDENED, init=True)
    assert container.wait(timeout=DEADLINE_S)["StatusCode"] == 2
    assert b"BYZANTINE_SUMMONS is needed" in container.logs()


def test_the_orchestrator_plays_a_scenario_by_itself(start: Start) -> None:
    container = start(
        images.ORCHESTRATOR.name,
        ["run", "oral-traitorous-lieutenant", "signed-two-faced-commander"],
        cap_drop=["ALL"],
        network_mode="none",
        init=True,
    )
    assert container.wait(timeout=DEADLINE_S)["StatusCode"] == 0, container.logs().decode()
    assert b"pass: every promise held" in container.logs()


def test_the_orchestrator_knows_its_version(start: Start) -> None:
    container = start(images.ORCHESTRATOR.name, ["--version"], network_mode="none")
    assert container.wait(timeout=DEADLINE_S)["StatusCode"] == 0
    assert images.ORCHESTRATOR.name.partition(":")[2] in container.logs().decode()


def test_images_of_the_code_that_is_here_are_ready(built: Engine) -> None:
    for image in images.IMAGES:
        held = images.held(built, image)
        assert held.condition is images.Condition.READY
        assert images.require(built, image) == image.name


def test_an_image_of_other_code_is_refused(built: Engine) -> None:
    other = replace(images.GENERAL, sources=("tests",))
    assert images.held(built, other).condition is images.Condition.STALE
    with pytest.raises(EngineError, match="holds other code than this: `byzantine images build`"):
        images.require(built, other)


def test_an_image_that_is_missing_is_refused(built: Engine) -> None:
    with pytest.raises(EngineError, match=r"no image byzantine/nobody.*images build"):
        images.require(built, replace(images.GENERAL, title="nobody"))


def test_what_fails_in_a_build_is_shown(engine: Engine) -> None:
    with pytest.raises(EngineError, match=r"could not be built[\s\S]*byzantine/no-such-base"):
        images.build(
            replace(images.GENERAL, title="nobody"),
            images.CHECKOUT,
            "localhost:1/byzantine/no-such-base",
            lambda line: None,
        )


def _waiting() -> dict[str, Any]:
    """A general who looks for an orchestrator where none is, and would go on for long."""
    return {
        "command": ["--summons", "-"],
        "told": summons(bytes(32), "tcp://127.0.0.1:9", "0" * 40),
        "environment": {"BYZANTINE_PATIENCE": "1000"},
    }


def _until_healthy(container: Container) -> None:
    _until(lambda: container.exec_run(HEALTH).exit_code == 0)


def _until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline_s
