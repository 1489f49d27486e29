"""`byzantine up --service`, and `byzantine kv`: a replicated service, and hands to use it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from orchestrator.client import Client
    from orchestrator.replication.homes import Standing
    from orchestrator.replication.ordeal import Ordeal

#: Where a cluster lives if nothing else is said.
FOLDER = Path("clusters/kv")

_folder = click.option(
    "--cluster", "folder", type=click.Path(file_okay=False, path_type=Path), default=FOLDER,
    show_default=True, envvar="BYZANTINE_CLUSTER", help="The cluster's folder.",
)  # fmt: skip
_style = click.option(
    "--format", "style", type=click.Choice(("table", "json")), default="table", show_default=True
)


def describing_service(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that describe a service and its replicas."""
    for option in reversed(_SERVICE_OPTIONS):
        command = option(command)
    return command


def placing_service(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say where a service's replicas live."""
    return _folder(_backend(command))


_backend = click.option(
    "--backend", type=click.Choice(("processes", "containers")),
    help="Where the replicas live.  [default: processes]",
)  # fmt: skip
_SERVICE_OPTIONS = (
    click.option("--service", help="Replicas of a service: kv, or your own module:Class."),
    click.option("--clients", default=16, show_default=True, type=click.IntRange(1, 10_000),
                 help="How many clients get a key."),
    click.option("--auth", type=click.Choice(("macs", "signatures")), default="macs",
                 show_default=True, help="How clients prove their requests."),
    click.option("--memory", is_flag=True, help="Write nothing down: who is killed has lost all."),
    click.option("--no-batching", is_flag=True, help="One request a sequence number."),
    click.option("--no-digest-replies", is_flag=True, help="Every replica sends the whole result."),
    click.option("--no-tentative", is_flag=True, help="Execute nothing before it is committed."),
    click.option("--no-piggyback", is_flag=True, help="Say every commit at once, by itself."),
    click.option("--no-read-only", is_flag=True, help="Order reads like writes."),
    click.option("--timeout", "timeout_s", default=1.0, show_default=True, type=float,
                 help="Seconds that backups wait before they move the view."),
    click.option("--traitor", "traitors", multiple=True, metavar="R=STRATEGY",
                 help="Replica R plays a strategy; `byzantine kv strategies` names them."),
)  # fmt: skip


def put_up(n: int, service: str, folder: Path, backend: str | None, clients: int,
           traitors: tuple[str, ...], **switches: Any) -> None:  # fmt: skip
    """Has the replicas of a service run, and leaves them running: `byzantine kv` uses them. Those
    of a cluster that is there already know again what they wrote down."""
    from node import cluster
    from orchestrator.replication.homes import CAMP_FILE, backend_of, home_of, home_on

    folder = folder.absolute()
    with _cluster_errors():
        if (folder / cluster.FILE).exists():
            configuration = cluster.read(folder).configuration
            if backend not in (None, backend_of(folder)):
                raise click.UsageError(f"{folder} has its replicas in {backend_of(folder)}")
            home = home_of(folder)
            backend = backend_of(folder)
        else:
            configuration = configured(n, switches)
            home = home_on(backend or "processes")
        casting = cast_replicas(traitors, configuration.n)
        described = home.put_up(folder, configuration, service, clients, casting)
    click.echo(
        f"{described.configuration.n} replicas of {described.service} are up in "
        f"{backend or 'processes'}, {folder}"
    )
    if backend == "containers":
        id = (folder / CAMP_FILE).read_text("ascii").strip()
        click.echo(f"`byzantine down {id}` removes them, and what they have written down")


@click.group(short_help="Use a replicated key-value store.")
@click.option(
    "--desks",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where replicas that compose has put up wait for their cluster.",
)
def kv(desks: Path | None) -> None:
    """The replicated key-value store: f + 1 replicas must agree on every answer."""
    if desks is not None:
        from orchestrator.replication.desks import found_at

        with _cluster_errors():
            found_at(desks, FOLDER)


@kv.command()
@click.argument("key")
@click.argument("value")
@_folder
def put(folder: Path, key: str, value: str) -> None:
    """Set KEY to VALUE; - reads the value from standard input."""
    data = sys.stdin.buffer.read() if value == "-" else value.encode()
    _do(folder, lambda client: client.put(key, data))


@kv.command()
@click.argument("key")
@_folder
def get(folder: Path, key: str) -> int:
    """Print the value of KEY. Exit code 1 if there is none."""
    found = _do(folder, lambda client: client.get(key))
    if found is None:
        click.echo(f"no key {key!r}", err=True)
        return 1
    click.echo(found)
    return 0


@kv.command()
@click.argument("key")
@_folder
def delete(folder: Path, key: str) -> int:
    """Remove KEY. Exit code 1 if there is none."""
    if _do(folder, lambda client: client.delete(key)):
        return 0
    click.echo(f"no key {key!r}", err=True)
    return 1


@kv.command()
@click.argument("key")
@click.argument("expected")
@click.argument("value")
@click.option("--absent", is_flag=True, help="Only if there is no KEY; EXPECTED is ignored.")
@_folder
def cas(folder: Path, key: str, expected: str, value: str, absent: bool) -> int:
    """Set KEY to VALUE if it is EXPECTED. Exit code 1 if it is not."""
    old = None if absent else expected.encode()
    if _do(folder, lambda client: client.cas(key, old, value.encode())):
        return 0
    click.echo(f"{key!r} is not that", err=True)
    return 1


@kv.command()
@click.argument("prefix", default="")
@_folder
@_style
def scan(folder: Path, prefix: str, style: str) -> None:
    """List the keys that begin with PREFIX, and their values."""
    entries = _do(folder, lambda client: client.scan(prefix))
    if style == "json":
        click.echo(json.dumps({k: v.decode(errors="backslashreplace") for k, v in entries}))
        return
    for key, value in entries:
        click.echo(f"{key!r} {value.decode(errors='backslashreplace')!r}")


@kv.command()
@_folder
@_style
def status(folder: Path, style: str) -> int:
    """Show each replica: running or not, its view, how far it has executed.

    Exit code 3 if too few run to answer anybody.
    """
    from node.cluster import read
    from orchestrator.replication.homes import Condition, home_of

    with _cluster_errors():
        quorum = read(folder).configuration.quorum
        standings = home_of(folder).standings(folder.absolute())
    if style == "json":
        click.echo(json.dumps([_fields(one) for one in standings], indent=2))
    else:
        for one in standings:
            click.echo(_line(one))
    running = [one for one in standings if one.condition is Condition.RUNNING]
    return 0 if len(running) >= quorum else 3


@kv.command()
@click.argument("replica", type=click.IntRange(min=0), required=False)
@_folder
@_style
def logs(folder: Path, replica: int | None, style: str) -> None:
    """Show what the replicas told of themselves, all or one of them: starts, views, states that
    they took over, who they found out."""
    from node.words import json_line
    from orchestrator.replication.homes import home_of
    from orchestrator.replication.logs import events, told

    with _cluster_errors():
        said = home_of(folder).logs(folder.absolute())
    if replica is not None and replica not in said:
        raise click.UsageError(f"there is no replica {replica}: they are 0 to {len(said) - 1}")
    for one in events(said if replica is None else {replica: said[replica]}):
        click.echo(json_line(one.fields) if style == "json" else told(one))


@kv.command()
@_folder
def down(folder: Path) -> None:
    """Stop the replicas; `byzantine up --service kv` starts them again."""
    from orchestrator.replication.homes import home_of

    with _cluster_errors():
        stopped = home_of(folder).stop(folder.absolute())
    click.echo(f"stopped: {', '.join(map(str, stopped)) or 'none was running'}")


@kv.command()
@click.argument("replica", type=int)
@_folder
def kill(folder: Path, replica: int) -> None:
    """SIGKILL one replica; `byzantine up --service kv` brings it back."""
    from orchestrator.replication.homes import home_of

    with _cluster_errors():
        home_of(folder).kill(folder.absolute(), replica)


@kv.command()
@click.argument("replica", type=int)
@_folder
def pause(folder: Path, replica: int) -> None:
    """Have one replica stand still, its links open, until `resume`."""
    from orchestrator.replication.homes import home_of

    with _cluster_errors():
        home_of(folder).pause(folder.absolute(), replica)


@kv.command()
@click.argument("replica", type=int)
@_folder
def resume(folder: Path, replica: int) -> None:
    """Have a replica that was paused go on."""
    from orchestrator.replication.homes import home_of

    with _cluster_errors():
        home_of(folder).resume(folder.absolute(), replica)


@kv.command()
@click.option("--clients", default=3, show_default=True, type=click.IntRange(1, 64))
@click.option(
    "--operations",
    default=40,
    show_default=True,
    type=click.IntRange(1, 10_000),
    help="How many each client asks for, one after the other.",
)
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--patience",
    "patience_s",
    default=30.0,
    show_default=True,
    type=float,
    help="Seconds in which an operation is to be answered.",
)
@_folder
@_style
def exercise(folder: Path, clients: int, operations: int, seed: int, patience_s: float,
             style: str) -> int:  # fmt: skip
    """Use the store with several clients at once, and judge what they were answered.

    Who has no answer while nobody else has one either asks no more.

    Exit code 1 if a promise was broken, 3 if nobody can tell.
    """
    from orchestrator.replication.exercise import exercise
    from orchestrator.replication.verdict import State

    with _cluster_errors():
        done = exercise(
            folder, clients=clients, operations=operations, seed=seed, patience_s=patience_s
        )
    if style == "json":
        promises = [vars(promise) for promise in done.promises]
        click.echo(json.dumps({"operations": len(done.calls), "promises": promises}, indent=2))
    else:
        slowest = f"the slowest in {1e3 * done.slowest_s:.0f} ms"
        click.echo(f"{len(done.calls)} operations of {clients} clients in {done.took_s:.1f} s, "
                   f"{slowest if done.slowest_s else 'none of them answered'}")  # fmt: skip
        for promise in done.promises:
            click.echo(f"  {promise.name:<12}  {promise.state:<7}  {promise.because}")
        if done.is_passed:
            click.echo("  pass: every promise held")
    if done.is_passed:
        return 0
    return 1 if any(promise.state is State.BROKEN for promise in done.promises) else 3


