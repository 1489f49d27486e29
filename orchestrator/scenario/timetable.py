"""The timetable of misfortunes as it is written: when something befalls whom, and for how long."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StrictBool,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from node.effects import Milestone
from node.link_faults import DELAY_S_MAX, Constant, Delay, Exponential, Uniform
from node.messages import KINDS
from orchestrator.scenario.problems import shown
from orchestrator.scenario.terms import (
    INTEGER_MAX,
    GeneralNumber,
    ProbabilityOf,
    RoundNumber,
    StrategyName,
    span_s,
    wrong,
)

FROZEN = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)

#: The context of reading what is left after a cut: what a cut leaves incomplete is no news.
CUT = {"cut": True}

#: No step is later, and none lasts longer, in seconds.
SPAN_S_MAX = 3600.0
_MOMENT = re.compile(r"(round|view|stable|decided) ([0-9]{1,18})")
_ROUNDS = re.compile(r"([0-9]{1,18}) rounds?")
_SPAN = r"[0-9]{1,9}(\.[0-9]{1,20})? ?(ms|s)"


@dataclass(frozen=True)
class Moment:
    """When a step is taken: before a round, once a view, a checkpoint or a decision is reached, or
    so many seconds after the start. `what` is a milestone's name, `decided`, or `elapsed`."""

    what: str
    number: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        return _seconds(self.seconds) if self.what == "elapsed" else f"{self.what} {self.number}"

    @property
    def round(self) -> int | None:
        return self.number if self.what == Milestone.ROUND else None


@dataclass(frozen=True)
class Span:
    """How long a step lasts: rounds, or seconds where `rounds` is 0."""

    rounds: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        if self.rounds:
            return f"{self.rounds} round{'s' * (self.rounds > 1)}"
        return _seconds(self.seconds)


def _seconds(seconds: float) -> str:
    """The text that `span_s` reads as exactly so many seconds."""
    whole_ms = round(seconds * 1000)
    return f"{whole_ms}ms" if whole_ms / 1000 == seconds else f"{seconds!r}s"


def _read_moment(value: Any) -> Moment:
    if isinstance(value, Moment):
        return value
    if isinstance(value, str) and (found := _MOMENT.fullmatch(value)):
        number = int(found[2])
        if found[1] == Milestone.ROUND and number < 1:
            raise wrong("must be a round from 1 on")
        return Moment(found[1], number)
    examples = "round 2, view 1, stable 100, decided 3 or 300ms"
    return Moment("elapsed", seconds=span_s(value, examples, 0.0, SPAN_S_MAX))


def _read_span(value: Any) -> Span:
    if isinstance(value, Span):
        return value
    if isinstance(value, str) and (found := _ROUNDS.fullmatch(value)):
        if int(found[1]) < 1:
            raise wrong("must be 1 round or more")
        return Span(rounds=int(found[1]))
    return Span(seconds=span_s(value, "2 rounds or 300ms", 0.001, SPAN_S_MAX))


def _read_delay(value: Any) -> Delay:
    if isinstance(value, Constant | Uniform | Exponential):
        return value
    examples = "50ms, uniform 10ms 50ms or exponential 20ms"
    word, *rest = value.split() if isinstance(value, str) else [value]
    match word, rest:
        case "uniform", [low, high]:
            low_s, high_s = (span_s(one, examples, 0.0, DELAY_S_MAX) for one in (low, high))
            if low_s > high_s:
                raise wrong(f"must be the shorter delay and then the longer, not {shown(value)}")
            return Uniform(low_s, high_s)
        case "exponential", [mean]:
            return Exponential(span_s(mean, examples, 0.001, DELAY_S_MAX))
        case _:
            return Constant(span_s(value, examples, 0.001, DELAY_S_MAX))


def _written_delay(delay: Delay) -> str:
    match delay:
        case Constant(seconds):
            return _seconds(seconds)
        case Uniform(low_s, high_s):
            return f"uniform {_seconds(low_s)} {_seconds(high_s)}"
        case Exponential(mean_s):
            return f"exponential {_seconds(mean_s)}"


