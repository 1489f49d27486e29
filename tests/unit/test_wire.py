"""Bytes to messages and back: canonical, bounded, total."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from msgspec import inspect

from node import wire
from node.effects import Reason
from node.messages import (
    Bundle,
    Conspire,
    Echo,
    Empty,
    Frame,
    Message,
    Oral,
    Probe,
    Signed,
    SignedOrder,
)
from node.wire import FRAME_BYTES_MAX, Malformed

RUN = b"r" * 32
FRAME = Frame(RUN, 2, Oral(b"abc"))
DATA = wire.encode(FRAME)

MALFORMED = Malformed(Reason.MALFORMED)
NONCANONICAL = Malformed(Reason.NONCANONICAL)


def strategy_for(kind: Any) -> st.SearchStrategy[Any]:
    """Anything of a type that a message may hold, read off the union's own definition."""
    match kind:
        case inspect.UnionType(types=types):
            return st.one_of([strategy_for(t) for t in types])
        case inspect.StructType(cls=cls, fields=fields):
            return st.builds(cls, *[strategy_for(field.type) for field in fields])
        case inspect.VarTupleType(item_type=item):
            return st.lists(strategy_for(item), max_size=5).map(tuple)
        case inspect.BytesType():
            return st.binary(max_size=80)
        case inspect.StrType():
            return st.text(max_size=20)
        case inspect.IntType():
            return st.integers(-(2**63), 2**64 - 1)
        case _:
            raise AssertionError(f"the wire carries {kind}, which these tests cannot make")


messages = strategy_for(inspect.type_info(Message))

FIRST_FOUND = settings(phases=[Phase.generate])


@settings(max_examples=400)
@given(messages)
def test_every_message_of_the_union_comes_back_as_it_was(message: Message) -> None:
    assert wire.decode(wire.encode(message)) == message


@pytest.mark.parametrize("kind", get_args(Message))
def test_messages_are_generated_of_every_kind_in_the_union(kind: type[Message]) -> None:
    find(messages, lambda message: isinstance(message, kind), settings=FIRST_FOUND)


@pytest.mark.parametrize("kind", get_args(get_type_hints(Frame)["body"]))
def test_frames_are_generated_with_every_kind_of_body(kind: type[Any]) -> None:
    bodies = messages.filter(lambda m: isinstance(m, Frame)).map(lambda m: m.body)
    find(bodies, lambda body: isinstance(body, kind), settings=FIRST_FOUND)


@settings(max_examples=200)
@given(messages)
def test_a_message_has_one_encoding(message: Message) -> None:
    """Shown by another encoder of MessagePack, which agrees on plain arrays, byte for byte."""
    assert msgspec.msgpack.encode(plain(message)) == wire.encode(message)


def plain(value: Any) -> Any:
    """A message as the plain lists that it travels as."""
    if isinstance(value, msgspec.Struct):
        tag = value.__struct_config__.tag
        fields = [plain(getattr(value, name)) for name in value.__struct_fields__]
        return fields if tag is None else [tag, *fields]
    return [plain(item) for item in value] if isinstance(value, tuple) else value


# NT9: what is almost a message.


@pytest.mark.parametrize("length", range(len(DATA)))
def test_nt9_a_truncated_message_is_malformed(length: int) -> None:
    assert wire.decode(DATA[:length]) == MALFORMED


@pytest.mark.parametrize("trail", [b"\0", b"\xc0", DATA])
def test_nt9_trailing_bytes_are_malformed(trail: bytes) -> None:
    assert wire.decode(DATA + trail) == MALFORMED


#: DATA is: an array of 4, tag 0, 32 bytes, round 2, [1, 3 bytes].
ARRAY, TAG, RUN_BYTES, ROUND, BODY = b"\x94", b"\0", b"\xc4\x20" + RUN, b"\2", b"\x92\1\xc4\3abc"


def test_nt9_the_pieces_below_make_the_message() -> None:
    assert ARRAY + TAG + RUN_BYTES + ROUND + BODY == DATA