@kv.command()
@click.argument("story", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where run directories go.",
)
@_style
def play(story: Path, out: Path, style: str) -> int:
    """Play a service's scenario: replicas among processes, clients, a timetable of misfortunes.

    Exit code 0 if the outcome is the one expected (pass), 1 if not, 3 if nobody can tell.
    """
    from orchestrator.backends import BackendError
    from orchestrator.replication import ordeal
    from orchestrator.replication import story as stories
    from orchestrator.scenario import Outcome, ScenarioError

    try:
        told, written = stories.load(story)
    except ScenarioError as fault:
        click.echo(str(fault), err=True)
        return 2
    with _cluster_errors():
        try:
            came = ordeal.play(told, written, out)
        except BackendError as fault:
            _fail(fault)
    if style == "json":
        click.echo(json.dumps(ordeal.fields(came), indent=2))
    else:
        for line in _told_ordeal(came):
            click.echo(line)
    if came.is_as_expected:
        return 0
    return 1 if told.expect or came.outcome is Outcome.VIOLATION else 3


def _told_ordeal(came: Ordeal) -> Iterator[str]:
    yield f"{came.story.name}: {came.outcome}, {came.path}"
    for promise in came.promises:
        yield f"  {promise.name:<12}  {promise.state:<7}  {promise.because}"
    for replica, why in sorted(came.faulty.items()):
        yield f"  replica {replica} {why}"
    for one in came.incidents:
        when = "" if one.at_s is None else f" at {one.at_s:.2f} s"
        yield f"  {one.text}: {one.failed or 'done' + when}"


