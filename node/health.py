"""Whether a general is alive, asked from beside him, in his own container.

    python node/health.py        exit code 0 where he answers, 1 where he does not, and why

He listens on no port for this and ticks for nobody. Whoever asks binds a datagram socket in the
general's folder and sends SIGUSR1; the general's main thread answers to that socket. A process that
has ended, is stopped, or hangs in a call that never returns has no main thread to answer with. A
general whom nobody asks pays nothing, and asking costs no import of his modules: this file runs by
itself and needs the standard library alone.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import Final

#: The variable that names the folder; where it is not set, a general answers nobody.
FOLDER_VARIABLE: Final = "BYZANTINE_HEALTH"
#: Seconds that a general has to answer: several of them may be calculating on one core.
ANSWER_S: Final = 3.0
#: What he answers, unless he has more to say; and how much that may be.
ALIVE: Final = b"alive"
ANSWER_BYTES_MAX: Final = 256

_PID: Final = "pid"
_QUESTION: Final = "question"


def answer_in(folder: Path, answer: bytes = ALIVE) -> None:
    """From now on this process gives that answer to whoever asks in `folder`.

    To be called in the main thread. OSError where the folder cannot be written to.
    """
    asker = str(folder / _QUESTION)
    desk = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def reply(_number: int, _frame: object) -> None:
        try:
            desk.sendto(answer, asker)
        except OSError:
            return  # Whoever asked has left.

    signal.signal(signal.SIGUSR1, reply)
    # Last, because a signal without its handler would end the process.
    (folder / _PID).write_text(str(os.getpid()), "ascii")


def ask(folder: Path, answer_s: float = ANSWER_S) -> tuple[bool, str]:
    """Whether the general of that folder is alive, and what he answers or what is wrong."""
    question = folder / _QUESTION
    try:
        pid = int((folder / _PID).read_text("ascii"))
        question.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
            ear.bind(str(question))
            ear.settimeout(answer_s)
            os.kill(pid, signal.SIGUSR1)
            return True, ear.recv(ANSWER_BYTES_MAX).decode()
    except (FileNotFoundError, ValueError):
        return False, f"no general has come up in {folder}"
    except ProcessLookupError:
        return False, "the general has ended"
    except TimeoutError:
        return False, f"the general did not answer within {answer_s:g} s"
    except OSError as error:
        return False, f"the general cannot be asked: {error}"
    finally:
        question.unlink(missing_ok=True)


def main() -> int:
    folder = os.environ.get(FOLDER_VARIABLE)
    is_alive, said = ask(Path(folder)) if folder else (False, f"{FOLDER_VARIABLE} is not set")
    print(said)
    return 0 if is_alive else 1


if __name__ == "__main__":
    sys.exit(main())
