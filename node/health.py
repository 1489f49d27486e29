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

_PID: Final = "pid"
_QUESTION: Final = "question"
_ALIVE: Final = b"alive"


def answer_in(folder: Path) -> None:
    """From now on this process answers whoever asks in `folder`. To be called in the main thread.

    OSError where the folder cannot be written to.
    """
    asker = str(folder / _QUESTION)
    desk = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def answer(_number: int, _frame: object) -> None:
        try:
            desk.sendto(_ALIVE, asker)
        except OSError:
            return  # Whoever asked has left.

    signal.signal(signal.SIGUSR1, answer)
    # Last, because a signal without its handler would end the process.
    (folder / _PID).write_text(str(os.getpid()), "ascii")


def ailment(folder: Path, answer_s: float = ANSWER_S) -> str | None:
    """What is wrong with the general of that folder; None where he is alive and answers."""
    question = folder / _QUESTION
    try:
        pid = int((folder / _PID).read_text("ascii"))
        question.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
            ear.bind(str(question))
            ear.settimeout(answer_s)
            os.kill(pid, signal.SIGUSR1)
            ear.recv(len(_ALIVE))
    except (FileNotFoundError, ValueError):
        return f"no general has come up in {folder}"
    except ProcessLookupError:
        return "the general has ended"
    except TimeoutError:
        return f"the general did not answer within {answer_s:g} s"
    except OSError as error:
        return f"the general cannot be asked: {error}"
    finally:
        question.unlink(missing_ok=True)
    return None


def main() -> int:
    folder = os.environ.get(FOLDER_VARIABLE)
    found = ailment(Path(folder)) if folder else f"{FOLDER_VARIABLE} is not set"
    print(found or "alive")
    return 0 if found is None else 1


if __name__ == "__main__":
    sys.exit(main())
