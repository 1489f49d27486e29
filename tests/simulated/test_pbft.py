"""PBFT in the simulator: the normal case, views, checkpoints, coming back (ATTACKS.md, PB rows)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from node.protocols.pbft import key_value
from node.protocols.pbft.configuration import Authentication, Configuration
from node.protocols.pbft.effects import Taken
from node.protocols.pbft.key_value import (
    CompareAndSwap,
    Delete,
    Done,
    Entries,
    Found,
    Get,
    Put,
    Scan,
)
from node.protocols.pbft.messages import CLIENT_WINDOW
from orchestrator.replication import campaign, diagram, world
from tests.cluster import (
    assert_one_state,
    assert_safe,
    cluster,
    do,
    machine,
    put,
    signed,
)


def sent(where, kind: str) -> int:
    return sum(seat.node.sent[kind] for seat in where.seats.values())


@pytest.mark.parametrize("n", [4, 7, 10])
def test_one_request_takes_the_messages_of_the_paper(n: int) -> None:
    """REFERENCE.md, n=4: pre-prepare 3, prepare 9, commit 12, reply 4; in general n-1 and so on."""
    where = cluster(n, is_durable=False, has_batching=False)
    put(where, "a")
    where.run_for(0.05)
    counted = [sent(where, kind) for kind in ("PrePrepare", "Prepare", "Commit")]
    assert counted == [n - 1, (n - 1) * (n - 1), n * (n - 1)]
    assert sum(seat.node.answered for seat in where.seats.values()) == n


def test_a_commit_travels_with_the_next_prepare() -> None:
    """Castro 2001, section 5.1.2: the client is answered before it, and does not wait."""
    where = cluster(n := 4, commit_s=0.05)
    put(where, "a")
    where.run_for(0.02)
    assert sent(where, "Commit") == 0
    put(where, "b")
    assert sent(where, "Commit") >= 2 * (n - 1)
    where.run_for(0.01)
    assert [machine(where, r).executed for r in range(n)] == [1] * n
    where.run_for(0.06)
    assert sent(where, "Commit") == 2 * n * (n - 1)
    assert [machine(where, r).executed for r in range(n)] == [2] * n


def test_a_read_does_not_wait_for_the_commit_timer() -> None:
    where = cluster(commit_s=10.0, timeout_s=100.0)
    put(where, "a")
    began_s = where.now_s
    assert do(where, Get("a"), is_read_only=True) == Found(b"a")
    assert where.now_s - began_s < 0.02


def test_a_commit_waits_for_nothing_while_the_next_batch_is_under_way() -> None:
    """The next batch is carried out as soon as the one before it is committed."""
    calm = world.Weather(latency_s=(0.001, 0.001))
    slow = {"commit_s": 10.0, "timeout_s": 100.0, "status_s": 100.0}
    where = cluster(weather=calm, is_durable=False, has_batching=False, **slow)
    for key in "abcd":
        where.invoke(0, key_value.encode(Put(key, b"")))
    assert where.run(lambda: all(o.returned_s for o in where.history), 0.2)


def test_commits_that_wait_are_not_said_in_a_later_view() -> None:
    where = cluster(commit_s=0.4)
    put(where, "a")
    where.said = []
    for leaver in (1, 2):
        machine(where, leaver)._begin_view_change(1, "as if a request had waited")
        where.ask(0, leaver, b"no request, but the end of a turn")
    where.run_for(0.6)
    assert {m.message.view for m in where.said if m.kind == "Commit"} == {1}
    assert [machine(where, r).executed for r in range(4)] == [1] * 4


def test_a_request_that_was_lost_is_not_overtaken_by_a_whole_window() -> None:
    """It would be below all answers that replicas keep, and never be executed."""
    where = cluster(weather=world.Weather(latency_s=(0.0001, 0.0002)))
    where.cut = {(-1, replica) for replica in range(4)}
    lost = where.invoke(0, key_value.encode(Put("lost", b"")))
    where.heal()
    for number in range(3 * CLIENT_WINDOW):
        put(where, f"k{number}")
    assert where.run(lambda: lost.returned_s is not None, 10.0)
    assert lost.result == key_value.encode(Done(True))


def test_a_dead_replica_is_asked_for_no_result_again() -> None:
    """Every fourth result would be his to send, and come with a retransmission alone."""
    where = cluster()
    put(where, "warm")
    where.crash(3)
    for number in range(40):
        put(where, f"k{number}")
        do(where, Get(f"k{number}"), is_read_only=True)
    assert where.clients[0].retransmissions == 1
    where.start(3)
    where.run_for(1.0)
    where.said = []
    for number in range(8):
        put(where, f"k{number}")
    senders = {said.message.timestamp % 4 for said in where.said if said.kind == "Request"}
    assert senders == {0, 1, 2, 3}


def test_the_store_does_what_its_words_say() -> None:
    where = cluster()
    assert do(where, Get("a")) == Found(None)
    assert do(where, Put("a", b"1")) == Done(True)
    assert do(where, CompareAndSwap("a", b"2", b"3")) == Done(False)
    assert do(where, CompareAndSwap("a", b"1", b"3")) == Done(True)
    assert do(where, CompareAndSwap("b", None, b"4")) == Done(True)
    assert do(where, Scan(""), is_read_only=True) == Entries((("a", b"3"), ("b", b"4")), True)
    assert do(where, Delete("a")) == Done(True)
    assert do(where, Delete("a")) == Done(False)
    assert do(where, Get("b"), is_read_only=True) == Found(b"4")
    assert_safe(where)


def test_a_checkpoint_becomes_stable_and_the_log_is_cut() -> None:
    where = cluster()
    put(where, *map(str, range(20)))
    assert_one_state(where)
    assert {machine(where, r).stable for r in where.seats} == {16}


def test_a_dead_primary_is_replaced_after_its_timeout() -> None:
    where = cluster()
    put(where, "before")
    where.crash(0)
    began_s = where.now_s
    put(where, "after")
    assert 1.0 <= where.now_s - began_s <= 1.5
    assert {machine(where, r).view for r in (1, 2, 3)} == {1}
    assert_safe(where)


def test_two_dead_primaries_in_a_row_and_the_timeout_doubles() -> None:
    """PB16."""
    where = cluster(7)
    put(where, "before")
    where.crash(0)
    where.crash(1)
    began_s = where.now_s
    put(where, "after")
    assert {machine(where, r).view for r in range(2, 7)} == {2}
    # One timeout for the request, one for the first new view.
    assert 2.0 <= where.now_s - began_s <= 2.6
    where.crash(2)
    assert not where.run(lambda: False, 0.1)


def test_a_request_that_prepared_keeps_its_number_when_the_primary_dies() -> None:
    """PB4."""
    where = cluster(has_tentative_execution=False, has_read_only=False)
    put(where, "one")
    operation = where.invoke(0, key_value.encode(Put("two", b"")))
    slots = {r: machine(where, r)._log.slots for r in (1, 2, 3)}

    def prepared() -> bool:
        return sum(2 in s and s[2].is_commit_said for s in slots.values()) >= 3

    assert where.run(prepared, 1.0)
    digest = slots[1][2].digest
    assert all(2 not in where.seats[r].executed for r in where.seats)
    where.crash(0)
    # Nobody hears a commit of the old view: all have left it when the links are back.
    where.partition([1], [2], [3])
    where.forget_packets()
    assert where.run(lambda: not any(machine(where, r).is_active for r in (1, 2, 3)), 5)
    where.heal()
    assert where.run(lambda: operation.returned_s is not None, 10)
    where.run_for(1.0)
    assert {where.seats[r].executed[2] for r in (1, 2, 3)} == {digest}
    assert {machine(where, r).view for r in (1, 2, 3)} == {1}
    assert_safe(where)


@pytest.mark.parametrize(("leavers", "view"), [([3], 0), ([2, 3], 1)])
def test_f_requests_never_move_a_view_and_f_plus_one_do(leavers: list[int], view: int) -> None:
    """PB8. Who is cut off with a request that waits leaves the view."""
    where = cluster()
    put(where, "a")
    where.partition([r for r in range(4) if r not in leavers], *([r] for r in leavers))
    for leaver in leavers:
        where.ask(0, leaver, signed(where, 0, 99, Put("b", b"")))
    assert where.run(lambda: not any(machine(where, r).is_active for r in leavers), 10)
    where.heal()
    where.run_for(3.0)
    assert {machine(where, r).view for r in range(4) if r not in leavers} == {view}
    assert all(machine(where, r).is_active for r in range(4)) == (view == 1)


def test_a_replica_that_was_away_fetches_the_state() -> None:
    where = cluster()
    where.crash(3)
    put(where, *map(str, range(60)))
    where.start(3)
    assert_one_state(where)
    assert where.seats[3].restored
    assert_safe(where)


def test_everyone_dies_at_once_and_nothing_is_lost() -> None:
    where = cluster()
    put(where, *map(str, range(13)))
    for replica in where.seats:
        where.crash(replica)
    for replica in where.seats:
        where.start(replica)
    for number in range(13):
        assert do(where, Get(str(number)), is_read_only=True) == Found(str(number).encode())
    assert_safe(where)


def test_a_minority_cannot_go_on_and_does_once_it_is_healed() -> None:
    where = cluster()
    put(where, "a")
    where.partition([0, 1], [2, 3])
    operation = where.invoke(0, key_value.encode(Put("b", b"")))
    where.run_for(10)
    assert operation.returned_s is None
    where.heal()
    assert where.run(lambda: operation.returned_s is not None, 30)


@pytest.mark.parametrize("authentication", Authentication)
def test_a_lossy_network_loses_nothing(authentication: Authentication) -> None:
    where = cluster(authentication=authentication)
    where.weather = campaign.Weather(lose=0.2, duplicate=0.2)
    put(where, *map(str, range(12)))
    assert_safe(where)


def test_three_replicas_are_refused() -> None:
    """PB17."""
    with pytest.raises(ValueError, match="4 to 64 replicas, not 3"):
        Configuration(n=3)


@pytest.mark.parametrize("block", range(4))
def test_seeds_of_misfortune(block: int) -> None:
    broken = campaign.sweep(block * 25, 25, lambda played: None)
    assert not broken, [
        (played.seed, played.what, [p for p in played.promises if p.state != "held"])
        for played in broken
    ]


def test_a_seed_is_the_whole_run() -> None:
    assert campaign.play(7) == campaign.play(7)


def test_the_page_shows_what_a_run_draws() -> None:
    page = (Path(__file__).parents[2] / "docs" / "pbft.md").read_text()
    assert f"```text\n{diagram.drawn()}```" in page
    assert "2f + 1 = 5 matching" in diagram.drawn(7)


def test_the_pages_own_service_runs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "pbft.md").read_text()
    source = page.split("```python\n")[2].split("```")[0]
    names: dict[str, Any] = {}
    exec(source, names)  # the page's own text
    where = cluster(service=names["Counter"])
    asked = [where.invoke(0, b"2"), where.invoke(0, b"3")]
    assert where.run(lambda: all(one.returned_s for one in asked), 5)
    assert sorted(one.result for one in asked) in ([b"2", b"5"], [b"3", b"5"])
    where.run_for(1.0)
    assert_one_state(where)


def test_a_checkpoint_that_was_written_down_is_a_vote_again_after_a_restart() -> None:
    """With one replica gone, the one who came back is needed for every stable checkpoint."""
    where = cluster(interval=4, window=4)
    where.crash(3)
    put(where, *map(str, range(3)))
    where.invoke(0, key_value.encode(Put("fourth", b"")))
    disk = where.seats[2].disk
    assert where.run(lambda: any(isinstance(r, Taken) for r in disk.records), 1.0)
    assert machine(where, 2).stable == 0
    where.crash(2)
    where.forget_packets()
    where.start(2)
    put(where, *map(str, range(10)))
    assert {machine(where, r).stable for r in (0, 1, 2)} <= {8, 12}
    assert_safe(where)
