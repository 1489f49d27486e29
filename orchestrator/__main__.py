"""`python -m orchestrator` and `byzantine`: the laboratory's command line."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import click

from orchestrator.cli.engine import doctor, down, images
from orchestrator.cli.files import list_, schema, validate
from orchestrator.cli.inspect import logs, verify
from orchestrator.cli.run import run

_EPILOG = """Exit codes: 0 as expected, 1 a promise broken or expect unmet, 2 usage or scenario,
3 unknown or out-of-model without expect, 4 infrastructure, 5 audit failed, 130 interrupted."""


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="byzantine", prog_name="byzantine")
def byzantine() -> None:
    """A laboratory for Byzantine agreement: Lamport's generals for real."""


for command in (run, validate, schema, list_, logs, verify, doctor, images, down):
    byzantine.add_command(command)


def main() -> None:
    """Runs the command and exits with its code; an interrupt is 130, whatever it interrupted."""
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        code = byzantine.main(prog_name="byzantine", standalone_mode=False)
    except click.exceptions.Abort:
        _exit("interrupted", 130)
    except KeyboardInterrupt:
        _exit("interrupted", 130)
    except click.ClickException as fault:
        fault.show()
        sys.exit(fault.exit_code)
    except BrokenPipeError:
        # The reader of our output left; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    sys.exit(code or 0)


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _exit(word: str, code: int) -> None:
    click.echo(word, err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
