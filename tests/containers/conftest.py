"""An engine, its images, and nothing left behind.

Without an engine these tests are skipped, unless BYZANTINE_REQUIRE_DOCKER=1 says that there must be
one: then they fail.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from orchestrator import camp, images
from orchestrator.backends import lasting
from orchestrator.engine import Engine, EngineError, connect
from orchestrator.replication.homes import CAMP_FILE
from tests.containers.replicas import left_of

# What it asserts is told in full.
pytest.register_assert_rewrite("tests.containers.shipped")

#: Every container that a test starts by itself has this label, and is gone when the test is over.
TEST_LABEL = "byzantine.test"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.containers)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    try:
        found = connect()
    except EngineError as error:
        if os.environ.get("BYZANTINE_REQUIRE_DOCKER") == "1":
            pytest.fail(f"an engine is required here: {error}")
        pytest.skip(str(error))
    yield found
    found.close()


@pytest.fixture(scope="session")
def built(engine: Engine) -> Engine:
    """An engine whose images hold the code that is here; they are built where they do not."""
    base = images.BASE if engine.client.images.list(name=images.BASE) else None
    for image in images.IMAGES:
        if images.held(engine, image).condition is not images.Condition.READY:
            images.build(image, images.CHECKOUT, base or image.base, lambda line: None)
    return engine


@pytest.fixture(scope="module")
def cluster_of(built: Engine) -> Iterator[Callable[[int], camp.Found]]:
    """The lasting cluster of n generals, put up when a test first needs it; none is left when the
    module's tests are over."""
    with ExitStack() as stack:

        def strike(id: str) -> None:
            camp.strike(built, id)
            assert not left_of(built, id)

        @cache
        def put_up(n: int) -> camp.Found:
            cluster = lasting.put_up(built, n)
            stack.callback(strike, cluster.id)
            return cluster

        yield put_up


@pytest.fixture
def folder(built: Engine, tmp_path: Path) -> Iterator[Path]:
    """Where a test may found a cluster of replicas, of whom nothing is left when it ends."""
    path = tmp_path / "cluster"
    yield path
    if (path / CAMP_FILE).exists():
        id = (path / CAMP_FILE).read_text().strip()
        camp.strike(built, id)
        assert not left_of(built, id)


@pytest.fixture
def start(built: Engine) -> Iterator[Callable[..., Container]]:
    """Starts a container in the background; it is removed when the test ends, however it ends.

    `told` is written to its standard input.
    """
    started: list[Container] = []

    def begin(image: str, command: Any = None, told: bytes = b"", **options: Any) -> Container:
        made = built.client.containers.create(
            image, command, labels={TEST_LABEL: "1"}, stdin_open=bool(told), **options
        )
        started.append(made)
        if told:
            link = made.attach_socket(params={"stdin": 1, "stream": 1})
            made.start()
            link._sock.sendall(told)
            link.close()
        else:
            made.start()
        return made

    yield begin
    for container in started:
        container.remove(force=True, v=True)
