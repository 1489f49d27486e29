"""`python -m node`: one general, or with `--fork-server` the warm parent of many."""

from __future__ import annotations

import sys

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
    return play(from_outside(arguments))


def warm_up(brief: Brief) -> None:
    lay_out(brief)
    rehearse(brief)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
