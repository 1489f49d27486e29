"""How a general, or a replica, is quartered: what his container is given and denied, said once.

A camp hands it to the engine, a compose file spells it out; a test holds the two together.
"""

from __future__ import annotations

from typing import Final

#: General to general: where faults act. It leads nowhere else.
FIELD: Final = "field"
#: General to orchestrator.
COMMAND: Final = "command"

GENERAL_LABEL: Final = "byzantine.general"

#: A general's limits. Swap would turn a limit of memory into one of patience.
MEMORY_BYTES: Final = 96 << 20
PIDS: Final = 64
USER: Final = "65532:65532"
DENIED_CAPABILITIES: Final = ("ALL",)
SECURITY: Final = ("no-new-privileges",)
HEALTH_FOLDER: Final = "/run/byzantine"
HEALTH_OPTIONS: Final = "uid=65532,gid=65532,mode=0700,size=64k,noexec,nosuid,nodev"
#: A general has a network namespace to himself, and so any port: below the ephemeral ones.
FIELD_PORT: Final = 10_000
#: Where a replica hears its clients, on the network of commands.
DOOR_PORT: Final = 10_001
#: A replica's folder, on a volume of its own, and its desk, where the engine can see it.
REPLICA_FOLDER: Final = "/var/lib/byzantine"
REPLICA_DESK: Final = f"{REPLICA_FOLDER}/desk"
#: A replica holds a whole state, twice while it takes a checkpoint, and a window of requests.
REPLICA_MEMORY_BYTES: Final = 512 << 20
#: What is kept of a general's output, in each of so many files.
LOG_OPTIONS: Final = {"max-size": "16m", "max-file": "2"}

#: Seconds that a lasting general, once summoned, waits for an orchestrator who says nothing.
LASTING_PATIENCE_S: Final = 10.0
#: The named pipe of a general whom compose has put up, in a folder of his own.
SUMMONS: Final = "summons"
