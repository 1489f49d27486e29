"""Whether a general is alive is asked of his own main thread, and nobody else can answer."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from node import health
from node.settings import summons

pytestmark = pytest.mark.live

#: Long enough for any answer; a test that waits it out fails.
PLENTY_S = 20.0
#: For those who cannot answer: what is waited for will not come.
BRIEF_S = 0.2

GENERAL = """
import sys, threading
from pathlib import Path
from node import health
health.answer_in(Path(sys.argv[1]))
print("up", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def general(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that answers in `tmp_path` for as long as its input is open."""
    with subprocess.Popen(
        [sys.executable, "-c", GENERAL, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
        process.kill()


def test_a_general_who_blocks_in_a_read_answers(
    general: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert health.ask(tmp_path, PLENTY_S) == (True, "alive")
    assert health.ask(tmp_path, PLENTY_S) == (True, "alive"), "and a second time"
    assert general.poll() is None


def test_a_stopped_general_is_unhealthy_until_he_goes_on(
    general: subprocess.Popen[str], tmp_path: Path
) -> None:
    general.send_signal(signal.SIGSTOP)
    assert "did not answer" in health.ask(tmp_path, BRIEF_S)[1]
    general.send_signal(signal.SIGCONT)
    assert health.ask(tmp_path, PLENTY_S) == (True, "alive")


def test_a_general_who_has_ended_is_unhealthy(
    general: subprocess.Popen[str], tmp_path: Path
) -> None:
    general.kill()
    general.wait()
    assert health.ask(tmp_path, PLENTY_S) == (False, "the general has ended")


def test_a_general_who_has_not_come_up_is_unhealthy(tmp_path: Path) -> None:
    assert "no general has come up" in health.ask(tmp_path, PLENTY_S)[1]


@pytest.mark.parametrize("text", ["", "x", "1.5", "\0"])
def test_a_broken_record_is_unhealthy_and_signals_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "pid").write_text(text)
    assert "no general has come up" in health.ask(tmp_path, PLENTY_S)[1]


def test_the_answer_goes_to_whoever_asks_last(
    general: subprocess.Popen[str], tmp_path: Path
) -> None:
    """One who asked and died leaves a socket behind, which is in nobody's way."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(str(tmp_path / "question"))
    assert health.ask(tmp_path, PLENTY_S) == (True, "alive")


def test_asking_needs_the_standard_library_alone(
    general: subprocess.Popen[str], tmp_path: Path
) -> None:
    asked = subprocess.run(
        [sys.executable, "-IS", health.__file__],
        env={health.FOLDER_VARIABLE: str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (asked.returncode, asked.stdout) == (0, "alive\n")


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    for folder, said in (({}, "not set"), ({health.FOLDER_VARIABLE: str(tmp_path)}, "come up")):
        asked = subprocess.run(
            [sys.executable, "-IS", health.__file__],
            env=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert asked.returncode == 1
        assert said in asked.stdout


def test_a_general_whose_folder_cannot_be_written_to_plays_on(tmp_path: Path) -> None:
    """He ends here for want of an orchestrator, and not before he has looked for one."""
    played = subprocess.run(
        [sys.executable, "-m", "node", "--patience", "0.01", "--summons", "-"],
        env=os.environ
        | {
            health.FOLDER_VARIABLE: str(tmp_path / "nowhere"),
        },
        input=summons(bytes(32), "tcp://127.0.0.1:9", "0" * 40).decode(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "nobody can ask after this general's health" in played.stderr
    assert played.returncode == 3, played.stderr
    assert '"event":"orphaned"' in played.stdout
