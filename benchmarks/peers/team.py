"""A team: one process a general, a pipe from each to the one who called them up."""

from __future__ import annotations

import gc
import multiprocessing
import signal
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Literal, Protocol, Self

#: Nothing here takes longer unless it hangs: every wait ends, then every process is ended.
PATIENCE_S = 60.0


class Member(Protocol):
    """What a member runs: his number, his pipe, and what all were given. He returns when done."""

    def __call__(self, me: int, link: Connection, /, *given: Any) -> None: ...


@dataclass(frozen=True)
class Fallen:
    """What a member who failed reports instead of an answer."""

    member: int
    reason: str


class Team:
    """`n` processes that run one function; all of them have ended when the context is left.

    "fork" starts them from this process as it stands, warm; "spawn" from new interpreters, for
    libraries whose threads do not survive a fork.
    """

    def __init__(
        self, n: int, member: Member, *given: Any, start: Literal["fork", "spawn"] = "fork"
    ) -> None:
        self._context: Any = multiprocessing.get_context(start)
        self._n = n
        self._member = member
        self._given = given
        self._links: list[Connection] = []
        self._processes: list[Any] = []

    def __enter__(self) -> Self:
        forked = self._context.get_start_method() == "fork"
        if forked:
            gc.collect()
            gc.freeze()  # A collection in a child would copy the pages that he shares with us.
        try:
            for me in range(self._n):
                self._call_up(me, inherited=tuple(self._links) if forked else ())
        except BaseException:
            self._end(patience_s=0.0)
            raise
        finally:
            if forked:
                gc.unfreeze()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._end(patience_s=0.0 if error else 5.0)

    def gather(self) -> list[Any]:
        """One report from each member, by number."""
        return [receive(link) for link in self._links]

    def tell(self, message: object, members: Iterable[int] | None = None) -> None:
        for member in range(self._n) if members is None else members:
            self._links[member].send(message)

    def ask(self, member: int, question: object) -> Any:
        self._links[member].send(question)
        return receive(self._links[member])

    def _call_up(self, me: int, inherited: tuple[Connection, ...]) -> None:
        here, there = self._context.Pipe()
        process = self._context.Process(
            target=_serve,
            args=(self._member, me, there, (*inherited, here) if inherited else (), self._given),
            daemon=True,
        )
        process.start()
        there.close()
        self._links.append(here)
        self._processes.append(process)

    def _end(self, patience_s: float) -> None:
        for process in self._processes:
            process.join(patience_s)
            if process.is_alive():
                process.kill()
                process.join()
        for link in self._links:
            link.close()


def receive(link: Connection) -> Any:
    """What comes next over a pipe. TimeoutError or EOFError where nothing will."""
    if not link.poll(PATIENCE_S):
        raise TimeoutError(f"nothing heard for {PATIENCE_S:g} s")
    message = link.recv()
    if isinstance(message, Fallen):
        raise RuntimeError(f"member {message.member} failed: {message.reason}")
    return message


def _serve(
    member: Callable[..., None],
    me: int,
    link: Connection,
    inherited: tuple[Connection, ...],
    given: tuple[Any, ...],
) -> None:
    # A pipe reports its end only once nobody holds the other side, forked copies included.
    for other in inherited:
        other.close()
    # A Ctrl-C reaches the whole group; the caller ends his team himself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        member(me, link, *given)
    except Exception:  # Whatever it was, the caller who waits for an answer must hear of it.
        with suppress(OSError):  # He may be gone, and then there is nobody to tell.
            link.send(Fallen(me, traceback.format_exc()))
