"""Bytes to messages and back: canonical, bounded, total.

Any bytes give a `Message` or a `Malformed`; no other exception leaves here. A message has exactly
one encoding: what decodes must encode again to the same bytes, which closes non-minimal integers
and every other second spelling of MessagePack.
"""

from __future__ import annotations

import msgspec

from node.effects import Reason
from node.messages import Message

#: No frame is larger, in bytes: sockets refuse more, and casting refuses runs that would need more.
FRAME_BYTES_MAX = 1 << 20

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


class Malformed(msgspec.Struct, frozen=True):
    """Bytes that are no message, and why."""

    reason: Reason


def encode(message: Message) -> bytes:
    return _encoder.encode(message)


def decode(data: bytes) -> Message | Malformed:
    if len(data) > FRAME_BYTES_MAX:
        return Malformed(Reason.OVERSIZE)
    try:
        message: Message = _decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # ValueError: text that is not UTF-8 where a number or bytes were expected.
        return Malformed(Reason.MALFORMED)
    if _encoder.encode(message) != data:
        return Malformed(Reason.NONCANONICAL)
    return message
