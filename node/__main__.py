"""`python -m node`: one general, or with `--fork-server` the warm parent of many.

With `--replica FOLDER` it is a replica of a cluster instead, which plays a strategy if one is
named, and with `--enlist R DESK` first comes to its cluster, as number R.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from node import health
from node.endings import STATUS_DISBANDED, STATUS_DISMISSED, STATUS_NOWHERE, STATUS_ORPHANED
from node.forks import ForkServer
from node.links import KeyPair
from node.orders import Brief
from node.rehearsal import lay_out, rehearse
from node.runtime import play
from node.settings import Post, from_outside

#: Asks for the fork server: requests on standard input, answers on standard output.
FORK_SERVER = "--fork-server"
#: Asks for a replica of a cluster.
REPLICA = "--replica"
#: As of a wrong command line.
STATUS_USAGE = 2


def main(arguments: list[str]) -> int:
    if arguments == [FORK_SERVER]:
        ForkServer(sys.stdin.fileno(), sys.stdout.fileno(), play, warm_up).serve()
        return 0
    if REPLICA in arguments:
        return _play_replica(arguments)
    post = from_outside(arguments)
    keys = KeyPair.new()
    _answer_for_health(os.environ, f"alive {keys.fingerprint}".encode())
    status = serve(post, keys)
    return STATUS_DISBANDED if status == STATUS_DISMISSED else status


def serve(post: Post, keys: KeyPair) -> int:
    """Plays for whoever summons this general, once or, where he is lasting, again and again.

    Who he is to others, his CURVE key, stays. What he signs with is new for each run, for a traitor
    gives his signing key to his coalition, and in the next run he may be loyal.
    """
    while True:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(STATUS_DISBANDED))
        try:
            settings = post.await_summons()
        except (OSError, ValueError) as error:
            print(f"python -m node: {error}", file=sys.stderr)
            return STATUS_USAGE
        status = play(settings, keys=keys)
        if not post.lasting or status not in (STATUS_DISBANDED, STATUS_ORPHANED):
            return status


def _play_replica(arguments: list[str]) -> int:
    from node import replica_runtime
    from node.cluster import ClusterError
    from node.enlistment import enlist

    parser = argparse.ArgumentParser(prog="python -m node", description="A replica of a cluster.")
    parser.add_argument(REPLICA, type=Path, required=True, dest="folder", metavar="FOLDER")
    parser.add_argument("--enlist", nargs=2, metavar=("R", "DESK"))
    parser.add_argument("strategy", nargs="?")
    given = parser.parse_args(arguments)
    if given.enlist:
        try:
            enlist(given.folder, int(given.enlist[0]), Path(given.enlist[1]))
        except (ClusterError, ValueError) as error:
            print(f"python -m node: {error}", file=sys.stderr)
            return STATUS_NOWHERE
    return replica_runtime.play(
        given.folder, given.strategy, lambda: _answer_for_health(os.environ, health.ALIVE)
    )


def _answer_for_health(environ: Mapping[str, str], answer: bytes) -> None:
    folder = environ.get(health.FOLDER_VARIABLE)
    if not folder:
        return
    try:
        health.answer_in(Path(folder), answer)
    except OSError as error:
        # No reason for a general to stay away: he will merely be called unhealthy.
        print(f"nobody can ask after this general's health: {error}", file=sys.stderr)


def warm_up(brief: Brief) -> None:
    lay_out(brief)
    rehearse(brief)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
