"""The small types that a scenario is made of: how each is read, refused and described to editors.

Every reader says in its own words what it wants and what it got; `wrong` carries them through
pydantic. Each type also states its JSON Schema, because its reader is code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, PlainValidator, StrictInt, StrictStr, WithJsonSchema
from pydantic_core import PydanticCustomError

from node.effects import Reason
from node.orders import Combiner, Decision, Value
from node.protocols.catalogue import PROTOCOLS
from node.traitors import STRATEGIES
from orchestrator.scenario.problems import shown
from orchestrator.topology import NAMES, Edges

GENERALS_MAX = 255
#: A general's number and a count fit a 64-bit field of every wire format.
INTEGER_MAX = (1 << 63) - 1
DELTA_S_MIN, DELTA_S_MAX = 0.001, 60.0
VALUE_CHARACTERS_MAX = 200
#: The word that stands for the domain of all finite numbers.
NUMBERS = "numbers"

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,20})?) ?(ms|s)")
_REGULAR = re.compile(r"random-regular [0-9]{1,3}")
_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_OWN_STRATEGY = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*")


class Protocol(StrEnum):
    """The rule books that a scenario can name."""

    ORAL = "oral"
    SIGNED = "signed"
    EXCHANGE = "exchange"
    FLAT_VOTE = "flat-vote"
    INTERACTIVE_CONSISTENCY = "interactive-consistency"
    PHASE_KING = "phase-king"
    PHASE_QUEEN = "phase-queen"
    RELIABLE_BROADCAST = "reliable-broadcast"
    TMR = "tmr"
    TWO_GENERALS = "two-generals"

    @property
    def has_commander(self) -> bool:
        return PROTOCOLS[self.value].has_commander


#: What takes an m of its own if none is written.
WITHOUT_M = (Protocol.EXCHANGE, Protocol.TMR, Protocol.TWO_GENERALS)


#: What is also played where not everyone can speak to everyone.
ON_GRAPHS = (
    Protocol.ORAL,
    Protocol.SIGNED,
    Protocol.EXCHANGE,
    Protocol.INTERACTIVE_CONSISTENCY,
    Protocol.PHASE_KING,
    Protocol.PHASE_QUEEN,
)


class Over(StrEnum):
    """What interactive consistency, or the agreement on a sensor's reading, is played by."""

    ORAL = "oral"
    SIGNED = "signed"


class Outcome(StrEnum):
    """How a run as a whole ends."""

    PASS = "pass"  # noqa: S105
    VIOLATION = "violation"
    OUT_OF_MODEL = "out-of-model"
    UNKNOWN = "unknown"


class Standing(StrEnum):
    """How one promise stands after a run."""

    HELD = "held"
    BROKEN = "broken"
    VACUOUS = "vacuous"
    UNKNOWN = "unknown"


def wrong(message: str, value: Any = None, choices: Iterable[str] = ()) -> PydanticCustomError:
    """An error in our words. Where there are choices, the one near `value` is suggested later.

    Later, because pydantic collects every error and only the first of them are told.
    """
    # Braces are pydantic's placeholders, so the text travels as a value.
    context = {"message": message, "value": value, "choices": list(choices)}
    return PydanticCustomError("scenario", "{message}", context)


_Choice = TypeVar("_Choice", bound=StrEnum)


def _one_of(choices: type[_Choice]) -> tuple[Any, Any]:
    """Reads a member of `choices`, and says which there are where it is none; with its schema."""
    names = [one.value for one in choices]

    def read(value: Any) -> _Choice:
        if isinstance(value, str) and value in names:
            return choices(value)
        raise wrong(f"must be one of {', '.join(names)}, not {shown(value)}", value, names)

    return PlainValidator(read), WithJsonSchema({"type": "string", "enum": names})


def read_value(value: Any) -> Value:
    """A scalar that every wire format can carry."""
    match value:
        case bool():
            return value
        case str() if len(value) <= VALUE_CHARACTERS_MAX:
            return value
        case int() if -INTEGER_MAX <= value <= INTEGER_MAX:
            return value
        case float() if math.isfinite(value):
            return value + 0.0  # -0.0 and 0.0 are one value with two spellings
        case str():
            raise wrong(f"must have at most {VALUE_CHARACTERS_MAX} characters")
        case int():
            raise wrong("must fit 64 bits")
        case float():
            raise wrong("must be a finite number")
    raise wrong(f"must be one value (a word, a number, true or false), not {shown(value)}")


def _duration_s(value: Any) -> float:
    return span_s(value, "a duration such as 500ms, 2s or 0.5", DELTA_S_MIN, DELTA_S_MAX)


def span_s(value: Any, wanted: str, low_s: float, high_s: float) -> float:
    """Seconds, from a number of them or from text like `500ms` and `2s`, within the two bounds."""
    seconds = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value) if abs(value) < 1e9 else math.inf
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        seconds = float(match[1]) / (1000 if match[2] == "ms" else 1)
    if math.isnan(seconds):
        raise wrong(f"must be {wanted}, not {shown(value)}")
    if not low_s <= seconds <= high_s:
        raise wrong(f"must be from {duration(low_s)} to {high_s:g}s, not {shown(value)}")
    return seconds


