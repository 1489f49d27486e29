"""Packets to bytes and back: canonical, bounded, total, as `node/wire.py` does for frames."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from node.effects import Reason
from node.protocols.pbft.messages import Answered, Asked, Batch, NewView, Packet, ViewChange

#: No packet is larger, in bytes: as much as a frame.
PACKET_BYTES_MAX = 1 << 20
#: Room in a packet for everything besides what is being packed into it.
MARGIN_BYTES = 1 << 12

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_packets = msgspec.msgpack.Decoder(Packet)
_asked = msgspec.msgpack.Decoder(Asked)
_answered = msgspec.msgpack.Decoder(Answered)
_batches = msgspec.msgpack.Decoder(Batch)
_view_changes = msgspec.msgpack.Decoder(ViewChange)
_new_views = msgspec.msgpack.Decoder(NewView)

encode = _encoder.encode


def decode_packet(data: bytes) -> Packet | Reason:
    return _decoded(_packets, data)


def decode_asked(data: bytes) -> Asked | Reason:
    return _decoded(_asked, data)


def decode_answered(data: bytes) -> Answered | Reason:
    return _decoded(_answered, data)


def stored_batch(data: bytes) -> Batch:
    """A batch as this replica wrote it down. ValueError where the bytes are no such thing."""
    return _stored(_batches, data)


def stored_view_change(data: bytes) -> ViewChange:
    return _stored(_view_changes, data)


def stored_new_view(data: bytes) -> NewView:
    return _stored(_new_views, data)


def _stored(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise ValueError(f"what was written down cannot be read: {error}") from error


def _decoded(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T | Reason:
    if len(data) > PACKET_BYTES_MAX:
        return Reason.OVERSIZE
    try:
        message = decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Reason.MALFORMED
    if _encoder.encode(message) != data:
        return Reason.NONCANONICAL
    return message
