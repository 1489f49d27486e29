"""The hash-chained record, and what its reader finds when it is not what its general wrote."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.control import Role
from node.effects import Reason
from node.journal import (
    GENESIS,
    Began,
    Closed,
    Journal,
    Noted,
    Opened,
    Refused,
    closing_statement,
    extend,
)
from node.orders import Brief
from node.signatures import CONTEXT_CLOSING, Signer, verify
from orchestrator.transcript import Damage, Record, read
from tests.camp import Camp

RUN = b"r" * 32
SIGNER = Signer(bytes([1]) * 32)
OPENED = Opened(format=1, general=0, run=RUN, brief=Brief(protocol="oral", n=4, m=1), strategy=None)
UNSIGNED = Closed(refusals=(), ledger=(), verifications=0, signature=b"")
REFUSALS = ((1, Reason.LATE, 2),)

#: One whole journal of a run: opened, began, heard, said, heard, heard, decided, closed.
CAMP = Camp(protocol="signed", roles={3: Role(strategy="forger")}).meet().play()
WHOLE = CAMP.journal(1)
LINES = WHOLE.splitlines(keepends=True)


def read_1(data: bytes) -> Record:
    """What the transcript makes of general 1's journal."""
    return read(1, data, CAMP.run, CAMP[1].signer.public)


def rechained(*texts: bytes) -> bytes:
    """A journal of these entries with every hash as it should be: a forger can hash too."""
    head, lines = GENESIS, b""
    for text in texts:
        head = extend(head, text)
        lines += head.hex().encode() + b" " + text + b"\n"
    return lines


def texts_of(data: bytes) -> list[bytes]:
    return [line.partition(b" ")[2] for line in data.splitlines()]


# Writing.


def test_each_line_is_the_chains_head_after_it_and_the_entry_as_json() -> None:
    head = bytes(32)
    for line in LINES:
        digest, text = line.rstrip(b"\n").split(b" ", 1)
        head = hashlib.sha256(head + text).digest()
        assert digest.decode() == head.hex()
        assert json.loads(text)["kind"]


def test_entries_are_hashed_when_the_head_is_asked_for_and_only_once() -> None:
    journal = Journal()
    assert journal.head == GENESIS
    journal.append(OPENED)
    journal.append(Began(1.0))
    assert journal._lines == []
    first = journal.head
    assert (journal.head, len(journal._lines)) == (first, 2)
    journal.append(Noted("a rule acted", "OM-3"))
    assert journal.head == extend(first, texts_of(b"".join(journal.lines()))[2])


def test_heads_asked_for_on_the_way_change_nothing() -> None:
    asked, unasked = Journal(), Journal()
    for at_s in range(5):
        asked.append(Began(float(at_s)))
        unasked.append(Began(float(at_s)))
        assert asked.head
    assert list(asked.lines()) == list(unasked.lines())


def test_the_closing_signature_covers_run_chain_and_the_entry_itself() -> None:
    journal = Journal()
    journal.append(OPENED)
    before = journal.head
    assert not journal.is_closed
    journal.close(SIGNER, RUN, UNSIGNED)
    assert journal.is_closed
    closed: Any = journal.entries[-1]
    statement = closing_statement(RUN, before, closed)
    assert verify(SIGNER.public, CONTEXT_CLOSING, statement, closed.signature)
    for other in (
        closing_statement(b"s" * 32, before, closed),
        closing_statement(RUN, bytes(32), closed),
        closing_statement(RUN, before, msgspec.structs.replace(closed, verifications=1)),
        closing_statement(
            RUN, before, msgspec.structs.replace(closed, refusals=((1, Reason.LATE, 2),))
        ),
    ):
        assert not verify(SIGNER.public, CONTEXT_CLOSING, other, closed.signature)


# Reading.


def test_what_a_general_wrote_is_read_without_damage() -> None:
    record = read_1(WHOLE)
    assert record.damage == []
    assert record.entries == CAMP[1].journal.entries
    assert record.closed is not None
    assert record.head == CAMP[1].journal.head


@pytest.mark.parametrize("kept", range(len(LINES)))
def test_a_journal_cut_off_behind_any_line_is_unverifiable_never_clean(kept: int) -> None:
    record = read_1(b"".join(LINES[:kept]))
    assert record.damage == [Damage(kept, "there is no closing entry: unverifiable")]
    assert len(record.entries) == kept


def test_a_journal_that_lacks_its_last_byte_is_found_to_be_cut_off() -> None:
    assert read_1(WHOLE[:-1]).damage == [Damage(len(LINES), "the last line is cut off")]


@given(st.integers(1, len(WHOLE) - 1))
def test_a_journal_cut_off_within_a_line_is_found_there(at: int) -> None:
    if WHOLE[at - 1 : at] == b"\n":
        return
    line = WHOLE[:at].count(b"\n") + 1
    assert line in {damage.line for damage in read_1(WHOLE[:at]).damage}


@pytest.mark.parametrize("line", range(1, len(LINES)))
def test_two_lines_that_changed_places_are_found_at_the_first(line: int) -> None:
    swapped = [*LINES]
    swapped[line - 1], swapped[line] = swapped[line], swapped[line - 1]
    assert read_1(b"".join(swapped)).damage == [Damage(line, "the hash chain breaks here")]


