"""A replica dies at every step that it wrote down, and before it did: nothing is lost or split."""

from __future__ import annotations

import pytest

from node.protocols.pbft.key_value import Found, Get
from orchestrator.replication.world import World
from tests.cluster import assert_one_state, assert_safe, cluster, do, put

#: Writes of one replica in ten operations with a checkpoint every second: all kinds of record.
STEPS = 24


class Dying(World):
    """Kills `victim` at its `step`-th write: before the disk has it, or as soon as it has."""

    victim = 0
    step = 0
    is_after = False
    died = False
    _count = 0

    def _write(self, replica, ticket, records) -> None:
        if replica == self.victim and not self.died:
            self._count += 1
            if self._count == self.step:
                self.died = True
                if self.is_after:
                    self.seats[replica].disk.records += records
                self.at(0.0, lambda: self.crash(replica))
                return
        super()._write(replica, ticket, records)


@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("victim", [0, 2])
@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_replica_dies_at_a_step_and_comes_back(step: int, victim: int, is_after: bool) -> None:
    where = cluster(interval=2, window=4, timeout_s=0.3, kind=Dying)
    where.victim, where.step, where.is_after = victim, step, is_after
    put(where, *map(str, range(10)))
    assert where.died, "the step was never reached"
    where.start(victim)
    # One of the others goes: who came back is needed for every quorum from now on.
    where.crash(1)
    later = [f"after {number}" for number in range(6)]
    put(where, *later)
    for key in (*map(str, range(10)), *later):
        assert do(where, Get(key), is_read_only=True) == Found(key.encode())
    where.start(1)
    assert_one_state(where)
    assert_safe(where)
