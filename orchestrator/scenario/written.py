"""From a tree of nodes to typed fields, field by field, so that one wrong field hides no other.

`Written` is what a user may write. Its readers and its JSON Schema are one, so that an editor and
`byzantine validate` agree. What needs several fields at once is in `checks.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.functional_validators import WrapValidator, model_validator
from typing_extensions import TypedDict

from orchestrator.scenario.document import KEY, Node, Path, Unreadable
from orchestrator.scenario.model import Expect
from orchestrator.scenario.problems import PROBLEMS_MAX, Problems, dotted, shown, suggestion
from orchestrator.scenario.terms import (
    GENERALS_MAX,
    NUMBERS,
    SCALAR_SCHEMA,
    WITHOUT_M,
    CombinerName,
    Count,
    DeltaS,
    GeneralNumber,
    Line,
    Name,
    OverName,
    ProtocolName,
    Scalar,
    StrategyName,
    Text,
    TopologyOf,
    read_value,
    wrong,
)
from orchestrator.scenario.timetable import CUT, FROZEN, Step, Trigger, fields_at

#: JSON has no numbers for keys.
_GENERAL_KEYS = {"pattern": "^[0-9]+$"}
_VALUES_SCHEMA = {
    "anyOf": [
        {"const": NUMBERS},
        {"type": "array", "items": SCALAR_SCHEMA, "minItems": 2, "maxItems": 256},
    ]
}
_INPUTS_SCHEMA = {
    "anyOf": [
        SCALAR_SCHEMA,
        {"type": "array", "items": SCALAR_SCHEMA},
        {
            "type": "object",
            "propertyNames": _GENERAL_KEYS,
            "additionalProperties": SCALAR_SCHEMA,
        },
    ]
}


def _read_values(values: Any, read: Any) -> Any:
    if isinstance(values, list | tuple):
        return read(tuple(values))
    if values == NUMBERS:
        return NUMBERS
    message = f"must be a list of values or the word {NUMBERS}, not {shown(values)}"
    raise wrong(message, values, [NUMBERS])


def _read_inputs(inputs: Any, read: Any) -> Any:
    """By general where there is one a general; else the one value that all have."""
    if isinstance(inputs, list | tuple):
        return read(dict(enumerate(inputs)))
    return read(inputs) if isinstance(inputs, Mapping) else read_value(inputs)


Values = Annotated[tuple[Scalar, ...], WrapValidator(_read_values), WithJsonSchema(_VALUES_SCHEMA)]
Inputs = Annotated[
    dict[GeneralNumber, Scalar], WrapValidator(_read_inputs), WithJsonSchema(_INPUTS_SCHEMA)
]
Generals = Annotated[int, Field(strict=True, ge=2, le=GENERALS_MAX)]


def _about(text: str) -> Any:
    return Field(description=text)


class Entry(BaseModel):
    """One entry under `traitors`: one general, or several with one strategy."""

    model_config = FROZEN

    general: GeneralNumber | None = None
    generals: Annotated[tuple[GeneralNumber, ...], Field(min_length=1)] | None = None
    strategy: StrategyName | None = None
    params: dict[str, Any] = Field(default_factory=dict, alias="with")
    when: Trigger = Trigger()
    conceals: StrictBool = False

    @model_validator(mode="after")
    def _is_whole(self, info: ValidationInfo) -> Entry:
        if info.context is CUT:
            return self
        if self.general is not None and self.generals is not None:
            raise wrong("write `general` or `generals`, not both")
        if self.general is None and self.generals is None:
            raise wrong("names no general: write `general` or `generals`")
        if self.strategy is None:
            raise wrong("names no strategy")
        return self

    def who(self) -> tuple[int, ...]:
        return tuple(one for one in (self.general, *(self.generals or ())) if one is not None)


class Written(TypedDict, total=False):
    """The fields of a scenario's file. `traitors` and `chaos` are by index here, whatever form
    they had."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    name: Annotated[Name, _about("What the run directory is called; the file's name if not given")]
    summary: Annotated[Line, _about("One line: what this story shows")]
    teaches: Annotated[Text, _about("More about it, for people who learn from it")]
    reference: Annotated[tuple[Line, ...], _about("Worked cases and rules that it plays")]
    protocol: Annotated[ProtocolName, _about("The rule book")]
    over: Annotated[
        OverName,
        _about("What consistency (oral), or a sensor's reading (nothing), is agreed on by"),
    ]
    combiner: Annotated[CombinerName, _about("What reads the values that a general ends with")]
    n: Annotated[Generals, _about("How many generals there are, 0 to n - 1")]
    m: Annotated[Count, _about("How many traitors the protocol must bear; 1 for exchange")]
    commander: Annotated[GeneralNumber, _about("Who gives the order (0)")]
    order: Annotated[Scalar, _about("The commander's order (attack)")]
    inputs: Annotated[Inputs, _about("What each general has: a list, a mapping, or one for all")]
    values: Annotated[Values, _about("The domain: [retreat, attack] if not given")]
    default: Annotated[Scalar, _about("The order of who hears none (retreat; 0 for numbers)")]
    messages: Annotated[Count, _about("How many messages two generals send to and fro")]
    delta: Annotated[DeltaS, _about("The length of a round (500ms)")]
    seed: Annotated[Count, _about("What all chance of the run is drawn from (1)")]
    traitors: Annotated[dict[Any, Entry], _about("Who lies, how and when")]
    topology: Annotated[TopologyOf, _about("Who can speak to whom: a graph (complete)")]
    chaos: Annotated[dict[Any, Step], _about("What befalls whom, and when: a list of steps")]
    coalition: Annotated[StrictBool, _about("Whether traitors share their signing keys (true)")]
    accountable: Annotated[StrictBool, _about("Whether frames carry authenticators (false)")]
    force: Annotated[StrictBool, _about("Play although there are very many messages (false)")]
    expect: Annotated[Expect, _about("What must come of the run")]