@pytest.mark.parametrize("line", range(1, len(LINES)))
def test_a_line_that_was_taken_out_is_found(line: int) -> None:
    without = [*LINES[: line - 1], *LINES[line:]]
    assert read_1(b"".join(without)).damage == [Damage(line, "the hash chain breaks here")]


@settings(max_examples=400)
@given(st.integers(0, 8 * len(WHOLE) - 1))
def test_any_single_flipped_bit_is_found_with_its_line(bit: int) -> None:
    assert_flip_is_found(bit)


def test_any_flipped_bit_of_a_line_end_or_of_a_separator_is_found_with_its_line() -> None:
    marks = [at for at, byte in enumerate(WHOLE) if byte in b"\n "]
    assert len(marks) >= 2 * len(LINES)
    for bit in (8 * at + shift for at in marks for shift in range(8)):
        assert_flip_is_found(bit)


def assert_flip_is_found(bit: int) -> None:
    flipped = bytearray(WHOLE)
    flipped[bit // 8] ^= 1 << bit % 8
    line = WHOLE[: bit // 8].count(b"\n") + 1
    assert line in {damage.line for damage in read_1(bytes(flipped)).damage}


@pytest.mark.parametrize("line", range(2, len(LINES)))
def test_a_forger_who_hashes_anew_is_found_by_the_closing_signature(line: int) -> None:
    texts = texts_of(WHOLE)
    del texts[line - 1]
    (damage,) = read_1(rechained(*texts)).damage
    assert damage.line == len(texts)
    assert damage.kind == "the closing signature is not this general's over this run and chain"


def test_a_forger_who_takes_the_closing_entry_out_and_hashes_anew_leaves_it_unverifiable() -> None:
    (damage,) = read_1(rechained(*texts_of(WHOLE)[:-1])).damage
    assert damage.kind == "there is no closing entry: unverifiable"


@pytest.mark.parametrize("spelling", [b', "verdict": "pass"}', b" }", b', "verifications": 1}'])
def test_the_closing_entry_has_one_spelling(spelling: bytes) -> None:
    """Its signature covers what it says, so that what it says must be all that is there."""
    *texts, closing = texts_of(WHOLE)
    (damage,) = read_1(rechained(*texts, closing[:-1] + spelling)).damage
    assert damage.line == len(texts) + 1


def test_a_second_closing_is_found() -> None:
    texts = texts_of(WHOLE)
    (damage,) = read_1(rechained(*texts, texts[-1])).damage
    assert damage == Damage(len(texts) + 1, "there is an entry behind the closing one")


def test_a_second_closing_that_is_signed_in_its_place_is_found_too() -> None:
    journal = Journal()
    journal.append(OPENED)
    journal.close(SIGNER, RUN, UNSIGNED)
    journal.close(SIGNER, RUN, UNSIGNED)
    (damage,) = read(0, b"".join(journal.lines()), RUN, SIGNER.public).damage
    assert damage == Damage(3, "there is an entry behind the closing one", is_own=True)


def test_entries_behind_the_closing_one_are_found() -> None:
    journal = Journal()
    journal.append(OPENED)
    journal.close(SIGNER, RUN, UNSIGNED)
    journal.append(Refused(1, Reason.LATE, "A3"))
    (damage,) = read(0, b"".join(journal.lines()), RUN, SIGNER.public).damage
    assert damage == Damage(3, "there is an entry behind the closing one")


@pytest.mark.parametrize(
    ("general", "run", "key", "line"),
    [(0, RUN, Signer(bytes([2]) * 32), 2), (1, RUN, SIGNER, 1), (0, b"s" * 32, SIGNER, 1)],
    ids=["another key", "another general", "another run"],
)
def test_a_journal_is_no_one_elses_and_of_no_other_run(
    general: int, run: bytes, key: Signer, line: int
) -> None:
    journal = Journal()
    journal.append(OPENED)
    journal.close(SIGNER, RUN, UNSIGNED)
    data = b"".join(journal.lines())
    assert read(0, data, RUN, SIGNER.public).damage == []
    assert [d.line for d in read(general, data, run, key.public).damage] == [line]


def test_a_second_opening_and_a_missing_one_are_found() -> None:
    opening, *rest = texts_of(WHOLE)
    assert read_1(rechained(opening, opening, *rest)).damage[0].line == 2
    assert read_1(rechained(*rest)).damage[0].line == 1


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"null",
        b'{"kind":"unheard of"}',
        b'{"kind":"began","at_s":"soon"}',
        b'{"kind":"noted","text":"\xff","rule":""}',
        b"[" * 100_000,
        b'{"kind":"began","at_s":1.0,"why":' + b"[" * 100_000,
    ],
)
def test_a_well_hashed_line_that_is_no_entry_is_found_and_raises_nothing(text: bytes) -> None:
    opening = texts_of(WHOLE)[0]
    (damage,) = read_1(rechained(opening, text)).damage
    assert damage.line == 2
    assert damage.kind.startswith("this is no journal entry")


@given(st.binary(max_size=300))
def test_any_bytes_at_all_are_read_as_damage(data: bytes) -> None:
    assert read_1(data).damage
    assert read_1(LINES[0] + data).damage
