"""`python -m benchmarks.replicated_timeline`: throughput through a primary's death and a recovery.

A client keeps 32 writes outstanding. At 2 s the primary is killed with SIGKILL, at 5 s it is
started again with what it wrote down. A line a fifth of a second: the lecture's curve, which drops
to zero while views change.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import click

from benchmarks.replicated import KEYS, VALUE, replicas
from node.protocols.pbft import key_value as kv
from orchestrator.client import Client
from orchestrator.replication import household

SLOT_S = 0.2
LASTS_S = 8.0
KILLED_S = 2.0
BACK_S = 5.0
OUTSTANDING = 32
WIDTH = 60


def main() -> None:
    with replicas(4, timeout_s=1.0) as folder:
        counts = _counted(folder)
    most = max(counts)
    for number, count in enumerate(counts):
        at_s = number * SLOT_S
        what = {KILLED_S: "primary killed", BACK_S: "started again"}.get(round(at_s, 3), "")
        bar = "#" * round(WIDTH * count / most)
        click.echo(f"{at_s:4.1f} s {count / SLOT_S:8.0f}/s  {bar:<{WIDTH}} {what}".rstrip())


def _counted(folder: Path) -> list[int]:
    """Answers in each slot of the run."""
    counts = [0] * round(LASTS_S / SLOT_S)
    is_over = threading.Event()
    with Client(folder) as client:
        client.put("warm", VALUE)
        began_s = time.monotonic()

        def ask(number: int) -> None:
            put = kv.encode(kv.Put(f"k{number % KEYS}", VALUE))

            def answered(result: bytes | Exception) -> None:
                if not isinstance(result, bytes):
                    return  # The run never ends, and says so.
                slot = int((time.monotonic() - began_s) / SLOT_S)
                if slot < len(counts):
                    counts[slot] += 1
                    ask(number + OUTSTANDING)
                else:
                    is_over.set()

            client.ask(put, answered)

        for number in range(OUTSTANDING):
            ask(number)
        time.sleep(KILLED_S)
        household.kill(folder, 0)
        time.sleep(BACK_S - KILLED_S)
        household.start(folder, 0)
        if not is_over.wait(LASTS_S + 30):
            raise TimeoutError("the cluster did not come back")
        time.sleep(0.1)
    return counts


if __name__ == "__main__":
    main()
