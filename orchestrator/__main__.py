"""`python -m orchestrator` and `byzantine`: the laboratory's command line."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
import traceback
from types import FrameType
from typing import Any, Final

import click

#: Each command's name and the module of `orchestrator.cli` that has it: one is loaded, not all.
_COMMANDS: Final = {
    name: module
    for module, names in {
        "run": ["run"],
        "kv": ["kv"],
        "campaign": ["sweep", "shrink", "bounds"],
        "files": ["validate", "schema", "list"],
        "inspect": ["logs", "verify", "views", "journal", "trace"],
        "tree": ["tree"],
        "proof": ["audit", "evidence"],
        "accuracy": ["accuracy"],
        "engine": ["doctor", "images", "down"],
        "compose": ["compose"],
        "cluster": ["up", "status", "order"],
        "costs": ["compare", "plot"],
        "chances": ["losses", "odds"],
    }.items()
    for name in names
}
#: Objects that may be made before the collector looks for garbage: what modules consist of is none,
#: and looking through it time and again is a tenth of the time that a command takes to start.
_UNCOLLECTED_MAX: Final = 200_000
#: As a shell has it where a signal, SIGPIPE, ended the program.
_READER_LEFT: Final = 128 + signal.SIGPIPE
#: `orchestrator.exitcodes` has them all, and takes longer to load than help takes to be read.
_INFRASTRUCTURE: Final = 4
_INTERRUPTED: Final = 130

_EPILOG = """Exit codes: 0 as expected, 1 a promise broken or expect unmet, 2 usage or scenario,
3 unknown or out-of-model without expect, 4 infrastructure, 5 audit failed, 130 interrupted."""


class _Laboratory(click.Group):
    """Commands whose reader may leave, and whose disk may be full: neither is a verdict."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module = importlib.import_module(f"orchestrator.cli.{_COMMANDS[name]}")
        # What would hide a word of Python's own has a line under it.
        command = getattr(module, name, None) or getattr(module, f"{name}_")
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _forget_output()
            raise click.exceptions.Exit(_READER_LEFT) from None
        except OSError as fault:
            _forget_output()
            _tell(fault)
            raise click.exceptions.Exit(_INFRASTRUCTURE) from None
        return code


@click.group(
    cls=_Laboratory, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="byzantine", prog_name="byzantine")
def byzantine() -> None:
    """A laboratory for Byzantine agreement: Lamport's generals for real."""


def main() -> None:
    """Runs the command and exits with its code; an interrupt is 130, whatever it interrupted."""
    gc.set_threshold(_UNCOLLECTED_MAX)
    signal.signal(signal.SIGTERM, _interrupted)
    _find_own_strategies()
    try:
        code = byzantine.main(prog_name="byzantine", standalone_mode=False)
    except click.exceptions.Abort:
        _exit("interrupted", _INTERRUPTED)
    except KeyboardInterrupt:
        _exit("interrupted", _INTERRUPTED)
    except click.ClickException as fault:
        fault.show()
        sys.exit(fault.exit_code)
    except Exception:
        # A fault of ours, or of a user's own strategy: no verdict, as 1 would be.
        traceback.print_exc()
        sys.exit(_INFRASTRUCTURE)
    sys.exit(code or 0)


def _find_own_strategies() -> None:
    """Lets `--traitor 3=my_lies:Sulk` find my_lies.py here; what is installed comes before it."""
    with contextlib.suppress(OSError):
        here = os.getcwd()
        if here not in sys.path:
            sys.path.append(here)


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _tell(fault: OSError) -> None:
    from orchestrator.scenario.problems import printable

    named = f"{fault.filename}: " if fault.filename else ""
    click.echo(printable(f"byzantine: {named}{fault.strerror or fault}"), err=True)


def _forget_output() -> None:
    """What could not be written stays unwritten: Python would try again, and complain, at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _exit(word: str, code: int) -> None:
    """At once: where the interrupt fell into an import, Python would end by signal, not by code."""
    click.echo(word, err=True)
    os._exit(code)


if __name__ == "__main__":
    main()
