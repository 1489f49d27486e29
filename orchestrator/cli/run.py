"""`byzantine run`: plays scenarios and prints what came of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from orchestrator.backends import Backend
    from orchestrator.exitcodes import ExitCode
    from orchestrator.results import Result
    from orchestrator.scenario import Scenario
    from orchestrator.trial import Progress

BACKENDS = ("processes", "simulation", "containers")


@click.command()
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
@click.option("--force", is_flag=True, help="Play although very many messages are needed.")
@click.option("--protocol", help="Without a file: oral, signed, exchange, interactive-consistency.")
@click.option("-n", "n", type=int, help="How many generals.  [default: 4]")
@click.option("-m", "m", type=int, help="How many traitors to withstand.  [default: 1]")
@click.option("--order", help="The commander's order.")
@click.option("--commander", type=int, help="Who commands.  [default: 0]")
@click.option("--over", help="oral or signed, under interactive consistency.")
@click.option("--combiner", help="majority, median or vector.")
@click.option("--values", help="The domain: a,b,c or the word numbers.")
@click.option("--default", "default_order", help="The default order.")
@click.option("--inputs", help="Everyone's own value: 10,11,9.")
@click.option("--delta", help="How long a round may last: 500ms, 2s.")
@click.option(
    "--traitor", "traitors", multiple=True, metavar="ID[,ID...]=STRATEGY",
    help="Who betrays, and how; may be repeated.",
)  # fmt: skip
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
    **options: Any,
) -> int:
    """Play scenarios: files, shipped ones by name, or one given by options.

    \b
    byzantine run scenarios/oral-traitorous-lieutenant.yaml
    byzantine run --protocol oral -n 4 -m 1 --traitor 3=flip --order attack
    """
    from orchestrator import report
    from orchestrator.exitcodes import gravest

    played: list[Result] = []
    codes: list[ExitCode] = []
    chosen = _chosen(scenario, options, (*settings, *_seeding(seed), *_forcing(options)))
    with _backends(backend, base_port, keep, allow_remote) as make:
        for one in chosen:
            result, code = _play(one, make(), out)
            codes.append(code)
            if result is None:
                continue
            played.append(result)
            if style == "table":
                report.table(result, _console())
            elif style == "json":
                click.echo(report.json_line(report.verdict_fields(result)))
    if style == "junit":
        click.echo(report.junit(played), nl=False)
    return int(gravest(codes))


def _chosen(
    names: tuple[str, ...], options: Mapping[str, Any], settings: tuple[str, ...]
) -> list[Scenario]:
    """Every scenario to play, checked before the first one starts; exits with 2 otherwise."""
    from orchestrator.cli import scenarios
    from orchestrator.scenario import ScenarioError, from_fields

    fields = _fields(options)
    if names and fields:
        raise click.UsageError(f"with a scenario file, use --set {next(iter(fields))}=...")
    if not names and "protocol" not in fields:
        raise click.UsageError("name a scenario, or a --protocol; `byzantine list` shows both")
    chosen, faults = [], []
    for name in names or (None,):
        try:
            one = scenarios.load(name, settings) if name else from_fields(fields, sets=settings)
            chosen.append(one)
        except ScenarioError as fault:
            faults.append(str(fault))
    if faults:
        click.echo("\n".join(faults), err=True)
        raise click.exceptions.Exit(2)
    for one in chosen:
        scenarios.warn(one)
    return chosen


def _fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that describe a scenario, as its fields."""
    fields = {name: _scalars(value) for name, value in options.items() if value not in (None, ())}
    fields.pop("force", None)
    if "default_order" in fields:
        fields["default"] = fields.pop("default_order")
    if "traitors" in fields:
        fields["traitors"] = [_traitor(text) for text in options["traitors"]]
    for name in ("values", "inputs"):
        if name in fields and options[name] != "numbers":
            fields[name] = [_scalars(part.strip()) for part in options[name].split(",")]
    if fields and "protocol" in fields:
        fields = {"name": str(options["protocol"]), "n": 4, "m": 1} | fields
    return fields


def _traitor(text: str) -> dict[str, Any]:
    ids, separator, strategy = text.partition("=")
    try:
        generals = [int(part) for part in ids.split(",")]
    except ValueError:
        generals = []
    if not separator or not generals or not strategy:
        raise click.UsageError(f"--traitor takes ID[,ID...]=STRATEGY, not {text!r}")
    return {"generals": generals, "strategy": strategy}


def _scalars(value: Any) -> Any:
    """Text as YAML 1.2 reads it, so that `--order 10` and `order: 10` are the same."""
    from orchestrator.scenario import core_scalar

    return core_scalar(value) if isinstance(value, str) else value


def _seeding(seed: int | None) -> tuple[str, ...]:
    return () if seed is None else (f"seed={seed}",)


def _forcing(options: Mapping[str, Any]) -> tuple[str, ...]:
    return ("force=true",) if options["force"] else ()


@contextmanager
def _backends(
    name: str, base_port: int | None, keep: bool, allow_remote: bool
) -> Iterator[Callable[[], Backend]]:
    """Makes a backend a run; what they share, such as the fork server, ends with the context."""
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


def _play(scenario: Scenario, backend: Backend, out: Path) -> tuple[Result | None, ExitCode]:
    from orchestrator import exitcodes, trial
    from orchestrator.backends import BackendError
    from orchestrator.casting import Unplayable
    from orchestrator.rundir import RunDirError

    try:
        with _progress(scenario.name) as progress:
            played = trial.play(scenario, backend, out, progress)
    except Unplayable as fault:
        click.echo(f"{scenario.name}: {fault}", err=True)
        return None, exitcodes.ExitCode.USAGE
    except (BackendError, RunDirError, OSError) as fault:
        click.echo(f"{scenario.name}: {fault}", err=True)
        return None, exitcodes.ExitCode.INFRASTRUCTURE
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


def _console() -> Any:
    """Standard output, as wide as it is; colour only on a terminal."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 120
    return Console(file=sys.stdout, width=width, highlight=False, markup=False)
