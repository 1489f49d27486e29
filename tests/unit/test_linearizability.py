"""The checker of histories: what has an order, and what has none."""

from __future__ import annotations

import random

import pytest

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
from orchestrator.replication import linearizability
from orchestrator.replication.linearizability import Call, Undecided, first_fault


def wrote(value: str, began_s: float, ended_s: float = float("inf")) -> Call:
    outcome = Done(True) if ended_s < float("inf") else None
    return Call(Put("k", value.encode()), outcome, began_s, ended_s)


def read(value: str | None, began_s: float, ended_s: float) -> Call:
    return Call(Get("k"), Found(value.encode() if value else None), began_s, ended_s)


def swapped(old: str, new: str, began_s: float, ended_s: float) -> Call:
    swap = CompareAndSwap("k", old.encode(), new.encode())
    return Call(swap, Done(True), began_s, ended_s)


@pytest.mark.parametrize(
    "history",
    [
        [],
        [read(None, 0, 1), wrote("1", 2, 3), read("1", 4, 5)],
        # A read beside a write may see either.
        [wrote("1", 0, 10), read(None, 1, 2), read("1", 3, 4)],
        # Two writes side by side, in whichever order.
        [wrote("1", 0, 10), wrote("2", 0, 10), read("2", 11, 12)],
        [wrote("1", 0, 10), wrote("2", 0, 10), read("1", 11, 12)],
        # A write without an answer took effect, late, or never did.
        [wrote("1", 0), read(None, 1, 2), read("1", 3, 4)],
        [wrote("1", 0), read(None, 5, 6)],
        [Call(Delete("k"), Done(False), 0, 1), wrote("1", 2, 3)],
        [
            wrote("1", 0, 1),
            Call(CompareAndSwap("k", b"1", b"2"), Done(True), 2, 3),
            read("2", 4, 5),
        ],
        [wrote("1", 0, 1), Call(Scan(""), Entries((("k", b"1"),), True), 2, 3)],
    ],
)
def test_a_history_with_an_order(history: list[Call]) -> None:
    assert first_fault(history) is None


@pytest.mark.parametrize(
    "history",
    [
        [read("1", 0, 1)],
        # A stale read: the write had returned before it was called.
        [wrote("1", 0, 1), read(None, 2, 3)],
        # Back in time.
        [wrote("1", 0, 10), read("1", 1, 2), read(None, 3, 4)],
        # Two readers who saw two writes in two orders.
        [
            wrote("1", 0, 10), wrote("2", 0, 10),
            read("1", 1, 2), read("2", 3, 4), read("1", 5, 6),
        ],
        # A swap that two clients won.
        [
            wrote("1", 0, 1),
            swapped("1", "2", 2, 5),
            swapped("1", "3", 2, 5),
        ],
        [wrote("1", 0, 1), Call(Delete("k"), Done(False), 2, 3)],
        [wrote("1", 0, 1), Call(Scan(""), Entries((), True), 2, 3)],
    ],
)  # fmt: skip
def test_a_history_without_one(history: list[Call]) -> None:
    assert first_fault(history) is not None


def test_keys_are_checked_apart_and_the_faulty_one_is_named() -> None:
    good = Call(Put("a", b"1"), Done(True), 0, 1)
    bad = Call(Get("b"), Found(b"9"), 0, 1)
    assert first_fault([good, bad]) == "b"


@pytest.mark.parametrize("seed", range(30))
def test_what_one_store_answered_in_turn_always_has_an_order(seed: int) -> None:
    """Calls are stretched around the moment at which they took effect."""
    chance = random.Random(seed)
    value: bytes | None = None
    history = []
    for moment in range(25):
        began_s, ended_s = moment - chance.uniform(0, 4), moment + chance.uniform(0, 4)
        if chance.random() < 0.5:
            value = str(moment).encode()
            history.append(Call(Put("k", value), Done(True), began_s, ended_s))
        else:
            history.append(Call(Get("k"), Found(value), began_s, ended_s))
    assert first_fault(history) is None


def test_a_search_that_is_too_wide_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linearizability, "CONFIGURATIONS_MAX", 100)
    with pytest.raises(Undecided):
        first_fault([*(wrote(str(n), 0, 10) for n in range(12)), read("none", 11, 12)])
