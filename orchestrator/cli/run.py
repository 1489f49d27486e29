"""`byzantine run`: plays scenarios and prints what came of them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from orchestrator.backends import Backend
    from orchestrator.exitcodes import ExitCode
    from orchestrator.results import Failure, Result
    from orchestrator.scenario import Scenario
    from orchestrator.trial import Progress

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

BACKENDS = ("processes", "simulation", "containers")


#: What a scenario has besides its generals and the orders that they begin with.
_DESCRIBING: Final = (
    click.option("--force", is_flag=True, help="Play although very many messages are needed."),
    click.option("--protocol", help="Without a file: a rule book of `byzantine list protocols`."),
    click.option("-m", "m", type=int, help="How many traitors to withstand.  [default: 1]"),
    click.option("--commander", type=int, help="Who commands.  [default: 0]"),
    click.option("--over", help="oral or signed, under interactive consistency."),
    click.option("--combiner", help="majority, median or vector."),
    click.option("--values", help="The domain: a,b,c or the word numbers."),
    click.option("--default", "default_order", help="The default order."),
    click.option("--delta", help="How long a round may last: 500ms, 2s."),
    click.option(
        "--traitor",
        "traitors",
        multiple=True,
        metavar="ID[,ID...]=STRATEGY",
        help="Who betrays, and how; may be repeated.",
    ),
)


def describing(command: Decorated) -> Decorated:
    """Gives a command the options that describe a scenario, whatever the number of generals."""
    for option in reversed(_DESCRIBING):
        command = option(command)
    return command


@click.command(short_help="Play scenarios and judge what came of them.")
@click.argument("scenario", nargs=-1)
@click.option("--backend", type=click.Choice(BACKENDS), default="processes", show_default=True)
@click.option(
    "--seed", type=click.IntRange(min=0), help="Take this seed instead of the scenario's."
)
@click.option(
    "--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Change a field: m=2, delta=2s."
)
@click.option(
    "--format", "style", type=click.Choice(("table", "json", "junit")), default="table",
    show_default=True, help="json: an object a run, a line each.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("runs"),
    show_default=True, help="Where run directories go.",
)  # fmt: skip
@click.option(
    "--base-port", type=click.IntRange(1024, 65000), help="Ports from here on; else free ones."
)
@click.option(
    "--keep", is_flag=True, help="Leave containers and networks up; see `byzantine down`."
)
@click.option("--allow-remote", is_flag=True, help="Also use an engine on another machine.")
@click.option(
    "--summons", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Play with generals who wait at named pipes in this folder: see `byzantine compose`.",
)  # fmt: skip
@click.option("-n", "n", type=int, help="How many generals.  [default: 4]")
@click.option("--order", help="The commander's order.")
@click.option("--inputs", help="Everyone's own value: 10,11,9.")
@describing
def run(
    scenario: tuple[str, ...],
    backend: str,
    seed: int | None,
    settings: tuple[str, ...],
    style: str,
    out: Path,
    base_port: int | None,
    keep: bool,
    allow_remote: bool,
    summons: Path | None,
    **options: Any,
) -> int:
    """Play scenarios: files, shipped ones by name, or one given by options.

    \b
    byzantine run scenarios/oral-traitorous-lieutenant.yaml
    byzantine run --protocol oral -n 4 -m 1 --traitor 3=flip --order attack
    """
    wanted = chosen(scenario, options, (*settings, *seeding(seed)))
    with backends(backend, base_port, keep, allow_remote, summons) as make:
        return play_all(wanted, make, out, style)


def play_all(
    wanted: Iterable[Scenario],
    make: Callable[[], Backend],
    out: Path,
    style: str,
    conclude: Callable[[Result], str] | None = None,
) -> int:
    """Plays each on a backend of its own and tells what came of it; the exit code of them all.

    `conclude` has a last line to say of each.
    """
    from node.words import json_line
    from orchestrator import report, tables
    from orchestrator.exitcodes import gravest
    from orchestrator.results import Failure
    from orchestrator.scenario.problems import printable

    played: list[Result | Failure] = []
    codes: list[ExitCode] = []
    for one in wanted:
        result, code = _play(one, make(), out)
        codes.append(code)
        played.append(result)
        if isinstance(result, Failure):
            click.echo(printable(f"{result.scenario}: {result.reason}"), err=True)
        elif style == "table":
            tables.table(result, console())
            if conclude:
                click.echo(f"  {conclude(result)}")
        elif style == "json":
            click.echo(json_line(report.verdict_fields(result)))
    if style == "junit":
        click.echo(report.junit(played), nl=False)
    return int(gravest(codes))


def chosen(
    names: tuple[str, ...], options: Mapping[str, Any], settings: tuple[str, ...]
) -> list[Scenario]:
    """Every scenario to play, checked before the first one starts; exits with 2 otherwise."""
    from orchestrator.cli import scenarios
    from orchestrator.scenario import ScenarioError, from_fields
    from orchestrator.scenario.terms import slug

    fields = _fields(options)
    settings = (*settings, *_forcing(options))
    if names and fields:
        hint = " and ".join(f"--set {_setting(field)}" for field in fields)
        raise click.UsageError(f"a scenario says that itself: change it with {hint}")
    if not names and "protocol" not in fields:
        raise click.UsageError("name a scenario, or a --protocol; `byzantine list` shows both")
    usual = _USUAL.get(str(fields.get("protocol")), {"n": 4, "m": 1})
    fields = {"name": slug(options["protocol"] or ""), **usual} | fields
    found, faults = [], []
    for name in names or (None,):
        try:
            one = scenarios.load(name, settings) if name else from_fields(fields, sets=settings)
            scenarios.check_playable(one)
            found.append(one)
        except ScenarioError as fault:
            faults.append(str(fault))
    if faults:
        click.echo("\n".join(faults), err=True)
        raise click.exceptions.Exit(2)
    for one in found:
        scenarios.warn(one)
    return found


def _fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that describe a scenario, as its fields."""
    given = {name: value for name, value in options.items() if value not in (None, ())}
    given.pop("force", None)
    return {_FIELDS.get(name, name): _read(name, value) for name, value in given.items()}


