"""What is wrong with a scenario, and where: every problem has a place and says what to do.

Text that came from the user is shown escaped, so that no file can write to a terminal or forge a
line of output.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

#: So much of a wrong value is shown, in characters.
SHOWN_CHARACTERS_MAX = 60
#: So many problems are listed; what is beyond them is counted.
PROBLEMS_MAX = 100


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was written: a file's line and column from 1, or a place without lines."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        where = [printable(self.file)]
        if self.line is not None:
            where += [str(self.line), str(self.column)]
        return ":".join(where)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `line` and `column` are None for what no file holds."""

    file: str
    line: int | None
    column: int | None
    message: str

    def __str__(self) -> str:
        return f"{Place(self.file, self.line, self.column)}: {self.message}"


class ScenarioError(Exception):
    """The scenario cannot be played. `problems` has all that is wrong; the text is a line each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class Problems:
    """Gathers problems, so that all are told at once."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}

    @property
    def are_enough(self) -> bool:
        """Whether there are more than anyone is told."""
        return len(self._found) > PROBLEMS_MAX

    def add(self, place: Place, message: str) -> None:
        self._found[Problem(place.file, place.line, place.column, message)] = None

    def __bool__(self) -> bool:
        return bool(self._found)

    def raise_any(self) -> None:
        """Raises ScenarioError, in the order of the file, where there is any problem."""
        if not self._found:
            return
        found = sorted(self._found, key=lambda one: (one.line or 0, one.column or 0))
        listed, left = found[:PROBLEMS_MAX], found[PROBLEMS_MAX:]
        if left:
            listed.append(replace(left[0], message="and more problems from here on"))
        raise ScenarioError(listed)


def shown(value: Any) -> str:
    """A value from outside, escaped, cut, and fit for one line of a terminal."""
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case bool():
            return "true" if value else "false"
        case _:
            text = repr(value)
            if len(text) <= SHOWN_CHARACTERS_MAX:
                return text
            return f"{text[: SHOWN_CHARACTERS_MAX - 4]}...{text[-1]}"


def printable(text: str) -> str:
    """Text with what does not print escaped, without quotation marks."""
    return text if text.isprintable() else repr(text)[1:-1]


def suggestion(wrong: Any, known: Iterable[Any]) -> str:
    """`; did you mean 'traitors'?` where one of `known` is near, else nothing."""
    by_text = {str(one).lower(): one for one in known}
    near = difflib.get_close_matches(str(wrong).lower()[:100], by_text, n=1, cutoff=0.6)
    return f"; did you mean {shown(by_text[near[0]])}?" if near else ""


def dotted(path: Iterable[Any]) -> str:
    """A field's path as people write it: `traitors.0.strategy`."""
    steps = (str(step) for step in path if step != "[key]")
    return ".".join(printable(step)[:SHOWN_CHARACTERS_MAX] for step in steps)
