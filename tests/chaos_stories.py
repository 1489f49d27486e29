"""The stories of scenarios/chaos, and which of them are also played among containers."""

from __future__ import annotations

from pathlib import Path

STORIES = sorted(Path(__file__).parents[1].joinpath("scenarios", "chaos").glob("*.yaml"))

#: A dozen in which the kernel, the engine or the network has a part: played among containers too.
FOR_CONTAINERS = (
    "one-way-cut",
    "partition-in-two",
    "partition-of-a-minority",
    "healed-too-late",
    "killed-lieutenant",
    "killed-and-started-again",
    "signed-commander-killed-between-two-sends",
    "paused-for-a-round",
    "one-member-hears-half",
    "commander-cut-off-once-he-has-spoken",
    "disconnected-and-back",
    "lossy-relays",
)