_reader = TypeAdapter(Written)


def read(root: Node, problems: Problems) -> tuple[Node, dict[str, Any]]:
    """The tree with its traitors and steps one by one, and the fields that could be read.

    What is wrong is told and cut out, and the rest is read again, so that what is right is still
    checked against the other fields.
    """
    root = _spread_steps(_spread(root, problems), problems)
    assert isinstance(root.content, dict)
    data = {key: node.plain() for key, node in root.content.items() if node.is_readable}
    for key in [key for key in data if not isinstance(key, str)]:
        problems.add(root.place_of((key, KEY)), _unknown_field((key,)))
        del data[key]
    try:
        return root, dict(_reader.validate_python(data))
    except ValidationError as error:
        tell(error, root, problems)
        return root, _read_the_rest(data, error)


def _read_the_rest(data: dict[Any, Any], error: ValidationError) -> dict[str, Any]:
    """What is right in `data`. Each turn takes something out, so that it ends."""
    while True:
        _cut(data, [one["loc"] for one in error.errors(include_url=False)])
        try:
            return dict(_reader.validate_python(data, context=CUT))
        except ValidationError as left:
            error = left


def _spread(root: Node, problems: Problems) -> Node:
    """The tree with `traitors` by index or, where it was a mapping, by its keys."""
    written = root.child("traitors")
    if written is None:
        return root
    match written.content:
        case list(entries):
            spread: dict[Any, Node] = dict(enumerate(entries))
        case dict(entries):
            spread = {key: _keyed(key, node, problems) for key, node in entries.items()}
        case Unreadable():
            return root
        case other:
            what = "a list of traitors, or a mapping of general to strategy"
            problems.add(written.place, f"traitors: must be {what}, not {shown(other)}")
            spread = {}
    assert isinstance(root.content, dict)
    return replace(root, content={**root.content, "traitors": replace(written, content=spread)})


def _spread_steps(root: Node, problems: Problems) -> Node:
    """The tree with `chaos` by index: what is wrong with one step hides no other."""
    written = root.child("chaos")
    if written is None or isinstance(written.content, Unreadable):
        return root
    if not isinstance(written.content, list):
        got = shown(written.plain())
        problems.add(written.place, f"chaos: must be a list of steps, not {got}")
    steps = written.content if isinstance(written.content, list) else []
    assert isinstance(root.content, dict)
    spread = replace(written, content=dict(enumerate(steps)))
    return replace(root, content={**root.content, "chaos": spread})


def _keyed(key: Any, node: Node, problems: Problems) -> Node:
    """The entry that `3: flip` or `3: {strategy: flip}` stands for."""
    place = node.key_place or node.place
    fields = node.content if isinstance(node.content, dict) else {"strategy": node}
    for name in ("general", "generals"):
        if name in fields:
            problems.add(fields[name].place, f"traitors.{key}.{name}: the key names him already")
    kept = {name: one for name, one in fields.items() if name not in ("general", "generals")}
    return replace(node, content={"general": Node(key, place, place), **kept})


