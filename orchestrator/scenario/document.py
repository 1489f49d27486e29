"""A scenario as it was written: a tree of nodes that know their place.

YAML is read as a stream of events and not with ruamel's composer, so that a hostile file costs
little: depth and size are bounded while reading, nothing recurses, aliases are never expanded, tags
never construct anything, and every duplicate key is told, not only the first. Scalars follow the
core schema of YAML 1.2 (section 10.3.2): `no` is a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from orchestrator.scenario.problems import Place, Problems, dotted, printable, shown

TEXT_BYTES_MAX = 1 << 20
#: ruamel takes time in the square of a tag's length, and a tag ends with its line.
LINE_CHARACTERS_MAX = 1 << 16
#: Events of the reader: a scalar is one, a list or mapping two.
EVENTS_MAX = 40_000
DEPTH_MAX = 20
INTEGER_DIGITS_MAX = 30

Scalar: TypeAlias = str | int | float | bool | None
Key: TypeAlias = str | int | float | bool
Path: TypeAlias = tuple[Any, ...]


class Unreadable:
    """Stands for what was told as a problem already, so that nothing more is said of it."""


UNREADABLE = Unreadable()

#: Ends the path of what is wrong with a key, and not with what hangs under it (pydantic's word).
KEY = "[key]"

_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True, slots=True)
class Node:
    """A value, where it stands, and where the key stands that it hangs under."""

    content: Scalar | Unreadable | list[Node] | dict[Key, Node]
    place: Place
    key_place: Place | None = None

    def child(self, step: Any) -> Node | None:
        if isinstance(self.content, dict):
            # pydantic names a key that is no text, and no whole number, by its text.
            texts = (key for key in self.content if str(key) == step)
            return self.content.get(step if step in self.content else next(texts, step))
        if isinstance(self.content, list) and isinstance(step, int):
            return self.content[step] if 0 <= step < len(self.content) else None
        return None

    @property
    def is_readable(self) -> bool:
        """Whether nothing in it was told as a problem already."""
        if isinstance(self.content, dict):
            return all(node.is_readable for node in self.content.values())
        if isinstance(self.content, list):
            return all(node.is_readable for node in self.content)
        return not isinstance(self.content, Unreadable)

    def plain(self) -> Any:
        """The same as dictionaries, lists and scalars, newly made."""
        if isinstance(self.content, dict):
            return {key: node.plain() for key, node in self.content.items()}
        if isinstance(self.content, list):
            return [node.plain() for node in self.content]
        return self.content

    def place_of(self, path: Path) -> Place:
        """The place of what is at `path`, of its key before KEY; else of the nearest above."""
        node = self
        for step in path:
            if step == KEY:
                return node.key_place or node.place
            below = node.child(step)
            if below is None:
                return node.place
            node = below
        return node.place


def from_plain(value: Any, place: Place, problems: Problems) -> Node:
    """A tree of what no file holds: everything stands at one place."""
    if isinstance(value, Mapping):
        fields = {key: from_plain(one, place, problems) for key, one in value.items()}
        return Node(fields, place, place)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return Node([from_plain(one, place, problems) for one in value], place, place)
    if isinstance(value, str) and _is_half_text(value):
        problems.add(place, f"{shown(value)} is not UTF-8 text")
        return Node(UNREADABLE, place, place)
    return Node(value, place, place)


def _is_half_text(text: str) -> bool:
    """Whether there are surrogates in it, which no file and no wire can carry."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def decoded(data: bytes, file: str, problems: Problems) -> str | None:
    """The text of a file, or None and a problem."""
    if len(data) > TEXT_BYTES_MAX:
        problems.add(Place(file, 1, 1), f"a scenario is no larger than {TEXT_BYTES_MAX >> 10} KiB")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        problems.add(_place_after(before, file), "is not UTF-8 text")
        return None


def from_yaml(text: str, file: str, problems: Problems) -> Node | None:
    """The tree that `text` spells, or None where it spells none; what is wrong goes to problems."""
    if len(text) > TEXT_BYTES_MAX:
        problems.add(Place(file, 1, 1), f"a scenario is no larger than {TEXT_BYTES_MAX >> 10} KiB")
        return None
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > LINE_CHARACTERS_MAX:
            longest = f"{LINE_CHARACTERS_MAX >> 10} KiB"
            problems.add(Place(file, number, 1), f"a line is no longer than {longest}")
            return None
    builder = _Builder(file, problems)
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            builder.take(event)
    except _TooMuchError:
        return None
    except ReaderError as error:
        found = f"the character {shown(chr(error.character))}"
        problems.add(_place_after(text[: error.position], file), f"{found} is not accepted")
        return None
    except MarkedYAMLError as error:
        problems.add(builder.place(error.problem_mark), f"is not YAML: {_reason(error)}")
        return None
    except (YAMLError, ValueError, OverflowError, RecursionError, AttributeError, IndexError):
        # ruamel leaves its own errors for some escapes and directives that make no sense.
        problems.add(builder.last, "is not YAML, at or after this place")
        return None
    return builder.root


def with_setting(root: Node, setting: str, problems: Problems) -> Node:
    """The tree with `FIELD=VALUE` in it; the path is the one in the file, the value is YAML."""
    place = Place(f"--set {printable(setting)[:100]}")
    path, equals, text = setting.partition("=")
    steps = [_step(step) for step in path.split(".")]
    if not path or not equals or len(steps) > DEPTH_MAX:
        problems.add(place, "must be FIELD=VALUE, for example m=2 or traitors.0.strategy=parity")
        return root
    found = Problems()
    value = from_yaml(text, place.file, found) or Node(None, place, place)
    if found:
        problems.add(place, f"{shown(text)} is not a YAML value")
        return root
    return _planted(root, steps, _moved(value, place, problems), problems)


