"""What a general must be told from outside before he can ask the orchestrator for the rest.

The fork server hands a `Settings` over through its pipe. A general that starts by himself (in a
container) reads arguments, then `BYZANTINE_...` variables, and waits to be summoned: one line that
names an orchestrator and holds a token. It comes on standard input or through a named pipe, never
in an argument, a variable or a file, so that no list of processes, no `inspect` and no disk has it.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

#: Bytes of a token: one general enrols with it, once.
TOKEN_BYTES: Final = 32
#: The name that stands for standard input where a pipe is asked for.
STANDARD_INPUT: Final = "-"
#: Characters of a CURVE key in Z85.
CURVE_KEY_CHARS: Final = 40
#: Ports that are looked through by default: below the ephemeral range, where no outgoing
#: connection of another program can sit, and above the well-known ones.
PORT_FIRST: Final = 10_000
PORTS: Final = 22_000
#: Seconds that a general waits for an orchestrator who says nothing, by default.
PATIENCE_S: Final = 30.0

#: Characters of a summons at most.
SUMMONS_CHARS_MAX: Final = 512


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


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """Where a general who starts by himself may listen, and where he waits to be summoned.

    `bind_host` is an address, or a name of this host's own. With `lasting`, he waits for another
    orchestrator when one is done with him.
    """

    summons: str
    bind_host: str
    advertised_host: str
    port: int
    patience_s: float
    lasting: bool

    def await_summons(self) -> Settings:
        """Blocks until an orchestrator calls. ValueError where what comes is no summons.

        OSError where there is no such pipe, or no such host.
        """
        token, headquarters, key = read_summons(self._next_line())
        return Settings(
            headquarters=headquarters,
            headquarters_key=key,
            token=token,
            bind_host=socket.gethostbyname(self.bind_host),
            advertised_host=self.advertised_host or self.bind_host,
            port_first=self.port or PORT_FIRST,
            ports=1 if self.port else PORTS,
            patience_s=self.patience_s,
        )

    def _next_line(self) -> str:
        if self.summons == STANDARD_INPUT:
            return sys.stdin.readline(SUMMONS_CHARS_MAX)
        with suppress(FileExistsError):
            os.mkfifo(self.summons, 0o600)
        with Path(self.summons).open("r", encoding="ascii", errors="replace") as pipe:
            return pipe.readline(SUMMONS_CHARS_MAX)


def summons(token: bytes, headquarters: str, headquarters_key: str) -> bytes:
    """The line that calls a general to an orchestrator, as `read_summons` reads it."""
    return f"{token.hex()} {headquarters} {headquarters_key}\n".encode()


def read_summons(line: str) -> tuple[bytes, str, str]:
    """Token, endpoint and key of a summons. ValueError, which repeats none of it, for any other."""
    try:
        token, headquarters, key = line.split()
        return bytes.fromhex(token), headquarters, key
    except ValueError:
        # Not chained: the text of the original error would show a piece of the token.
        raise ValueError("no summons came: TOKEN ENDPOINT KEY, in a line") from None


def from_outside(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> Post:
    """A general's post, from arguments and the environment. SystemExit(2) where wrong."""
    parser = _parser(environ)
    given = parser.parse_args(arguments)
    if not given.summons:
        parser.error("--summons or BYZANTINE_SUMMONS is needed")
    return Post(
        summons=given.summons,
        bind_host=given.bind_host,
        advertised_host=given.advertised_host,
        port=given.port,
        patience_s=given.patience,
        lasting=given.lasting,
    )


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m node", description="One general of a Byzantine agreement."
    )

    def option(name: str, help: str, default: str = "", type: type = str) -> None:
        variable = "BYZANTINE_" + name.upper().replace("-", "_")
        given = environ.get(variable, default)
        parser.add_argument(f"--{name}", default=given, type=type, help=f"{help} [{variable}]")

    option(
        "summons",
        "the named pipe, made if it is missing, where an orchestrator calls; - is standard input",
    )
    option("bind-host", "the address to listen on, or its name", default="127.0.0.1")
    option("advertised-host", "the name that other generals know this one by")
    option("port", "the port to listen on; 0 for any free one", default="0", type=int)
    option("patience", "seconds to wait for the orchestrator", default=str(PATIENCE_S), type=float)
    parser.add_argument(
        "--lasting", action="store_true", help="wait for another orchestrator after each"
    )
    return parser
