"""`byzantine doctor`, `images` and `down`: before containers are started, and after."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from orchestrator.doctor import Finding
    from orchestrator.images import Held, Progress

ALLOW_REMOTE = click.option(
    "--allow-remote", is_flag=True, help="Also use an engine on another machine."
)
_STYLE = click.option(
    "--format", "style", type=click.Choice(("table", "json")), default="table", show_default=True
)


@click.command(short_help="Try what containers need; what is missing.")
@ALLOW_REMOTE
@_STYLE
def doctor(allow_remote: bool, style: str) -> int:
    """Look at all that containers need, and say what is missing and how to mend it.

    Exit code 4 if something that is needed is missing.
    """
    from orchestrator.doctor import examine
    from orchestrator.exitcodes import ExitCode

    findings = []
    for finding in examine(allow_remote=allow_remote):
        findings.append(finding)
        if style == "table":
            _tell(finding)
    if style == "json":
        click.echo(json.dumps([vars(finding) for finding in findings], indent=2))
    is_well = not any(finding.is_in_the_way for finding in findings)
    return ExitCode.AS_EXPECTED if is_well else ExitCode.INFRASTRUCTURE


@click.group()
def images() -> None:
    """The images that containers are made of."""


@images.command("build")
@click.option(
    "--offline", is_flag=True,
    help="Reach no image registry: make the base from Debian's packages (root, debootstrap).",
)  # fmt: skip
@click.option("--base", metavar="IMAGE", help="Build on this image: a Debian with Python >= 3.11.")
@click.option(
    "--context", "tree", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A checkout of Byzantine.  [default: the one that this command runs from]",
)  # fmt: skip
@ALLOW_REMOTE
def build(offline: bool, base: str | None, tree: Path | None, allow_remote: bool) -> None:
    """Build every image from this checkout."""
    if offline and base:
        raise click.UsageError("--offline makes its own base: leave --base out")
    from orchestrator import images
    from orchestrator.engine import EngineError, connect

    tree = (tree or images.CHECKOUT).absolute()
    try:
        engine = connect(allow_remote=allow_remote)
        if offline:
            base = images.BASE
            with _step(base) as progress:
                images.build_base(engine, tree, progress)
        for image in images.IMAGES:
            with _step(image.name) as progress:
                images.build(image, tree, base or image.base, progress)
    except EngineError as error:
        _fail(error)


@images.command("list")
@ALLOW_REMOTE
@_STYLE
def list_(allow_remote: bool, style: str) -> None:
    """Show which images the engine has, and whether they hold the code that is here."""
    from orchestrator import images
    from orchestrator.engine import EngineError, connect

    try:
        engine = connect(allow_remote=allow_remote)
        held = [images.held(engine, image) for image in images.IMAGES]
    except EngineError as error:
        _fail(error)
    if style == "json":
        click.echo(json.dumps([_fields(one) for one in held], indent=2))
        return
    width = max(len(one.image.name) for one in held)
    for one in held:
        size = f"{one.megabytes:6.0f} MB" if one.id else f"{'':9}"
        click.echo(f"{one.image.name:<{width}}  {size}  {one.condition}")


@click.command(short_help="Remove containers, networks and volumes of runs.")
@click.argument("run", nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="Also runs that are still being played.")
@ALLOW_REMOTE
def down(run: tuple[str, ...], is_all: bool, allow_remote: bool) -> int:
    """Remove what runs have made: those named, or all that nobody plays any more.

    Containers, networks, and volumes: what the replicas of a service wrote down is gone, too.

    RUN is an id, as in the project byzantine-<id>. What is left of a run whose orchestrator was
    killed, and what --keep has kept, is found by its labels. Exit code 4 if one cannot be removed.
    """
    from orchestrator import camp
    from orchestrator.engine import EngineError, connect
    from orchestrator.exitcodes import ExitCode

    code = ExitCode.AS_EXPECTED

    if run and is_all:
        raise click.UsageError("--all is for all runs: name none")
    try:
        engine = connect(allow_remote=allow_remote)
        found = {one.id: one for one in camp.find(engine)}
        wanted = [name.removeprefix(camp.project_of("")) for name in run]
        if unknown := [id for id in wanted if id not in found]:
            raise click.UsageError(f"no such run: {', '.join(unknown)}; {_known(found)}")
        for one in [found[id] for id in wanted] or found.values():
            if one.is_in_use and not (run or is_all):
                click.echo(f"{camp.project_of(one.id)}  still played: left alone")
                continue
            try:
                camp.strike(engine, one.id)
            except EngineError as error:
                # The next one may be easier.
                click.echo(str(error), err=True)
                code = ExitCode.INFRASTRUCTURE
                continue
            told = f"{len(one.containers)} containers, {len(one.networks)} networks"
            told += f", {len(one.volumes)} volumes" if one.volumes else ""
            click.echo(f"{camp.project_of(one.id)}  removed: {told}")
    except EngineError as error:
        _fail(error)
    return code


def _known(found: Collection[str]) -> str:
    return f"there are {', '.join(found)}" if found else "there is none"


def _fields(held: Held) -> dict[str, object]:
    return {
        "name": held.image.name,
        "condition": held.condition,
        "id": held.id or None,
        "megabytes": held.megabytes or None,
    }


_COLOURS = {"good": "green", "absent": "yellow", "missing": "red", "untested": "red"}


def _tell(finding: Finding) -> None:
    state = click.style(f"{finding.state:<8}", fg=_COLOURS[finding.state])
    click.echo(f"{state}  {finding.what:<18}  {finding.found}")
    if finding.mend:
        purpose = "to mend it: " if finding.is_in_the_way else ""
        click.echo(f"{'':8}  {'':18}  {purpose}{finding.mend}")


@contextmanager
def _step(name: str) -> Iterator[Progress]:
    """A line when it is done; on a terminal, what is going on until then."""
    from rich.console import Console

    started_s = time.monotonic()
    console = Console(stderr=True, markup=False, highlight=False)
    if console.is_terminal:
        with console.status(name) as status:
            yield lambda line: status.update(f"{name}: {line[: console.width - len(name) - 6]}")
    else:
        yield lambda line: None
    click.echo(f"{name}  {time.monotonic() - started_s:.0f} s")


def _fail(error: Exception) -> NoReturn:
    from orchestrator.exitcodes import ExitCode

    click.echo(str(error), err=True)
    raise click.exceptions.Exit(ExitCode.INFRASTRUCTURE)
