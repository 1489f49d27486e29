"""What a general must be told from outside before he can ask the orchestrator for the rest.

The fork server hands a `Settings` over through its pipe. A general that starts by himself (in a
container) reads arguments, then `BYZANTINE_...` variables; the token comes from a file or from
standard input, never from an argument or a variable, so that no list of processes and no `inspect`
shows it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

#: Bytes of a token: one general enrols with it, once.
TOKEN_BYTES: Final = 32
#: The name that stands for standard input where a file is asked for.
STANDARD_INPUT: Final = "-"
#: Characters of a CURVE key in Z85.
CURVE_KEY_CHARS: Final = 40
#: Ports that are looked through by default: below the ephemeral range, where no outgoing
#: connection of another program can sit, and above the well-known ones.
PORT_FIRST: Final = 10_000
PORTS: Final = 22_000
#: Seconds that a general waits for an orchestrator who says nothing, by default.
PATIENCE_S: Final = 30.0

_TOKEN_LINE_MAX: Final = 2 * TOKEN_BYTES + 2


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the orchestrator is, how he proves himself, and where this general may listen.

    `headquarters` is an endpoint and `headquarters_key` its CURVE public key in Z85. The general
    binds the first free port of `port_first .. port_first + ports - 1` on `bind_host`, from a
    random one on, and is known to the others as `advertised_host`. He ends by himself after
    `patience_s` seconds without a link to the orchestrator, or without a first order.
    """

    headquarters: str
    headquarters_key: str
    token: bytes
    bind_host: str = "127.0.0.1"
    advertised_host: str = "127.0.0.1"
    port_first: int = PORT_FIRST
    ports: int = PORTS
    patience_s: float = PATIENCE_S

    def __post_init__(self) -> None:
        if len(self.token) != TOKEN_BYTES:
            raise ValueError(f"a token has {TOKEN_BYTES} bytes, not {len(self.token)}")
        if len(self.headquarters_key) != CURVE_KEY_CHARS:
            raise ValueError(f"a CURVE key has {CURVE_KEY_CHARS} characters in Z85")
        last = self.port_first + self.ports - 1
        if not 0 < self.port_first <= last < 65536:
            raise ValueError(f"there are no ports {self.port_first} .. {last}")

    def __repr__(self) -> str:
        return f"Settings({self.headquarters!r}, bind_host={self.bind_host!r}, token hidden)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("headquarters", self.headquarters), ("bind_host", self.bind_host)]


def from_outside(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from arguments, the environment and the token's file. SystemExit(2) where wrong."""
    parser = _parser(environ)
    given = parser.parse_args(arguments)
    for name in ("headquarters", "headquarters_key", "token_file"):
        if not getattr(given, name):
            flag = name.replace("_", "-")
            parser.error(f"--{flag} or BYZANTINE_{name.upper()} is needed")
    try:
        return Settings(
            headquarters=given.headquarters,
            headquarters_key=given.headquarters_key,
            token=_token(given.token_file),
            bind_host=given.bind_host,
            advertised_host=given.advertised_host or given.bind_host,
            port_first=given.port or PORT_FIRST,
            ports=1 if given.port else PORTS,
            patience_s=given.patience,
        )
    except (OSError, ValueError) as error:
        parser.error(str(error))


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m node", description="One general of a Byzantine agreement."
    )

    def option(name: str, help: str, default: str = "", type: type = str) -> None:
        variable = "BYZANTINE_" + name.upper().replace("-", "_")
        given = environ.get(variable, default)
        parser.add_argument(f"--{name}", default=given, type=type, help=f"{help} [{variable}]")

    option("headquarters", "the orchestrator's endpoint, tcp://HOST:PORT")
    option("headquarters-key", "the orchestrator's CURVE public key, in Z85")
    option("token-file", "the file that holds the enrolment token in hex; - is standard input")
    option("bind-host", "the address to listen on", default="127.0.0.1")
    option("advertised-host", "the name that other generals know this one by")
    option("port", "the port to listen on; 0 for any free one", default="0", type=int)
    option("patience", "seconds to wait for the orchestrator", default=str(PATIENCE_S), type=float)
    return parser


def _token(path: str) -> bytes:
    try:
        if path == STANDARD_INPUT:
            return bytes.fromhex(sys.stdin.readline(_TOKEN_LINE_MAX).strip())
        return bytes.fromhex(Path(path).read_text("ascii").strip())
    except ValueError:
        # Not chained: the text of the original error would show a piece of the token.
        raise ValueError(f"{path} does not hold a token in hex") from None