def _read_generals(value: Any) -> tuple[int, ...]:
    """One general's number, or a list of them."""
    listed = value if isinstance(value, list | tuple) else [value]
    if not listed or not all(type(one) is int and 0 <= one <= INTEGER_MAX for one in listed):
        raise wrong(f"must be a general's number, or a list of them, not {shown(value)}")
    return tuple(listed)


def _read_skew(value: Any) -> float:
    is_behind = isinstance(value, str) and value.startswith("-")
    length = span_s(value[1:] if is_behind else value, "250ms or -250ms", 0.0, SPAN_S_MAX)
    return -length if is_behind else length


def _written_skew(seconds: float) -> str:
    return f"-{_seconds(-seconds)}" if seconds < 0 else _seconds(seconds)


def _read_kind(value: Any) -> str:
    if isinstance(value, str) and value in KINDS:
        return value
    raise wrong(f"must be one of {', '.join(KINDS)}, not {shown(value)}", value, KINDS)


_SPAN_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "string", "pattern": f"^{_SPAN}$"}, {"type": "number", "minimum": 0}]
}
_GENERAL_SCHEMA: dict[str, Any] = {"type": "integer", "minimum": 0}

When = Annotated[
    Moment,
    PlainValidator(_read_moment),
    PlainSerializer(str),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": f"^{_MOMENT.pattern}$"}, *_SPAN_SCHEMA["anyOf"]]}
    ),
]
HowLong = Annotated[
    Span,
    PlainValidator(_read_span),
    PlainSerializer(str),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": f"^{_ROUNDS.pattern}$"}, *_SPAN_SCHEMA["anyOf"]]}
    ),
]
DelayOf = Annotated[
    Delay,
    PlainValidator(_read_delay),
    PlainSerializer(_written_delay),
    WithJsonSchema({"type": ["string", "number"]}),
]
SkewS = Annotated[
    float,
    PlainValidator(_read_skew),
    PlainSerializer(_written_skew),
    WithJsonSchema({"type": ["string", "number"]}),
]
Generals = Annotated[
    tuple[int, ...],
    PlainValidator(_read_generals),
    WithJsonSchema(
        {"anyOf": [_GENERAL_SCHEMA, {"type": "array", "items": _GENERAL_SCHEMA, "minItems": 1}]}
    ),
]
KindName = Annotated[
    str, PlainValidator(_read_kind), WithJsonSchema({"type": "string", "enum": list(KINDS)})
]


class Trigger(BaseModel):
    """When a traitor lies: always, but for what is narrowed here. He is loyal otherwise."""

    model_config = FROZEN

    rounds: Annotated[tuple[RoundNumber, ...], Field(min_length=1)] | None = None
    to: Annotated[tuple[GeneralNumber, ...], Field(min_length=1)] | None = None
    probability: ProbabilityOf | None = None


class CutTerms(BaseModel):
    """Links that carry nothing: from whom, to whom, and whether the way back is cut as well."""

    model_config = FROZEN

    senders: Generals = Field(alias="from")
    receivers: Generals = Field(alias="to")
    both: StrictBool = False


class SkewTerms(BaseModel):
    """Whose clock runs off, and how far ahead it is then; behind, with a minus before it."""

    model_config = FROZEN

    general: Generals
    by: SkewS


class LinkTerms(BaseModel):
    """What becomes of messages on some links. Who and what is not narrowed is everyone and all."""

    model_config = FROZEN

    senders: Generals | None = Field(default=None, alias="from")
    receivers: Generals | None = Field(default=None, alias="to")
    rounds: Annotated[tuple[RoundNumber, ...], Field(min_length=1)] | None = None
    kinds: tuple[KindName, ...] | None = None
    lose: ProbabilityOf = 0.0
    delay: DelayOf | None = None
    duplicate: ProbabilityOf = 0.0
    reorder: ProbabilityOf = 0.0
    corrupt: ProbabilityOf = 0.0

    @model_validator(mode="after")
    def _does_something(self, info: ValidationInfo) -> LinkTerms:
        does = (self.lose, self.delay, self.duplicate, self.reorder, self.corrupt)
        if not any(does) and info.context is not CUT:
            raise wrong("does nothing: write lose, delay, duplicate, reorder or corrupt")
        return self


