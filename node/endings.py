"""How a general's process ends: its exit statuses, and what the orchestrator says of each."""

from __future__ import annotations

from typing import Final

STATUS_DISBANDED: Final = 0
STATUS_FAILED: Final = 1
STATUS_ORPHANED: Final = 3
STATUS_NOWHERE: Final = 4
STATUS_DISMISSED: Final = 5

#: What can be said of a general who ended early.
STATUSES: Final = {
    STATUS_DISBANDED: "it was told to end",
    STATUS_FAILED: "it failed",
    STATUS_ORPHANED: "it lost the orchestrator",
    STATUS_NOWHERE: "it could not listen on a port",
    STATUS_DISMISSED: "it was told to end by a signal",
}
