"""`python -m tests.live.dying_replica FOLDER K WHEN`: a replica that is killed at its K-th write.

WHEN is `before` the write reaches the disk, or `after` it did and before anything that follows.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from node import replica_runtime
from node.durable import Store
from node.protocols.pbft.effects import Record

write = Store.write
done = 0


def dying_write(self: Store, records: Iterable[Record]) -> None:
    global done
    done += 1
    if done == int(sys.argv[2]) and sys.argv[3] == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, records)
    if done == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)


Store.write = dying_write  # type: ignore[method-assign]
sys.exit(replica_runtime.play(Path(sys.argv[1])))