#: Where four generals and one traitor make no sense.
_USUAL = {"tmr": {"n": 7, "m": 1}, "two-generals": {"n": 2, "m": 0}}
#: Options that bear another name than the field, which as a name in Python would be taken.
_FIELDS = {"default_order": "default"}


def _read(name: str, value: Any) -> Any:
    match name:
        case "traitors":
            return [_traitor(text) for text in value]
        case "values" | "inputs":
            parts = [_scalar(part.strip()) for part in value.split(",")]
            return parts if len(parts) > 1 else parts[0]
        case _:
            return _scalar(value)


def _traitor(text: str) -> dict[str, Any]:
    ids, _, strategy = (part.strip() for part in text.partition("="))
    generals = [part.strip() for part in ids.split(",")]
    if not strategy or not all(_GENERAL.fullmatch(general) for general in generals):
        raise click.UsageError(f"--traitor takes ID[,ID...]=STRATEGY, not {text!r}")
    return {"generals": [int(general) for general in generals], "strategy": strategy}


_GENERAL = re.compile(r"[0-9]{1,9}")


def _scalar(value: Any) -> Any:
    """Text as YAML 1.2 reads it, so that `--order 10` and `order: 10` are the same."""
    from orchestrator.scenario import core_scalar

    return core_scalar(value) if isinstance(value, str) else value


def _setting(field: str) -> str:
    """How `--set` writes a field, by example where that is no plain value."""
    examples = {"traitors": "'traitors={3: flip}'", "inputs": "'inputs=[10, 11]'"}
    return examples.get(field) or f"{field}=..."


def seeding(seed: int | None) -> tuple[str, ...]:
    return () if seed is None else (f"seed={seed}",)


def _forcing(options: Mapping[str, Any]) -> tuple[str, ...]:
    return ("force=true",) if options["force"] else ()


@contextmanager
def backends(
    name: str,
    base_port: int | None = None,
    keep: bool = False,
    allow_remote: bool = False,
    summons: Path | None = None,
) -> Iterator[Callable[[], Backend]]:
    """Makes a backend a run; what they share, such as the fork server, ends with the context."""
    if summons is not None:
        from orchestrator.backends.standing import Standing

        yield lambda: Standing(summons)
        return
    if keep and name != "containers":
        raise click.UsageError("--keep is for --backend containers: nothing else outlives its run")
    if name == "containers":
        with _containers(keep, allow_remote) as make:
            yield make
        return
    if name == "simulation":
        from orchestrator.backends.simulation import Simulation

        yield Simulation
        return
    from orchestrator.backends.fork_client import ForkServer
    from orchestrator.backends.processes import Processes

    with ForkServer() as forks:
        yield lambda: Processes(base_port, forks)


@contextmanager
def _containers(keep: bool, allow_remote: bool) -> Iterator[Callable[[], Backend]]:
    """Makes a backend a run, and says at the end which of their containers are still there."""
    from orchestrator.backends.containers import Containers

    made: list[Containers] = []

    def make() -> Backend:
        made.append(Containers(allow_remote=allow_remote, keep=keep))
        return made[-1]

    try:
        yield make
    finally:
        for project in [one.project for one in made if keep and one.project]:
            click.echo(f"kept: docker compose -p {project} ps; byzantine down {project}", err=True)


def _play(scenario: Scenario, backend: Backend, out: Path) -> tuple[Result | Failure, ExitCode]:
    from orchestrator import exitcodes, trial
    from orchestrator.backends import BackendError
    from orchestrator.results import Failure
    from orchestrator.rundir import RunDirError

    try:
        with _progress(scenario.name) as progress:
            played = trial.play(scenario, backend, out, progress)
    except (BackendError, RunDirError) as fault:
        return Failure(scenario.name, str(fault)), exitcodes.ExitCode.INFRASTRUCTURE
    except OSError as fault:
        named = f"{fault.filename}: " if fault.filename else ""
        reason = f"{named}{fault.strerror or fault}"
        return Failure(scenario.name, reason), exitcodes.ExitCode.INFRASTRUCTURE
    return played, exitcodes.of(played)


@contextmanager
def _progress(name: str) -> Iterator[Progress]:
    """Steps on stderr while a run lasts, on a terminal only."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda step: None
        return
    with console.status(name) as status:
        yield lambda step: status.update(f"{name}: {step}")


def console() -> Any:
    """Standard output, as wide as it is; colour only on a terminal."""
    from rich.console import Console

    class Page(Console):
        def on_broken_pipe(self) -> None:
            """The reader left. Rich would end the program with 1, which is a verdict here."""
            raise BrokenPipeError

    width = None if sys.stdout.isatty() else 120
    return Page(file=sys.stdout, width=width, highlight=False, markup=False)
