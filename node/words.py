"""What generals say, in words: for logs, journals and people. Bounded, whatever a peer sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from node.messages import Bundle, Content, Empty, Oral, Parcel, Parcels, Signed
from node.orders import Brief, Domain
from node.protocols.catalogue import values_in_frame
from node.protocols.oral import read_oral

#: Values, orders or instances that are spelt out; of more, only how many.
SPELT_MAX = 8
#: Characters of one value that are shown.
VALUE_CHARACTERS_MAX = 40


def body_text(body: Content, brief: Brief, round: int) -> str:
    """A body in words: its values, its signed orders, or its parts by instance."""
    match body:
        case Empty():
            return "nothing to say"
        case Oral():
            return _oral_text(body, brief.domain, values_in_frame(brief, round))
        case Signed(orders, proof):
            texts = [safe(str(order)) for order in orders[:SPELT_MAX]]
            told = _listed(texts, len(orders), "orders")
            if not proof:
                return told
            proven = ", ".join(safe(str(order)) for order in proof[:2])
            return f"{told or 'nothing to say'}; proof: {proven}"
        case Bundle(parts):
            spelt = enumerate(parts[:SPELT_MAX])
            texts = [f"{i}: {body_text(part, brief, round)}" for i, part in spelt]
            return _listed(texts, len(parts), "instances", "; ")
        case Parcels(parcels):
            step = (round - 1) // brief.reach + 1
            texts = [_parcel_text(parcel, brief, step) for parcel in parcels[:SPELT_MAX]]
            return _listed(texts, len(parcels), "parcels", "; ")


def _parcel_text(parcel: Parcel, brief: Brief, round: int) -> str:
    way = ">".join(map(str, parcel.path[:SPELT_MAX]))
    return f"{way}: {body_text(parcel.body, brief, round)}"


def safe(text: str, characters_max: int = VALUE_CHARACTERS_MAX) -> str:
    """Text from elsewhere as one harmless line: no control characters, not too long."""
    shown = text if text.isprintable() else ascii(text)[1:-1]
    if len(shown) <= characters_max:
        return shown
    return f"{shown[:characters_max]}... ({len(text)} characters)"


def json_line(fields: Mapping[str, Any]) -> str:
    """JSON in one line that every terminal shows as it is: what does not print is escaped."""
    line = msgspec.json.encode(fields, enc_hook=str).decode()
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def _oral_text(body: Oral, domain: Domain, count: int) -> str:
    codes = read_oral(body, count, domain)
    if isinstance(codes, str):
        return f"{len(body.values)} bytes ({codes.value})"
    if count <= SPELT_MAX:
        return ", ".join(safe(str(domain.value(code))) for code in codes)
    different, times = domain.counted(codes)
    counted = [
        f"{times[i]} {safe(str(domain.value(different[i])))}"
        for i in np.argsort(-times)[:SPELT_MAX]
    ]
    more = f" and {len(different) - SPELT_MAX} more" if len(different) > SPELT_MAX else ""
    return f"{count} values: {', '.join(counted)}{more}"


def _listed(texts: list[str], count: int, noun: str, separator: str = ", ") -> str:
    """The texts of the first of `count` things, and how many more there are."""
    shown = separator.join(texts)
    return shown if count <= len(texts) else f"{shown} and {count - len(texts)} more {noun}"
