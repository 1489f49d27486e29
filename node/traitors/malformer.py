"""Says what has the form of a message and makes no sense: any kind, any field, drawn by type.

The kinds are taken from the unions of `messages.py` themselves, so that none is ever forgotten: a
generator written beside them would know only what its author thought of.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from msgspec import inspect

from node.effects import Effect, Send
from node.messages import Content
from node.orders import GeneralId
from node.traitors.traitor import Power, Strategy

#: Elements of a drawn list, and bytes of a drawn text, at most.
LENGTH_MAX = 6
BYTES_MAX = 80
_INTEGERS = (-(1 << 63), -1, 0, 1, 2, 3, 99, 255, (1 << 63) - 1)
_CONTENT = inspect.type_info(Content)


class Malformer(Strategy):
    summary = "sends messages of every kind whose fields are drawn: well-formed, and senseless"
    powers = frozenset({Power.ALTER, Power.INJECT})

    def tell(self, send: Send, to: GeneralId) -> list[Effect]:
        chance = self.seat.chance(to, send.round, "malformer")
        return self.substitute(send, to, msgspec.convert(drawn(_CONTENT, chance), Content))


def drawn(kind: inspect.Type, chance: np.random.Generator) -> Any:
    """A value of a type, as msgspec's builtins: arrays for structs, with the tag first."""
    match kind:
        case inspect.UnionType(types):
            return drawn(types[chance.integers(len(types))], chance)
        case inspect.StructType(fields=fields, tag=tag):
            values = [drawn(field.type, chance) for field in fields]
            return values if tag is None else [tag, *values]
        case inspect.VarTupleType(item_type=item):
            return [drawn(item, chance) for _ in range(chance.integers(LENGTH_MAX))]
        case inspect.BytesType():
            return chance.bytes(int(chance.integers(BYTES_MAX)))
        case inspect.IntType():
            return _INTEGERS[chance.integers(len(_INTEGERS))]
        case _:
            raise TypeError(f"no message has had a field of {kind} so far")