class PromoteTerms(BaseModel):
    """Who becomes a traitor in mid-run, and of what kind."""

    model_config = FROZEN

    general: Generals
    strategy: StrategyName
    params: dict[str, Any] = Field(default_factory=dict, alias="with")
    when: Trigger = Trigger()


class Step(BaseModel):
    """One line of the timetable: a moment, one thing that happens, and how long it lasts."""

    model_config = FROZEN

    at: When
    lasting: HowLong | None = Field(default=None, alias="for")
    partition: tuple[Generals, ...] | None = None
    cut: CutTerms | None = None
    isolate: Generals | None = None
    disconnect: Generals | None = None
    links: LinkTerms | None = None
    heal: Literal["all"] | None = None
    kill: Generals | None = None
    restart: Generals | None = None
    pause: Generals | None = None
    clock_skew: SkewTerms | None = Field(default=None, alias="clock-skew")
    promote: PromoteTerms | None = None
    demote: Generals | None = None

    @model_validator(mode="after")
    def _is_one_step(self, info: ValidationInfo) -> Step:
        if info.context is CUT:
            return self
        verbs = list(self.verbs())
        if len(verbs) != 1:
            told = ", ".join(verbs) if verbs else "nothing"
            raise wrong(f"must say one thing that happens, of {', '.join(VERBS)}: it says {told}")
        if self.lasting is not None and verbs[0] in INSTANT:
            raise wrong(f"{verbs[0]} happens once: `for` has nothing to undo")
        if self.lasting is not None and self.lasting.rounds and self.at.round is None:
            raise wrong("lasts rounds, so it must begin with one: at: round 2")
        return self

    def verbs(self) -> Iterator[str]:
        """What it says that happens: one thing, once it is checked."""
        for name in VERBS:
            if getattr(self, name.replace("-", "_")) is not None:
                yield name

    @property
    def verb(self) -> str:
        return next(self.verbs())

    @property
    def until(self) -> Moment | None:
        """The round before which it is undone, where it lasts rounds."""
        if self.lasting is None or not self.lasting.rounds or self.at.round is None:
            return None
        return Moment(Milestone.ROUND, self.at.round + self.lasting.rounds)


VERBS = (
    "partition",
    "cut",
    "isolate",
    "disconnect",
    "links",
    "heal",
    "kill",
    "restart",
    "pause",
    "clock-skew",
    "promote",
    "demote",
)
#: What no `for` undoes.
INSTANT = frozenset({"heal", "restart", "demote"})


def written_step(step: Step) -> dict[str, Any]:
    """The fields of a step as a file has them, without what it leaves open."""
    return step.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True)


def described(step: Step) -> str:
    """A step in one line: when, what, how long."""
    fields = written_step(step)
    lasting = f" for {step.lasting}" if step.lasting else ""
    return f"{step.at}: {step.verb} {_told(fields[step.verb])}{lasting}"


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_told(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        separator = " | " if any(isinstance(one, list | tuple) for one in value) else ", "
        return separator.join(map(_told, value))
    return str(value)


def fields_at(path: tuple[Any, ...]) -> list[str]:
    """The fields that the mapping at that path of a step can have."""
    terms: dict[str, type[BaseModel]] = {
        "cut": CutTerms,
        "links": LinkTerms,
        "clock-skew": SkewTerms,
        "promote": PromoteTerms,
    }
    kind = terms.get(path[0], Step) if path else Step
    kind = Trigger if path[-1:] == ("when",) else kind
    return [field.alias or name for name, field in kind.model_fields.items()]


def named(step: Step) -> tuple[int, ...]:
    """Every general that a step names, in the order in which they are written."""
    found: list[int] = [g for group in step.partition or () for g in group]
    for one in (step.isolate, step.disconnect, step.kill, step.restart, step.pause, step.demote):
        found += one or ()
    for terms in (step.cut, step.links):
        if terms is not None:
            found += (*(terms.senders or ()), *(terms.receivers or ()))
    for struck in (step.clock_skew, step.promote):
        if struck is not None:
            found += struck.general
    return tuple(found)