def tell(error: ValidationError, root: Node, problems: Problems) -> None:
    """Everything that is wrong, each at its place."""
    for one in error.errors(include_url=False)[: PROBLEMS_MAX + 1]:
        path = tuple(one["loc"])
        if one["type"] in ("extra_forbidden", "invalid_key"):
            problems.add(root.place_of((*path, KEY)), _unknown_field(path))
        else:
            problems.add(root.place_of(path), f"{dotted(path)}: {_complaint(one)}")


def _unknown_field(path: Path) -> str:
    above = f"{dotted(path[:-1])}: " if path[:-1] else ""
    return f"{above}there is no field {shown(path[-1])}{suggestion(path[-1], _fields(path[:-1]))}"


def _fields(path: Path) -> list[str]:
    """The fields that the mapping at `path` can have."""
    match path:
        case ():
            return list(Written.__annotations__)
        case ("traitors", _):
            return [field.alias or name for name, field in Entry.model_fields.items()]
        case ("traitors", _, "when"):
            return list(Trigger.model_fields)
        case ("chaos", _, *inner):
            return fields_at(tuple(inner))
        case _:
            return list(Expect.model_fields)


def _complaint(error: Mapping[str, Any]) -> str:
    limits, got = error.get("ctx", {}), shown(error["input"])
    match error["type"]:
        case "missing":
            return "is missing"
        case "int_type":
            return f"must be a whole number, not {got}"
        case "bool_type":
            return f"must be true or false, not {got}"
        case "string_type":
            return f"must be text, not {got}"
        case "list_type" | "tuple_type":
            return f"must be a list, not {got}"
        case "dict_type" | "model_type" | "model_attributes_type":
            return f"must be a mapping of fields, not {got}"
        case "greater_than_equal":
            return f"must be at least {limits['ge']}, not {got}"
        case "less_than_equal":
            return f"must be at most {limits['le']}, not {got}"
        case "string_too_long":
            return f"must have at most {limits['max_length']} characters"
        case "too_short":
            return f"must name at least {limits['min_length']}"
        case "scenario":
            return f"{limits['message']}{suggestion(limits['value'], limits['choices'])}"
        case _:
            return str(error["msg"])


def _cut(data: dict[Any, Any], paths: list[Path]) -> None:
    """Takes out what is at each path: the field itself, or the nearest one above that is there.

    An element of a list takes the list with it, so that no other changes its place.
    """
    found = {_nearest(data, path): None for path in paths}
    for *above, last in found:
        mapping = data
        for step in above:
            mapping = mapping.get(step, {})
        mapping.pop(last, None)


def _nearest(data: Any, path: Path) -> Path:
    length = 0
    while length < len(path) and isinstance(data, dict) and path[length] in data:
        data = data[path[length]]
        length += 1
    return path[:length]


def json_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a scenario's file, for editors: every shipped scenario fits it."""
    schema = _reader.json_schema()
    entry = schema["$defs"]["Entry"]
    entry["required"] = ["strategy"]
    schema["$defs"]["KeyedEntry"] = _without_general(entry)
    entry["oneOf"] = [{"required": ["general"]}, {"required": ["generals"]}]
    keyed = {"anyOf": [entry["properties"]["strategy"], {"$ref": "#/$defs/KeyedEntry"}]}
    schema["properties"]["traitors"] |= {
        "type": ["array", "object"],
        "items": {"$ref": "#/$defs/Entry"},
        "propertyNames": _GENERAL_KEYS,
        "additionalProperties": keyed,
    }
    schema["properties"]["chaos"] = {
        "description": schema["properties"]["chaos"]["description"],
        "type": "array",
        "items": {"$ref": "#/$defs/Step"},
    }
    for name in ("decisions", "tallies"):
        schema["$defs"]["Expect"]["properties"][name]["propertyNames"] = _GENERAL_KEYS
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "A scenario of Byzantine",
        "required": ["protocol", "n"],
        "if": {"properties": {"protocol": {"enum": sorted(WITHOUT_M)}}},
        "else": {"required": ["m"]},
    }


def _without_general(entry: Mapping[str, Any]) -> dict[str, Any]:
    kept = {
        name: one
        for name, one in entry["properties"].items()
        if name not in ("general", "generals")
    }
    return {**entry, "properties": kept}