@kv.command()
def strategies() -> None:
    """Name the strategies of traitorous replicas."""
    from node.traitors.replicas import REPLICA_STRATEGIES

    width = max(map(len, REPLICA_STRATEGIES))
    for name, strategy in REPLICA_STRATEGIES.items():
        click.echo(f"{name:<{width}}  {strategy.summary}")


@kv.command()
@click.option("-n", "n", default=4, show_default=True, type=click.IntRange(4, 13))
@click.option("--seed", default=1, show_default=True)
def diagram(n: int, seed: int) -> None:
    """Draw the messages of one request, from a simulated run."""
    from orchestrator.replication.diagram import drawn

    click.echo(drawn(n, seed), nl=False)


@kv.command()
@click.option("--seeds", default=100, show_default=True, type=click.IntRange(1))
@click.option("--first", default=0, show_default=True, type=click.IntRange(0))
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1, 256))
@_style
def simulate(seeds: int, first: int, jobs: int, style: str) -> int:
    """Play simulated clusters through crashes, restarts, partitions, loss and traitors.

    Each seed is another cluster. Exit code 1 if a promise was broken in one.
    """
    from orchestrator.replication.campaign import sweep

    with _counter(seeds) as count:
        broken = sweep(first, seeds, lambda played: count(), jobs)
    if style == "json":
        told = [{"seed": b.seed, "what": b.what, "promises": [vars(p) for p in b.promises]}
                for b in broken]  # fmt: skip
        click.echo(json.dumps({"seeds": seeds, "first": first, "broken": told}, indent=2))
    else:
        for one in broken:
            for promise in one.promises:
                if promise.state != "held":
                    click.echo(
                        f"seed {one.seed}: {promise.name} {promise.state}: {promise.because}"
                    )
            click.echo(f"  {one.what}; again: byzantine kv simulate --first {one.seed} --seeds 1")
        click.echo(f"{seeds} seeds, {len(broken)} with a broken promise")
    return 1 if broken else 0


