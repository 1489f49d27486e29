"""The fork server: one warm parent that has imported everything, and forks a general on request.

Requests and answers are MessagePack, each behind its length in four bytes, on two pipes. So tokens
pass through memory alone: no argument, variable or file has them. The parent holds no socket and
no thread, whose copies in a child would be broken.

Nothing outlives its master. When the requests end, because the orchestrator closed the pipe or
died, the parent kills its children and ends. When the parent itself is killed, its children see
their lifeline, a pipe that it alone holds open, come to its end.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import msgspec

from node.orders import Brief
from node.settings import Settings

LENGTH_BYTES: Final = 4
#: A general whose interpreter failed outright ends with this status.
STATUS_BROKEN: Final = 70


class Fork(msgspec.Struct, frozen=True, array_like=True, tag="fork"):
    """A general is wanted. His standard output and error are appended to the file `log`."""

    ticket: int
    settings: Settings
    log: str


class Warm(msgspec.Struct, frozen=True, array_like=True, tag="warm"):
    """Generals of that brief will be wanted: what they can share is to be made ready."""

    brief: Brief


class Kill(msgspec.Struct, frozen=True, array_like=True, tag="kill"):
    """A signal for the general of that ticket, if he still runs."""

    ticket: int
    signal: int


Request: TypeAlias = Fork | Warm | Kill


class Forked(msgspec.Struct, frozen=True, array_like=True, tag="forked"):
    """The general of that ticket runs under that process id."""

    ticket: int
    pid: int


class Exited(msgspec.Struct, frozen=True, array_like=True, tag="exited"):
    """He has ended: an exit status, or minus the signal that ended him."""

    ticket: int
    status: int


Answer: TypeAlias = Forked | Exited

#: What a child runs: settings and the lifeline's descriptor in, exit status out.
Play: TypeAlias = Callable[[Settings, int], int]
#: What makes the parent ready for generals of a brief.
Prepare: TypeAlias = Callable[[Brief], None]

_encoder = msgspec.msgpack.Encoder()
_requests = msgspec.msgpack.Decoder(Request)
_answers = msgspec.msgpack.Decoder(Answer)


def packed(message: Request | Answer) -> bytes:
    data = _encoder.encode(message)
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


class Inbox:
    """Cuts what comes out of a pipe into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def requests(self) -> Iterator[Request]:
        for data in self._pieces():
            yield _requests.decode(data)

    def answers(self) -> Iterator[Answer]:
        for data in self._pieces():
            yield _answers.decode(data)

    def _pieces(self) -> Iterator[bytes]:
        while len(self._buffer) >= LENGTH_BYTES:
            end = LENGTH_BYTES + int.from_bytes(self._buffer[:LENGTH_BYTES], "big")
            if len(self._buffer) < end:
                return
            piece = bytes(self._buffer[LENGTH_BYTES:end])
            del self._buffer[:end]
            yield piece


class ForkServer:
    """The warm parent. `serve` returns once the requests have come to their end."""

    def __init__(self, requests_fd: int, answers_fd: int, play: Play, prepare: Prepare) -> None:
        # Moved away from the standard descriptors, which a child is given anew.
        self._requests_fd = os.dup(requests_fd)
        self._answers_fd = os.dup(answers_fd)
        self._play = play
        self._prepare = prepare
        self._inbox = Inbox()
        self._pid_of: dict[int, int] = {}
        self._lifeline, self._lifeline_end = os.pipe()
        self._bell, bell_end = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(bell_end, False)
        self._bell_end = bell_end
        signal.set_wakeup_fd(bell_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _heed)
        signal.signal(signal.SIGTERM, _leave)

    def serve(self) -> None:
        # What is alive now stays so: collections in children need not touch, and so copy, it.
        gc.collect()
        gc.freeze()
        poll = select.poll()
        poll.register(self._requests_fd, select.POLLIN)
        poll.register(self._bell, select.POLLIN)
        try:
            while True:
                ready = {fd for fd, _ in poll.poll()}
                if self._bell in ready:
                    os.read(self._bell, 4096)
                    self._reap()
                if self._requests_fd in ready and not self._obey():
                    return
        except BrokenPipeError:
            return
        finally:
            self._end_all()

    def _obey(self) -> bool:
        """Carries out what was asked; False once nobody is there to ask."""
        data = os.read(self._requests_fd, 1 << 16)
        self._inbox.feed(data)
        for request in self._inbox.requests():
            match request:
                case Fork():
                    self._fork(request)
                case Warm(brief):
                    self._prepare(brief)
                    gc.freeze()
                case Kill(ticket, number):
                    if ticket in self._pid_of:
                        os.kill(self._pid_of[ticket], number)
        return bool(data)

    def _fork(self, fork: Fork) -> None:
        pid = os.fork()
        if pid == 0:
            self._become(fork)
        self._pid_of[fork.ticket] = pid
        self._answer(Forked(fork.ticket, pid))

    def _become(self, fork: Fork) -> None:
        """The child's life. Never returns into the parent's code."""
        status = STATUS_BROKEN
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            for fd in (self._requests_fd, self._answers_fd, self._lifeline_end):
                os.close(fd)
            for fd in (self._bell, self._bell_end):
                os.close(fd)
            _redirect(fork.log)
            status = self._play(fork.settings, self._lifeline)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        ticket_of = {pid: ticket for ticket, pid in self._pid_of.items()}
        while self._pid_of:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            ticket = ticket_of[pid]
            del self._pid_of[ticket]
            self._answer(Exited(ticket, os.waitstatus_to_exitcode(status)))

    def _answer(self, answer: Answer) -> None:
        data = packed(answer)
        while data:
            data = data[os.write(self._answers_fd, data) :]

    def _end_all(self) -> None:
        for pid in self._pid_of.values():
            os.kill(pid, signal.SIGKILL)
        for pid in self._pid_of.values():
            os.waitpid(pid, 0)


def _redirect(log: str) -> None:
    """Standard input from nowhere, output and error to the general's own log."""
    nowhere = os.open(os.devnull, os.O_RDONLY)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for source, target in ((nowhere, 0), (file, 1), (file, 2)):
        os.dup2(source, target)
    os.close(nowhere)
    os.close(file)


def _heed(_number: int, _frame: object) -> None:
    """Signals only ring the bell: what they call for is done by the loop."""


def _leave(_number: int, _frame: object) -> None:
    raise SystemExit(0)
