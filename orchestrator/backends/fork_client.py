"""The orchestrator's side of the fork server: starts it, asks for generals, learns how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from node.forks import Exited, Fork, Forked, Inbox, Kill, Warm, packed
from node.orders import Brief
from node.settings import Settings
from orchestrator.backends import BackendError

#: A fork server that was told to end, and had only to kill its children, has so long, in seconds.
END_S: Final = 5.0
#: Letters of `state_of` once SIGSTOP or SIGCONT is obeyed, which is some time after kill().
STOPPED: Final = frozenset("T")
GOING_ON: Final = frozenset("RSD")


@dataclass
class Child:
    """One forked general. `status`: how he ended, minus the number where a signal did it."""

    ticket: int
    pid: int | None = None
    status: int | None = None

    @property
    def has_ended(self) -> bool:
        return self.status is not None


class ForkServer:
    """A warm parent that many runs can share. Its import of everything goes on meanwhile.

    It leads a session of its own, so that Ctrl-C reaches the orchestrator alone, who then disbands.
    """

    def __init__(self) -> None:
        self._children: dict[int, Child] = {}
        self._inbox = Inbox()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "node", "--fork-server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            env=_environment(),
        )
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None
        assert answers is not None
        self._requests, self._answers = requests, answers
        self.fd = answers.fileno()
        os.set_blocking(self.fd, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def warm(self, brief: Brief) -> None:
        """Lets the server make ready what generals of that brief can share. To come before them."""
        self._ask(packed(Warm(brief)))

    def fork(self, settings: Settings, log: Path | None) -> Child:
        """Asks for a general; his pid becomes known once `listen` hears of it."""
        child = Child(ticket=len(self._children))
        self._children[child.ticket] = child
        self._ask(packed(Fork(child.ticket, settings, str(log or os.devnull))))
        return child

    def kill(self, child: Child, number: int = signal.SIGKILL) -> None:
        """A signal for that child and nobody else: the server knows which ones still live."""
        self._ask(packed(Kill(child.ticket, number)))

    def listen(self) -> None:
        """Takes in what the server has answered, without waiting for more."""
        try:
            while data := os.read(self.fd, 1 << 16):
                self._inbox.feed(data)
        except BlockingIOError:
            pass
        else:
            self._mourn()
        for answer in self._inbox.answers():
            match answer:
                case Forked(ticket, pid):
                    self._children[ticket].pid = pid
                case Exited(ticket, status):
                    self._children[ticket].status = status

    def close(self) -> None:
        """Ends the server and every general that still runs."""
        self._requests.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()

    def _ask(self, request: bytes) -> None:
        try:
            while request:
                request = request[self._requests.write(request) or 0 :]
        except (BrokenPipeError, ValueError) as error:
            raise BackendError("the fork server has ended: no general can be started") from error

    def _mourn(self) -> None:
        """The server is gone, and with it, by their lifelines, are all of its children."""
        for child in self._children.values():
            if child.status is None:
                child.status = -signal.SIGKILL


def _environment() -> dict[str, str]:
    """Ours, with the modules that we can import, and one thread for each general's arithmetic."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


def state_of(pid: int | None) -> str:
    """The kernel's letter for what a process does (proc(5), stat): nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
