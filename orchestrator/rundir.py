"""A run directory: all that is known of one run, in files that anyone can check again."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

import node
from node.control import Roster
from node.orders import GeneralId
from orchestrator.audit import Exhibits, journal_name
from orchestrator.scenario.problems import printable
from orchestrator.transcript import Transcript, read

#: No file of a run directory is read beyond so many bytes.
FILE_BYTES_MAX = 1 << 30


class RunDirError(Exception):
    """A run directory cannot be made, lacks a file, or holds one that cannot be read."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(printable(f"{path}: {reason}"))


class RunFile(msgspec.Struct, kw_only=True):
    """run.json: what was played where, and the nonce that the run id was made with."""

    scenario: str
    run: str
    nonce: str
    seed: int
    backend: str
    protocol: str
    n: int
    m: int
    started: str
    versions: dict[str, str]
    hosts: dict[GeneralId, str]
    #: The graph's links by general, and the paths of the relay, which are its certificate.
    neighbours: list[list[GeneralId]] = []
    paths: list[list[GeneralId]] = []


class RunDir:
    """One run's directory. Made by `create`, found again by `open`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, root: Path, scenario: str, seed: int) -> RunDir:
        """A new directory under `root`/`scenario`, and the `latest` link onto it."""
        stamp = f"{datetime.now().astimezone():%Y%m%dT%H%M%S}-{seed}"
        parent = root / scenario
        for attempt in range(1, 1000):
            path = parent / (stamp if attempt == 1 else f"{stamp}-{attempt}")
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            _link(parent / "latest", path.name)
            return cls(path)
        raise RunDirError(parent, "too many runs in one second")

    @classmethod
    def find(cls, path: Path) -> RunDir:
        """The run directory at `path`, or the latest one of the scenario whose folder it is."""
        try:
            if not (path / "run.json").exists() and (path / "latest").is_dir():
                path = path / "latest"
            if (path / "run.json").is_file():
                return cls(path)
            was_begun = (path / "scenario.yaml").exists()
        except (OSError, ValueError) as fault:
            raise RunDirError(path, _reason(fault)) from None
        why = ": its generals never stood ready" if was_begun else ""
        raise RunDirError(path, f"no run directory, there is no run.json{why}")

    def write(self, name: str, data: bytes) -> None:
        (self.path / name).write_bytes(data)

    def write_json(self, name: str, value: Any) -> None:
        self.write(name, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")

    def read(self, name: str) -> bytes:
        path = self.path / name
        try:
            if path.exists() and not path.is_file():
                raise RunDirError(path, "this is no file")
            if path.stat().st_size > FILE_BYTES_MAX:
                raise RunDirError(path, f"larger than {FILE_BYTES_MAX} bytes")
            return path.read_bytes()
        except OSError as fault:
            raise RunDirError(path, _reason(fault)) from None

    def run_file(self) -> RunFile:
        found: RunFile = self._decoded("run.json", RunFile)
        return found

    def roster(self) -> Roster:
        """Who was there. His number names each one's files, so that no other will do."""
        found: Roster = self._decoded("roster.json", Roster)
        if [entry.general for entry in found.generals] != list(range(len(found.generals))):
            raise RunDirError(self.path / "roster.json", "its generals are not 0, 1, 2 and so on")
        return found

    def transcript(self, roster: Roster, run: bytes) -> Transcript:
        """Every journal that is there, checked line by line."""
        records = {}
        for general, public in roster.signing_publics().items():
            if (self.path / journal_name(general)).exists():
                data = self.read(journal_name(general))
                records[general] = read(general, data, run, public)
        return Transcript(records)

    def exhibits(self) -> Exhibits:
        """Everything that an audit needs. RunDirError where a file is missing or unreadable."""
        run_file, roster = self.run_file(), self.roster()
        try:
            run, nonce = bytes.fromhex(run_file.run), bytes.fromhex(run_file.nonce)
        except ValueError:
            raise RunDirError(self.path / "run.json", "run and nonce are not hex") from None
        transcript = self.transcript(roster, run)
        claims = msgspec.structs.asdict(run_file)
        return Exhibits(roster, self.read("scenario.yaml"), run, nonce, transcript, claims)

    def _decoded(self, name: str, kind: type[Any]) -> Any:
        try:
            return msgspec.json.decode(self.read(name), type=kind)
        except (msgspec.MsgspecError, ValueError, RecursionError) as fault:
            raise RunDirError(self.path / name, str(fault)) from None


@cache
def machine_version() -> str:
    """A fingerprint of the code that says what a loyal general does: evidence of a deviation is
    evidence under these rules."""
    home = Path(node.__file__).parent
    state = hashlib.blake2b(digest_size=16)
    for path in sorted([*home.glob("*.py"), *home.glob("protocols/**/*.py")]):
        if path.stem not in _HOSTS:
            data = path.read_bytes()
            state.update(f"{path.relative_to(home).as_posix()}\0{len(data)}\0".encode() + data)
    return state.hexdigest()


#: What carries a machine and is none of its rules.
_HOSTS = {"links", "logs", "runtime", "forks", "health", "settings", "rehearsal", "__main__"}


def versions() -> Mapping[str, str]:
    """What the run was made with."""
    from importlib.metadata import version

    import zmq

    packages = ("byzantine", "pyzmq", "pynacl", "numpy", "msgspec")
    return {
        "python": platform.python_version(),
        "machine": machine_version(),
        "libzmq": zmq.zmq_version(),
        **{package: version(package) for package in packages},
    }


def _link(link: Path, target: str) -> None:
    """Points `link` at `target`, in one step: two runs at once never leave it broken."""
    fresh = link.with_name(f".latest-{target}")
    try:
        fresh.symlink_to(target)
        fresh.replace(link)
    except OSError as fault:
        fresh.unlink(missing_ok=True)
        raise RunDirError(link, f"cannot be made a link: {_reason(fault)}") from None


def _reason(fault: OSError | ValueError) -> str:
    """Why a file cannot be had, without its name, which stands before it."""
    return getattr(fault, "strerror", None) or str(fault)
