"""The kernel's table of addresses: what fits into it, and what is said where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import arp

#: As Linux shows them, on two processors.
COUNTED = """entries  allocs   destroys table_fulls
0000066b 000087f1 00006f59 00000efe
0000066b 0000841b 00009cb3 000013c3
"""


def shown(monkeypatch: pytest.MonkeyPatch, folder: Path, limit: str, counted: str) -> None:
    monkeypatch.setattr(arp, "LIMIT", folder / "gc_thresh3")
    monkeypatch.setattr(arp, "COUNTS", folder / "arp_cache")
    arp.LIMIT.write_text(limit)
    arp.COUNTS.write_text(counted)


def test_forty_generals_take_as_many_entries_as_were_counted() -> None:
    """A run of 40, with the table large enough: 1,643 entries, three of them of the host's own."""
    assert arp.entries_of(40) == 1640


@pytest.mark.parametrize(("limit", "most"), [(1024, 31), (992, 31), (991, 30), (20, 4), (19, 3)])
def test_the_room_is_the_largest_number_that_is_not_objected_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: int, most: int
) -> None:
    shown(monkeypatch, tmp_path, f"{limit}\n", COUNTED)
    assert arp.room() == most
    assert arp.objection(most) is None
    objection = arp.objection(most + 1)
    assert objection is not None
    assert f"holds {limit:,}, enough for {most}" in objection
    assert f"gc_thresh3={2 * arp.entries_of(most + 1)}`" in objection


def test_what_the_kernel_dropped_is_summed_over_the_processors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shown(monkeypatch, tmp_path, "1024\n", COUNTED)
    assert arp.times_full() == 0xEFE + 0x13C3


@pytest.mark.parametrize("counted", ["", "entries\n00\n", COUNTED + "0\n", COUNTED + "0 0 0 z\n"])
def test_a_table_that_cannot_be_read_is_no_objection(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, counted: str
) -> None:
    shown(monkeypatch, tmp_path, "many", counted)
    assert arp.room() is None
    assert arp.objection(1000) is None
    assert arp.times_full() == 0
    arp.LIMIT.unlink()
    arp.COUNTS.unlink()
    assert arp.objection(1000) is None
    assert arp.times_full() == 0