def _probability(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise wrong(f"must be a number from 0 to 1, not {shown(value)}")


def duration(seconds: float) -> str:
    """The text that `_duration_s` reads as exactly so many seconds."""
    whole_ms = round(seconds * 1000)
    return f"{whole_ms}ms" if whole_ms / 1000 == seconds else f"{seconds!r}s"


def _slug(text: str) -> str:
    if not _SLUG.fullmatch(text):
        raise wrong(f"must be of small letters, digits and single hyphens, not {shown(text)}")
    return text


def slug(text: str) -> str:
    """The nearest name that names a folder safely everywhere."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:64].strip("-") or "scenario"


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise wrong("must be one line without control characters")
    return text


def _printing(text: str) -> str:
    if not text.replace("\n", "").isprintable():
        raise wrong("must be free of control characters")
    return text


def _topology(value: Any) -> str | Edges:
    """A graph's name, or its edges as pairs of generals."""
    if isinstance(value, list | tuple):
        if not value or not all(_is_pair(one) for one in value):
            raise wrong("must be a graph's name, or a list of links such as [0, 1]", value)
        return tuple((min(one), max(one)) for one in value)
    if isinstance(value, str) and (value in NAMES or _REGULAR.fullmatch(value)):
        return value
    names = ", ".join(NAMES)
    raise wrong(f"must be one of {names}, or a list of links, not {shown(value)}", value, NAMES)


def _is_pair(value: Any) -> bool:
    is_list = isinstance(value, list | tuple) and len(value) == 2
    return is_list and all(type(one) is int and 0 <= one < GENERALS_MAX for one in value)


def _strategy(text: str) -> str:
    if text in STRATEGIES or _OWN_STRATEGY.fullmatch(text):
        return text
    known = f"{', '.join(STRATEGIES)}, or your own module:Class"
    raise wrong(f"must be one of {known}, not {shown(text)}", text, STRATEGIES)


def _decision(value: Any) -> Decision | None:
    if isinstance(value, list | tuple):
        return tuple(read_value(one) for one in value)
    return None if value is None else read_value(value)


def _messages(value: Any) -> int | tuple[int, ...]:
    counts = value if isinstance(value, list | tuple) else [value]
    if not all(type(count) is int and 0 <= count <= INTEGER_MAX for count in counts):
        raise wrong(f"must be a count, or a list of counts by round, not {shown(value)}")
    return tuple(value) if isinstance(value, list | tuple) else int(value)


SCALAR_SCHEMA: dict[str, Any] = {"type": ["string", "number", "boolean"]}
_COUNT_SCHEMA: dict[str, Any] = {"type": "integer", "minimum": 0}
_DECISION_SCHEMA: dict[str, Any] = {
    "anyOf": [SCALAR_SCHEMA, {"type": "array", "items": SCALAR_SCHEMA}, {"type": "null"}]
}
_DURATION_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "pattern": f"^{_DURATION.pattern}$"},
        {"type": "number", "minimum": DELTA_S_MIN, "maximum": DELTA_S_MAX},
    ]
}
_MESSAGES_SCHEMA: dict[str, Any] = {
    "anyOf": [_COUNT_SCHEMA, {"type": "array", "items": _COUNT_SCHEMA}]
}

_STRATEGY_SCHEMA: dict[str, Any] = {
    "type": "string",
    "anyOf": [{"enum": list(STRATEGIES)}, {"pattern": f"^{_OWN_STRATEGY.pattern}$"}],
}

_TOPOLOGY_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "enum": [name for name in NAMES if " " not in name]},
        {"type": "string", "pattern": f"^{_REGULAR.pattern}$"},
        {
            "type": "array",
            "minItems": 1,
            "items": {"type": "array", "items": _COUNT_SCHEMA, "minItems": 2, "maxItems": 2},
        },
    ]
}

TopologyOf = Annotated[str | Edges, PlainValidator(_topology), WithJsonSchema(_TOPOLOGY_SCHEMA)]
GeneralNumber = Annotated[StrictInt, Field(ge=0, le=INTEGER_MAX)]
RoundNumber = Annotated[StrictInt, Field(ge=1, le=INTEGER_MAX)]
ProbabilityOf = Annotated[
    float,
    PlainValidator(_probability),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1}),
]
Count = Annotated[StrictInt, Field(ge=0, le=INTEGER_MAX)]
Scalar = Annotated[Value, PlainValidator(read_value), WithJsonSchema(SCALAR_SCHEMA)]
ExpectedDecision = Annotated[
    Decision | None, PlainValidator(_decision), WithJsonSchema(_DECISION_SCHEMA)
]
ExpectedMessages = Annotated[
    int | tuple[int, ...], PlainValidator(_messages), WithJsonSchema(_MESSAGES_SCHEMA)
]
DeltaS = Annotated[float, PlainValidator(_duration_s), WithJsonSchema(_DURATION_SCHEMA)]
Name = Annotated[StrictStr, Field(max_length=64), AfterValidator(_slug)]
Line = Annotated[StrictStr, Field(max_length=200), AfterValidator(_one_line)]
Text = Annotated[StrictStr, Field(max_length=20_000), AfterValidator(_printing)]
StrategyName = Annotated[
    StrictStr, Field(max_length=200), AfterValidator(_strategy), WithJsonSchema(_STRATEGY_SCHEMA)
]
ProtocolName = Annotated[Protocol, *_one_of(Protocol)]
OverName = Annotated[Over, *_one_of(Over)]
CombinerName = Annotated[Combiner, *_one_of(Combiner)]
OutcomeName = Annotated[Outcome, *_one_of(Outcome)]
StandingName = Annotated[Standing, *_one_of(Standing)]
ReasonName = Annotated[Reason, *_one_of(Reason)]
