"""`python -m tests.live.dying_replica FOLDER K WHEN`: a replica that is killed at its K-th write.

K may also be the name of a kind of record: then it is the first write of one. WHEN is `before` the
write reaches the disk, or `after` it did and before anything that follows.
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
    step, moment = sys.argv[2:]
    is_last = step in (str(done), *(type(record).__name__ for record in records))
    if is_last and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, records)
    if is_last:
        os.kill(os.getpid(), signal.SIGKILL)


Store.write = dying_write  # type: ignore[method-assign]
sys.exit(replica_runtime.play(Path(sys.argv[1])))
