"""`python -m node`: one general, or with `--fork-server` the warm parent of many."""

from __future__ import annotations

import sys

from node.forks import ForkServer
from node.runtime import play
from node.settings import from_outside

#: Asks for the fork server: requests on standard input, answers on standard output.
FORK_SERVER = "--fork-server"


def main(arguments: list[str]) -> int:
    if arguments == [FORK_SERVER]:
        ForkServer(sys.stdin.fileno(), sys.stdout.fileno(), play).serve()
        return 0
    return play(from_outside(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
