"""`python -m node`: one general, or with `--fork-server` the warm parent of many."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from node import health
from node.forks import ForkServer
from node.orders import Brief
from node.rehearsal import lay_out, rehearse
from node.runtime import play
from node.settings import from_outside

#: Asks for the fork server: requests on standard input, answers on standard output.
FORK_SERVER = "--fork-server"


def main(arguments: list[str]) -> int:
    if arguments == [FORK_SERVER]:
        ForkServer(sys.stdin.fileno(), sys.stdout.fileno(), play, warm_up).serve()
        return 0
    settings = from_outside(arguments)
    _answer_for_health(os.environ)
    return play(settings)


def _answer_for_health(environ: Mapping[str, str]) -> None:
    folder = environ.get(health.FOLDER_VARIABLE)
    if not folder:
        return
    try:
        health.answer_in(Path(folder))
    except OSError as error:
        # No reason for a general to stay away: he will merely be called unhealthy.
        print(f"nobody can ask after this general's health: {error}", file=sys.stderr)


def warm_up(brief: Brief) -> None:
    lay_out(brief)
    rehearse(brief)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