@pytest.mark.parametrize(
    "data",
    [
        ARRAY + b"\xcc\0" + RUN_BYTES + ROUND + BODY,
        ARRAY + TAG + RUN_BYTES + b"\xcc\2" + BODY,
        ARRAY + TAG + RUN_BYTES + b"\xcd\0\2" + BODY,
        ARRAY + TAG + RUN_BYTES + b"\xce\0\0\0\2" + BODY,
        ARRAY + TAG + RUN_BYTES + b"\xcf" + bytes(7) + b"\2" + BODY,
        ARRAY + TAG + RUN_BYTES + b"\xd0\2" + BODY,
        ARRAY + TAG + RUN_BYTES + b"\xd3" + bytes(7) + b"\2" + BODY,
        ARRAY + TAG + b"\xc5\0\x20" + RUN + ROUND + BODY,
        ARRAY + TAG + b"\xc6\0\0\0\x20" + RUN + ROUND + BODY,
        b"\xdc\0\4" + TAG + RUN_BYTES + ROUND + BODY,
        b"\xdd\0\0\0\4" + TAG + RUN_BYTES + ROUND + BODY,
    ],
    ids=[
        "tag of 8 bits",
        "round of 8 bits",
        "round of 16 bits",
        "round of 32 bits",
        "round of 64 bits",
        "round signed, of 8 bits",
        "round signed, of 64 bits",
        "run under a length of 16 bits",
        "run under a length of 32 bits",
        "array under a length of 16 bits",
        "array under a length of 32 bits",
    ],
)
def test_nt9_a_second_spelling_of_a_message_is_noncanonical(data: bytes) -> None:
    assert wire.decode(data) == NONCANONICAL


@pytest.mark.parametrize(
    "data",
    [
        ARRAY + TAG + RUN_BYTES + b"\xc3" + BODY,
        ARRAY + TAG + RUN_BYTES + b"\xc0" + BODY,
        ARRAY + TAG + RUN_BYTES + b"\xa12" + BODY,
        ARRAY + TAG + RUN_BYTES + b"\xa1\xff" + BODY,
        ARRAY + TAG + RUN_BYTES + b"\xcb\x3f\xf8" + bytes(6) + BODY,
        ARRAY + TAG + b"\xc0" + ROUND + BODY,
        ARRAY + TAG + b"\xa2\xff\xff" + ROUND + BODY,
        ARRAY + TAG + b"\xa8" + b"cnJy" * 2 + ROUND + BODY,
        ARRAY + b"\xc2" + RUN_BYTES + ROUND + BODY,
        ARRAY + b"\x09" + RUN_BYTES + ROUND + BODY,
        ARRAY + b"\xff" + RUN_BYTES + ROUND + BODY,
        ARRAY + TAG + RUN_BYTES + ROUND + b"\x91\x09",
        ARRAY + TAG + RUN_BYTES + ROUND + b"\x90",
        ARRAY + TAG + RUN_BYTES + ROUND + b"\xc0",
        b"\x95" + TAG + RUN_BYTES + ROUND + BODY + b"\0",
        ARRAY + TAG + RUN_BYTES + ROUND + b"\x93\1\xc4\0\0",
        b"\x93" + TAG + RUN_BYTES + ROUND,
        ARRAY + TAG + RUN_BYTES + ROUND + b"\x92\3\x91\x92\3\x90",
        b"\x82\xa3run" + RUN_BYTES[:2] + RUN + b"\xa3run" + RUN_BYTES,
        b"\xc7\1\1\0",
        b"\xc1",
    ],
    ids=[
        "bool for int",
        "nil for int",
        "text for int",
        "text that is no UTF-8 for int",
        "fraction for int",
        "nil for bytes",
        "text that is no UTF-8 for bytes",
        "base64 text for bytes",
        "bool for tag",
        "unknown tag",
        "negative tag",
        "unknown tag of a body",
        "body without tag",
        "no body",
        "extra field of a frame",
        "extra field of a body",
        "missing field",
        "bundle in a bundle",
        "map with duplicate keys",
        "extension type",
        "the byte that MessagePack never uses",
    ],
)
def test_nt9_what_is_no_message_is_malformed(data: bytes) -> None:
    assert wire.decode(data) == MALFORMED


