"""The images: which there are, whether they hold the code that runs here, and how they are built.

A general's image carries a digest of `node/`, so that an image of other code than the laboratory's
own is found out before it plays, and not by a decision that nobody can explain.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Final

from docker.errors import ImageNotFound

from orchestrator.engine import Engine, EngineError, refusals

SOURCE_LABEL: Final = "byzantine.source"
#: What `images/base` makes where no registry can be reached.
BASE: Final = "byzantine/base:bookworm"
#: Lines of a failed build that are shown.
LAST_LINES: Final = 25
#: Where this file belongs to a checkout, its root: what images are built from.
CHECKOUT: Final = Path(__file__).parents[1]

#: Told what is being done, line by line.
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Image:
    """One image: its name without version, and what it is made of, by paths in a checkout."""

    title: str
    base: str
    sources: tuple[str, ...]
    folder: str = "."
    target: str | None = None

    @property
    def name(self) -> str:
        return f"byzantine/{self.title}:{version('byzantine')}"


GENERAL: Final = Image("general", "python:3.12-slim-bookworm", ("node",), target="general")
ORCHESTRATOR: Final = Image(
    "orchestrator",
    "python:3.12-slim-bookworm",
    ("node", "orchestrator", "scenarios"),
    target="orchestrator",
)
LINK_FAULT: Final = Image(
    "link-fault", "debian:bookworm-slim", ("images/link-fault",), folder="images/link-fault"
)
IMAGES: Final = (GENERAL, ORCHESTRATOR, LINK_FAULT)


class Condition(StrEnum):
    """How an image stands to the code that is here."""

    READY = "ready"
    MISSING = "missing"
    STALE = "of other code"
    UNKNOWN = "of unknown code"


@dataclass(frozen=True)
class Held:
    """What the engine holds of an image."""

    image: Image
    condition: Condition
    id: str = ""
    megabytes: float = 0.0


def held(engine: Engine, image: Image, tree: Path = CHECKOUT) -> Held:
    """Whether the engine has an image, and one of the code that is here."""
    with refusals(f"looking for {image.name}"):
        try:
            found = engine.client.images.get(image.name)
        except ImageNotFound:
            return Held(image, Condition.MISSING)
    label = found.labels.get(SOURCE_LABEL, "unknown")
    here = digest(tree, image.sources)
    if label == here:
        condition = Condition.READY
    else:
        condition = Condition.UNKNOWN if "unknown" in (label, here) else Condition.STALE
    return Held(image, condition, str(found.id), found.attrs["Size"] / 1e6)


def require(engine: Engine, image: Image) -> str:
    """The name of an image that can be used as it is. EngineError where there is none."""
    match held(engine, image).condition:
        case Condition.MISSING:
            raise EngineError(f"there is no image {image.name}: `byzantine images build` makes it")
        case Condition.STALE:
            raise EngineError(
                f"image {image.name} holds other code than this: `byzantine images build` renews it"
            )
        case Condition.READY | Condition.UNKNOWN:
            return image.name


def digest(tree: Path, sources: Sequence[str]) -> str:
    """A fingerprint of those files, byte code apart; "unknown" where a part of them is not here."""
    state = hashlib.blake2b(digest_size=16)
    for source in sources:
        if not (tree / source).exists():
            return "unknown"
        for path in sorted(_files(tree / source)):
            data = path.read_bytes()
            state.update(f"{path.relative_to(tree).as_posix()}\0{len(data)}\0".encode() + data)
    return state.hexdigest()


def build(image: Image, tree: Path, base: str, progress: Progress) -> None:
    """Builds an image from a checkout. EngineError with the end of the output where that fails."""
    if not (tree / image.folder / "Dockerfile").is_file():
        raise EngineError(
            f"{tree} is no checkout of Byzantine, and images are built from one: --context DIR"
        )
    arguments = [f"BASE_IMAGE={base}", f"VERSION={version('byzantine')}"]
    arguments.append(f"SOURCE={digest(tree, image.sources)}")
    target = ["--target", image.target] if image.target else []
    try:
        _carry_out(
            # Package indexes are reached as this host reaches them, whatever bridges may do.
            ["docker", "buildx", "build", "--load", "--progress=plain", "--network=host"]
            + ["--tag", image.name]
            + target
            + [part for argument in arguments for part in ("--build-arg", argument)]
            + [str(tree / image.folder)],
            progress,
        )
    except FileNotFoundError:
        raise EngineError(
            "the docker command is missing: apt-get install docker-cli docker-buildx"
        ) from None
    except _Failed as error:
        raise EngineError(f"{image.name} could not be built{_hint(str(error))}\n{error}") from None


def build_base(engine: Engine, tree: Path, progress: Progress) -> None:
    """Makes the base image from Debian's packages, unless the engine has it."""
    with refusals(f"looking for {BASE}"):
        if engine.client.images.list(name=BASE):
            return
    try:
        _carry_out([str(tree / "images" / "base"), BASE], progress)
    except FileNotFoundError:
        raise EngineError(
            f"{tree} is no checkout of Byzantine, and images are built from one: --context DIR"
        ) from None
    except _Failed as error:
        raise EngineError(f"{BASE} could not be made\n{error}") from None


class _Failed(Exception):  # noqa: N818 - its text is the last output of what failed
    pass


def _carry_out(command: list[str], progress: Progress) -> None:
    """Runs a command to its end; it ends with us, and all that it started with it."""
    last: deque[str] = deque(maxlen=LAST_LINES)
    with subprocess.Popen(  # noqa: S603 - every argument is ours
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            for line in map(str.rstrip, process.stdout):
                if line:
                    last.append(line)
                    progress(line)
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            raise
    if process.returncode:
        raise _Failed("\n".join(last))


def _hint(output: str) -> str:
    if "is not a docker command" in output:
        return ": buildx is missing: apt-get install docker-buildx"
    if "resolve source metadata" in output or "pull access denied" in output:
        return ": no image registry can be reached; with --offline none is needed"
    return ""


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for found in path.rglob("*"):
        if found.is_file() and "__pycache__" not in found.parts:
            yield found