@contextmanager
def _counter(total: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr, on a terminal only."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda: None
        return
    with Progress(console=console) as progress:
        task = progress.add_task("seeds", total=total)
        yield lambda: progress.advance(task)


def cast_replicas(traitors: tuple[str, ...], n: int) -> dict[int, str]:
    from node.traitors.replicas import REPLICA_STRATEGIES

    casting = {}
    for one in traitors:
        replica, _, strategy = one.partition("=")
        if not replica.isdigit() or int(replica) >= n:
            raise click.UsageError(f"--traitor {one}: R is a replica, 0 .. {n - 1}")
        if strategy not in REPLICA_STRATEGIES:
            raise click.UsageError(f"--traitor {one}: there is {', '.join(REPLICA_STRATEGIES)}")
        casting[int(replica)] = strategy
    return casting


def configured(n: int, switches: dict[str, Any]) -> Any:
    from node.protocols.pbft.configuration import Authentication, Configuration

    try:
        return Configuration(
            n=n,
            authentication=Authentication(switches["auth"]),
            is_durable=not switches["memory"],
            has_batching=not switches["no_batching"],
            has_digest_replies=not switches["no_digest_replies"],
            has_tentative_execution=not switches["no_tentative"],
            has_piggybacked_commits=not switches["no_piggyback"],
            has_read_only=not switches["no_read_only"],
            timeout_s=switches["timeout_s"],
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _do(folder: Path, what: Callable[[Client], Any]) -> Any:
    from orchestrator.client import Client, NoAnswer, Refused

    with _cluster_errors():
        try:
            with Client(folder) as client:
                return what(client)
        except NoAnswer as fault:
            _fail(fault)
        except Refused as fault:
            raise click.UsageError(str(fault)) from None


@contextmanager
def _cluster_errors() -> Iterator[None]:
    from node.cluster import ClusterError

    try:
        yield
    except ClusterError as error:
        _fail(error)


def _fail(error: Exception) -> NoReturn:
    from orchestrator.exitcodes import ExitCode

    click.echo(str(error), err=True)
    raise click.exceptions.Exit(ExitCode.INFRASTRUCTURE)


def _fields(one: Standing) -> dict[str, Any]:
    return {**one.told, "replica": one.replica, "condition": one.condition, "seat": one.seat,
            "end": one.end}  # fmt: skip


def _line(one: Standing) -> str:
    if one.seat is None:
        return f"replica {one.replica}  {click.style('down', fg='red')}  {one.end}".rstrip()
    if one.condition == "paused":
        return f"replica {one.replica}  {one.seat}  {click.style('paused', fg='yellow')}"
    told = one.told
    if not told:
        return f"replica {one.replica}  {one.seat}  starting"
    state = "active" if told["is_active"] else "changing views"
    return (
        f"replica {one.replica}  {one.seat}  view {told['view']} {state}  "
        f"executed {told['executed']}  stable {told['stable']}"
    )