@pytest.mark.parametrize(
    "announced",
    [b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9"],
    ids=["array", "map", "bytes", "text", "extension"],
)
def test_nt9_a_length_of_2_to_the_32_minus_1_is_malformed_and_allocates_nothing(
    announced: bytes,
) -> None:
    endless = announced + b"\xff\xff\xff\xff"
    before = resident_bytes()
    for data in (
        endless,
        ARRAY + TAG + RUN_BYTES + ROUND + endless,
        ARRAY + TAG + RUN_BYTES + ROUND + b"\x92\2" + endless,
        ARRAY + TAG + RUN_BYTES + ROUND + b"\x92\3" + endless + b"\x91\0" * 1000,
    ):
        assert wire.decode(data) == MALFORMED
    assert resident_bytes() - before < 8 << 20


@pytest.mark.parametrize(
    "opening",
    [b"\x91", b"\x92\3\x91", b"\x81\0", ARRAY + TAG + RUN_BYTES + ROUND + b"\x92\3"],
    ids=["arrays", "bundles", "maps", "frames"],
)
def test_nt9_200_000_deep_nesting_is_malformed_even_on_a_stack_of_256_kib(opening: bytes) -> None:
    deep = opening * (200_000 if len(opening) < 6 else 20_000)
    assert on_a_small_stack(lambda: wire.decode(deep)) == MALFORMED


def test_nt9_nesting_where_a_body_stands_is_malformed_even_on_a_small_stack() -> None:
    for unit in (b"\x91", b"\x92\3\x91", b"\x81\xa0"):
        deep = ARRAY + TAG + RUN_BYTES + ROUND + unit * 200_000
        assert on_a_small_stack(lambda deep=deep: wire.decode(deep)) == MALFORMED


def test_a_message_over_the_bound_is_oversize_and_one_at_the_bound_is_not() -> None:
    envelope = len(wire.encode(Frame(RUN, 2, Oral(bytes(1 << 17))))) - (1 << 17)
    largest = wire.encode(Frame(RUN, 2, Oral(bytes(FRAME_BYTES_MAX - envelope))))
    assert len(largest) == FRAME_BYTES_MAX
    assert isinstance(wire.decode(largest), Frame)
    assert wire.decode(largest + b"\0") == Malformed(Reason.OVERSIZE)


# NT10: chance.


def test_nt10_100_000_random_and_mutated_messages_are_messages_or_malformed() -> None:
    """Nothing is raised, nothing else returned, and memory does not grow by 32 MB."""
    chance = random.Random("NT10")
    whole = [wire.encode(message) for message in SAMPLES]
    verdicts = {Malformed: 0, Frame: 0, Probe: 0, Echo: 0, Conspire: 0}
    decoded_of(chance, whole, 5_000, verdicts)
    before = resident_bytes()
    decoded_of(chance, whole, 95_000, verdicts)
    assert resident_bytes() - before < 32 << 20
    assert sum(verdicts.values()) == 100_000
    assert all(verdicts.values()), verdicts


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_nt10_any_bytes_give_a_message_or_malformed(data: bytes) -> None:
    decoded = wire.decode(data)
    assert isinstance(decoded, Malformed) or wire.encode(decoded) == data


SAMPLES: list[Message] = [
    FRAME,
    Frame(RUN, 1, Empty()),
    Frame(RUN, 3, Signed((SignedOrder(b'"a"', (0, 1), (bytes(64),) * 2),))),
    Frame(RUN, 300, Bundle((Empty(), Oral(b"\x80"), Signed(())))),
    Probe(RUN),
    Echo(RUN),
    Conspire(RUN, bytes(32)),
]


def decoded_of(
    chance: random.Random, whole: list[bytes], times: int, verdicts: dict[type, int]
) -> None:
    for _ in range(times):
        data = chance.choice(whole) if chance.random() < 0.8 else chance.randbytes(64)
        steps = chance.randint(0, 3)
        decoded = wire.decode(reduce(lambda d, _: mutated(chance, d), range(steps), data))
        verdicts[type(decoded)] += 1


def mutated(chance: random.Random, data: bytes) -> bytes:
    """One structural change: a byte, a cut, a repetition, or a piece put elsewhere."""
    at, to = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    mutations: list[Callable[[], bytes]] = [
        lambda: data[:at] + chance.randbytes(1) + data[at + 1 :],
        lambda: data[:at] + data[to:],
        lambda: data[:to] + data[at:],
        lambda: data[:at] + chance.choice(MARKS) + data[at:],
        lambda: data[:at] + chance.choice(MARKS) + data[at + 1 :],
        lambda: data[at:to] + data,
    ]
    return chance.choice(mutations)()


#: Bytes that open something in MessagePack.
MARKS = [bytes([mark]) for mark in (0x80, 0x90, 0x94, 0xA0, *range(0xC0, 0xE0), 0xFF)]


def on_a_small_stack(task: Callable[[], Any]) -> Any:
    """What `task` returns in a thread with a stack of 256 KiB."""
    results: list[Any] = []
    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=lambda: results.append(task()))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    return results[0]


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
