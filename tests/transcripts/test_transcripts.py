"""Golden transcripts: a change of any line is a change of what generals say to one another.

`pytest tests/transcripts --regenerate` writes them anew; commit one only if each of its lines can
be explained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.stage import A, R, a, play
from tests.transcripts.narration import narrate

HERE = Path(__file__).parent

STORIES: dict[str, dict[str, Any]] = {
    # R1: the lieutenant's lie is outvoted.
    "oral-traitorous-lieutenant": {
        "protocol": "oral",
        "n": 4,
        "m": 1,
        "traitors": {3: "flip"},
    },
    # R13: the commander's two orders meet in round 2, under his own signature.
    "signed-two-faced-commander": {
        "protocol": "signed",
        "n": 3,
        "m": 1,
        "traitors": {0: a("two-faced", faces={A: [1], R: [2]})},
    },
    # A forger is refused, and a general who speaks a millisecond late is unheard to the end.
    "signed-forger-and-late-lieutenant": {
        "protocol": "signed",
        "n": 5,
        "m": 2,
        "traitors": {3: "forger", 4: a("delayer", late_ms=1)},
    },
}


@pytest.mark.parametrize("story", STORIES)
def test_transcript(story: str, regenerate: bool) -> None:
    golden = HERE / f"{story}.txt"
    told = narrate(play(**STORIES[story]))
    if regenerate:
        golden.write_text(told)
    assert told == golden.read_text()
