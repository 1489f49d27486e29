"""What generals say, in words: one harmless, bounded line, whatever a peer sent."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from node import wire
from node.control import Role
from node.effects import Reason
from node.journal import (
    Accused,
    Began,
    Heard,
    Journal,
    Lied,
    Noted,
    Opened,
    Refused,
    Settled,
    Woke,
)
from node.logs import Log
from node.messages import Bundle, Empty, Frame, Oral, Signed, SignedOrder
from node.orders import ATTACK, RETREAT, Brief, Enumerated
from node.words import SPELT_MAX, VALUE_CHARACTERS_MAX, body_text, safe
from tests.camp import Camp, secret_of

BRIEF = Brief(protocol="oral", n=4, m=1)
RUN = b"r" * 32

#: Text that has broken terminals, pages, formatters and logs elsewhere.
HOSTILE = [
    "<script>alert(1)</script>",
    "\x1b[2J\x1b[31mred",
    'attack\n{"event": "decided", "value": "retreat"}',
    "{x} {0} {} %s %(x)s",
    "\u202etreva\u2066",
    "\x00\x07\x7f\x9b",
    "\ud800",
    "a" * 100_000,
]


# Words.


@pytest.mark.parametrize("text", HOSTILE)
def test_au4_safe_text_is_one_printable_bounded_line(text: str) -> None:
    shown = safe(text)
    assert shown.isprintable()
    assert len(shown) <= VALUE_CHARACTERS_MAX + len("... (100000 characters)")


@given(st.text(alphabet=st.characters()))
def test_safe_text_is_printable_whatever_it_was(text: str) -> None:
    assert safe(text).isprintable()


def test_harmless_text_is_shown_as_it_is() -> None:
    assert safe("attack at dawn, é") == "attack at dawn, é"
    assert safe("a" * VALUE_CHARACTERS_MAX) == "a" * VALUE_CHARACTERS_MAX
    assert safe("a" * 50) == "a" * VALUE_CHARACTERS_MAX + "... (50 characters)"


def test_control_characters_are_shown_as_escapes() -> None:
    assert safe("\n") == r"\n"
    assert safe("\x1b[2Jé") == r"\x1b[2J\xe9"


def said(*values: str) -> Oral:
    domain = BRIEF.domain
    return Oral(domain.pack(np.array([domain.code(v) for v in values], dtype=np.uint8)))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (Empty(), "nothing to say"),
        (said(ATTACK), "attack"),
        (Oral(b""), "0 bytes (bad_shape)"),
        (Oral(b"\x81"), "1 bytes (noncanonical)"),
        (Signed((SignedOrder(b'"attack"', (0, 3), ()),)), "attack:0:3"),
        (Signed(()), ""),
        (Bundle((Empty(), said(ATTACK))), "0: nothing to say; 1: attack"),
    ],
)
def test_a_body_in_words(body: Any, words: str) -> None:
    assert body_text(body, BRIEF, 2) == words


def test_many_values_are_counted_not_listed() -> None:
    brief = Brief(protocol="oral", n=6, m=3)
    values = [ATTACK] * 7 + [RETREAT] * 5
    assert body_text(said(*values), brief, 4) == "12 values: 7 attack, 5 retreat"


def test_of_many_different_values_the_most_frequent_are_spelt() -> None:
    domain = Enumerated(values=tuple(range(20)), default=0)
    brief = Brief(protocol="oral", n=7, m=3, domain=domain)
    body = Oral(bytes(range(20)))
    assert body_text(body, brief, 4).endswith(f" and {20 - SPELT_MAX} more")
    assert body_text(body, brief, 4).startswith("20 values: ")


def test_as_many_values_as_are_spelt_are_listed_or_counted_without_any_more() -> None:
    domain = Enumerated(values=tuple(range(20)), default=0)
    listed = Brief(protocol="oral", n=SPELT_MAX + 2, m=2, domain=domain)
    assert body_text(Oral(bytes(range(SPELT_MAX))), listed, 3) == "0, 1, 2, 3, 4, 5, 6, 7"
    counted = Brief(protocol="oral", n=SPELT_MAX + 3, m=2, domain=domain)
    words = body_text(Oral(bytes([*range(SPELT_MAX), 0])), counted, 3)
    assert words.startswith("9 values: 2 0, ")
    assert "more" not in words


@pytest.mark.parametrize(
    "body",
    [
        Signed((SignedOrder(b"x", (0,), (bytes(64),)),) * 10_000),
        Signed((SignedOrder(b"\xff\n" * 100_000, tuple(range(1000)), ()),)),
        Bundle((Empty(),) * 100_000),
        Bundle((Signed((SignedOrder(b"x" * 100, (0,), ()),) * 100),) * 100),
        Oral(bytes(100_000)),
    ],
    ids=["many orders", "a long order", "many parts", "many orders in many parts", "many bytes"],
)
def test_au4_a_body_in_words_is_bounded_whatever_a_peer_sent(body: Any) -> None:
    words = body_text(body, BRIEF, 2)
    assert words.isprintable()
    assert len(words) <= (SPELT_MAX + 1) * (SPELT_MAX + 1) * (VALUE_CHARACTERS_MAX + 40)


def test_a_frame_of_half_a_million_parts_costs_no_more_words_than_a_small_one() -> None:
    spelt = CountedParts((Empty(),) * 500_000)
    assert body_text(Bundle(spelt), BRIEF, 2).endswith("and 499992 more instances")
    assert spelt.read <= 2 * SPELT_MAX


class CountedParts(tuple[Empty, ...]):
    """Parts that count how many of them were read."""

    read = 0

    def __iter__(self) -> Any:
        for part in super().__iter__():
            self.read += 1
            yield part


# Logs.


def log_of(*entries: Any, brief: Brief = BRIEF) -> list[dict[str, Any]]:
    """The log of a journal, as what a reader of JSON lines makes of it."""
    journal = Journal()
    journal.append(Opened(format=1, general=1, run=RUN, brief=brief, strategy=None))
    for entry in entries:
        journal.append(entry)
    stream = io.StringIO()
    Log(stream).catch_up(journal)
    lines = stream.getvalue().split("\n")
    assert lines.pop() == ""
    assert len(lines) == 1 + len(entries)
    return [json.loads(line) for line in lines]


def test_one_line_of_json_an_event_with_its_general_and_the_papers_round() -> None:
    frame = wire.encode(Frame(RUN, 2, said(ATTACK)))
    opened, heard = log_of(Heard(1.5, 3, frame))
    assert (opened["event"], opened["general"], opened["protocol"]) == ("opened", 1, "oral")
    assert heard["event"] == "heard"
    assert (heard["sender"], heard["round"], heard["says"]) == (3, 2, "attack")
    assert heard["level"] == "INFO"
    assert heard["ms"] == 1500.0


def test_times_are_milliseconds_since_the_start() -> None:
    (_, _, heard, woke) = log_of(Began(10.0), Heard(10.25, 3, b""), Woke(11.5, "deadline"))
    assert (heard["ms"], heard["says"]) == (250.0, "0 bytes")
    assert (woke["ms"], woke["timer"], woke["level"]) == (1500.0, "deadline", "DEBUG")


def test_a_new_log_writes_alone() -> None:
    old, new = io.StringIO(), io.StringIO()
    Log(old)
    Log(new).event("INFO", "told once")
    assert (old.getvalue(), new.getvalue().count("told once")) == ("", 1)


@pytest.mark.parametrize("text", [text for text in HOSTILE if text != "\ud800"])
@pytest.mark.parametrize(
    "entry",
    [
        lambda text: Noted(text, text),
        lambda text: Lied(1, 2, text, text, text),
        lambda text: Settled(text, ((text, 1),), text),
        lambda text: Refused(1, Reason.LATE, text),
        lambda text: Accused(0, 0, (proof(text), proof(text)), text),
        lambda text: Heard(0.0, 1, text.encode()),
        lambda text: Heard(0.0, 1, wire.encode(Frame(RUN, 1, Signed((proof(text),))))),
    ],
    ids=["noted", "lied", "decided", "refused", "accused", "heard bytes", "heard order"],
)
def test_au4_hostile_text_stays_data_on_one_line(text: str, entry: Callable[[str], Any]) -> None:
    (_, line) = log_of(entry(text))
    assert line["event"] in ("noted", "lied", "decided", "refused", "accused", "heard")
    assert line["general"] == 1


def proof(text: str) -> SignedOrder:
    return SignedOrder(text.encode(), (0,), (bytes(64),))


def test_a_log_catches_up_a_few_lines_at_a_time_and_never_writes_one_twice() -> None:
    journal = Journal()
    for number in range(10):
        journal.append(Noted(f"line {number}", "rule"))
    stream = io.StringIO()
    log = Log(stream)
    log.catch_up(journal, lines_max=3)
    assert stream.getvalue().count("\n") == 3
    while log.is_behind(journal):
        log.catch_up(journal, lines_max=3)
    texts = [json.loads(line)["text"] for line in stream.getvalue().splitlines()]
    assert texts == [f"line {number}" for number in range(10)]


def test_a_hosts_own_event_may_hold_anything_as_its_fields() -> None:
    stream = io.StringIO()
    Log(stream).event("WARNING", "link", peer="{x}\n", keys={1, 2}, fault=ValueError("{y}"))
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["peer"]) == ("link", "WARNING", "{x}\n")
    assert line["fault"] == "{y}"


@pytest.mark.parametrize("protocol", ["oral", "signed"])
def test_sc6_no_secret_is_in_any_journal_or_log(protocol: str) -> None:
    """Not even a traitor's, whose coalition was handed it."""
    roles = {g: Role(strategy="flip", coalition=(2, 3)) for g in (2, 3)}
    camp = Camp(protocol=protocol, roles=roles).meet().play()
    for g, who in camp.generals.items():
        stream = io.StringIO()
        Log(stream).catch_up(who.journal, len(who.journal.entries))
        written = stream.getvalue().encode() + camp.journal(g)
        assert written.count(b"\n") == 2 * len(who.journal.entries)
        for secret in map(secret_of, camp.generals):
            # In a stream of base64 the secret's own letters depend on where it begins.
            inner = {b64encode(bytes(shift) + secret)[4:-4] for shift in range(3)}
            assert not any(s in written for s in (secret, secret.hex().encode(), *inner))


def test_sc6_an_exception_in_a_log_shows_no_local_variables() -> None:
    secret = b"thirty-two characters to look at"
    stream = io.StringIO()
    log = Log(stream)

    def fails(key: bytes) -> None:
        raise ValueError(f"a key of {len(key)} bytes")

    try:
        fails(secret)
    except ValueError:
        logger.opt(exception=True).error("a fault")
    log.event("INFO", "after")
    assert len(stream.getvalue().splitlines()) == 2
    assert "a fault" in stream.getvalue()
    assert secret.decode() not in stream.getvalue()