def _step(text: str) -> Key:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


def _moved(node: Node, place: Place, problems: Problems) -> Node:
    return from_plain(node.plain(), place, problems)


def _planted(root: Node, path: list[Key], value: Node, problems: Problems) -> Node:
    """The tree with `value` at `path`; mappings on the way are made where there are none."""
    step, rest = path[0], path[1:]
    content = root.content
    below = root.child(step) or Node({}, value.place, value.place)
    if isinstance(content, list) and isinstance(step, int) and step <= len(content):
        grown = _planted(below, rest, value, problems) if rest else value
        return replace(root, content=[*content[:step], grown, *content[step + 1 :]])
    if isinstance(content, dict):
        grown = _planted(below, rest, value, problems) if rest else value
        return replace(root, content={**content, step: grown})
    problems.add(value.place, f"there is no {dotted(path[:1])} to set in {shown(root.plain())}")
    return root


class _TooMuchError(Exception):
    """Reading stops here: the problem is told."""


class _Builder:
    """Makes a tree of events, with a stack of its own in place of recursion."""

    def __init__(self, file: str, problems: Problems) -> None:
        self.root: Node | None = None
        self.last = Place(file, 1, 1)
        self._file = file
        self._problems = problems
        self._events = 0
        self._documents = 0
        self._open: list[_Open] = []

    def place(self, mark: Any) -> Place:
        return self.last if mark is None else Place(self._file, mark.line + 1, mark.column + 1)

    def take(self, event: Event) -> None:
        self.last = self.place(event.start_mark)
        self._events += 1
        if self._events > EVENTS_MAX:
            self._stop("is more than a scenario can need: reading stops here")
        match event:
            case DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._stop("a second document begins here: one file is one scenario")
            case AliasEvent():
                self._problems.add(self.last, "aliases are not accepted: write the value out")
                self._hang(Node(UNREADABLE, self.last))
            case ScalarEvent():
                self._refuse_decoration(event)
                self._hang(Node(self._scalar(event), self.last))
            case SequenceStartEvent() | MappingStartEvent():
                self._refuse_decoration(event)
                self._descend(event)
            case SequenceEndEvent() | MappingEndEvent():
                self._hang(self._open.pop().node())

    def _stop(self, message: str) -> None:
        self._problems.add(self.last, message)
        raise _TooMuchError

    def _refuse_decoration(self, event: Any) -> None:
        if event.anchor is not None:
            self._problems.add(self.last, "anchors are not accepted: write the value out")
        if event.tag is not None:
            self._problems.add(self.last, f"the tag {shown(str(event.tag))} is not accepted")

    def _descend(self, event: Event) -> None:
        if len(self._open) >= DEPTH_MAX:
            self._stop(f"is nested more than {DEPTH_MAX} deep")
        self._open.append(_Open(isinstance(event, MappingStartEvent), self.last))

    def _hang(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        above = self._open[-1]
        if not above.is_mapping:
            above.items.append(node)
        elif above.key is None:
            above.key = node
        else:
            self._enter(above, above.key, node)
            above.key = None

    def _enter(self, above: _Open, key: Node, node: Node) -> None:
        name = key.content
        if isinstance(name, Unreadable):
            return
        if name is None or isinstance(name, dict | list):
            self._problems.add(
                key.place, f"a field's name is a word or a number, not {shown(name)}"
            )
        elif name in above.fields:
            self._problems.add(key.place, f"the field {shown(name)} is here for the second time")
        else:
            above.fields[name] = replace(node, key_place=key.place)

    def _scalar(self, event: ScalarEvent) -> Scalar | Unreadable:
        text: str = event.value
        if event.tag is not None:
            return UNREADABLE
        if event.style is None:
            if len(text) > INTEGER_DIGITS_MAX and _INTEGER.fullmatch(text):
                self._problems.add(self.last, f"a number has at most {INTEGER_DIGITS_MAX} digits")
                return UNREADABLE
            return core_scalar(text)
        if _is_half_text(text):
            self._problems.add(self.last, "half a surrogate pair is not text")
            return UNREADABLE
        return text


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come."""

    is_mapping: bool
    place: Place
    items: list[Node] = field(default_factory=list)
    fields: dict[Key, Node] = field(default_factory=dict)
    key: Node | None = None

    def node(self) -> Node:
        return Node(self.fields if self.is_mapping else self.items, self.place)


def core_scalar(text: str) -> Scalar:
    """What a plain scalar means in the core schema of YAML 1.2; beyond all measure, its text."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INTEGER.fullmatch(text) and len(text) <= INTEGER_DIGITS_MAX:
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text) and not _INTEGER.fullmatch(text):
        return float(text)
    return float(text.replace(".", "")) if _NOT_FINITE.fullmatch(text) else text


def _place_after(text: str, file: str) -> Place:
    return Place(file, text.count("\n") + 1, len(text) - (text.rfind("\n") + 1) + 1)


def _reason(error: MarkedYAMLError) -> str:
    """ruamel's reason, with what it quotes of the file escaped."""
    return printable(" ".join(str(one) for one in (error.context, error.problem) if one))[:200]
