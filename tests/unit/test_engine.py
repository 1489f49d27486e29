"""The engine is the one that the docker command would use, or a refusal says what to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer
from threading import Thread

import pytest
from click.testing import CliRunner

from orchestrator.__main__ import byzantine
from orchestrator.engine import LOCAL_SOCKET, EngineError, connect, find_endpoint

#: TEST-NET-1: nobody is there.
ELSEWHERE = "tcp://192.0.2.1:2375"


@pytest.fixture
def config(tmp_path: Path) -> dict[str, str]:
    return {"DOCKER_CONFIG": str(tmp_path)}


@pytest.fixture
def make_context(tmp_path: Path) -> Callable[[str, str], None]:
    """Writes a context as the docker command does."""

    def make(name: str, host: str) -> None:
        folder = tmp_path / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
        folder.mkdir(parents=True)
        meta = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host}}}
        (folder / "meta.json").write_text(json.dumps(meta))

    return make


def test_without_a_word_it_is_the_local_one(config: dict[str, str]) -> None:
    endpoint = find_endpoint(config)
    assert (endpoint.url, endpoint.source) == (LOCAL_SOCKET, "default context")
    assert not endpoint.is_remote


def test_the_context_in_use_is_followed(
    config: dict[str, str], make_context: Callable[[str, str], None], tmp_path: Path
) -> None:
    make_context("far", ELSEWHERE)
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": "far"}))
    endpoint = find_endpoint(config)
    assert (endpoint.url, endpoint.source, endpoint.is_remote) == (ELSEWHERE, "context far", True)


def test_a_named_context_comes_before_the_one_in_use(
    config: dict[str, str], make_context: Callable[[str, str], None], tmp_path: Path
) -> None:
    make_context("near", "unix:///run/near.sock")
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": "far"}))
    endpoint = find_endpoint(config | {"DOCKER_CONTEXT": "near"})
    assert str(endpoint) == "unix:///run/near.sock (context near)"


def test_a_host_comes_before_a_context(
    config: dict[str, str], make_context: Callable[[str, str], None]
) -> None:
    make_context("near", "unix:///run/near.sock")
    chosen = config | {"DOCKER_CONTEXT": "near", "DOCKER_HOST": "unix:///run/other.sock"}
    assert str(find_endpoint(chosen)) == "unix:///run/other.sock (DOCKER_HOST)"


def test_an_unknown_context_is_refused_and_not_taken_for_the_default(
    config: dict[str, str],
) -> None:
    with pytest.raises(EngineError, match="no docker context 'far'"):
        find_endpoint(config | {"DOCKER_CONTEXT": "far"})


def test_a_broken_configuration_is_named(config: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(EngineError, match=r"config\.json cannot be read"):
        find_endpoint(config)


@pytest.mark.parametrize("host", [ELSEWHERE, "ssh://general@example.org", "tcp://[2001:db8::1]:1"])
def test_a_remote_engine_is_refused_before_it_is_spoken_to(
    config: dict[str, str], host: str
) -> None:
    with pytest.raises(EngineError, match="another machine: say --allow-remote"):
        connect(environ=config | {"DOCKER_HOST": host})


@pytest.mark.parametrize("host", ["unix:///run/a.sock", "tcp://127.0.0.1:2375", "tcp://[::1]:2375"])
def test_an_engine_on_this_machine_is_not_remote(config: dict[str, str], host: str) -> None:
    assert not find_endpoint(config | {"DOCKER_HOST": host}).is_remote


def test_where_no_engine_listens_the_message_says_where_and_what_to_do(
    config: dict[str, str], tmp_path: Path
) -> None:
    host = f"unix://{tmp_path}/nobody.sock"
    with pytest.raises(EngineError, match=r"no engine answers at .*nobody\.sock.*systemctl start"):
        connect(environ=config | {"DOCKER_HOST": host})


@pytest.mark.parametrize(
    "command", [["doctor"], ["images", "build"], ["images", "list"]], ids=" ".join
)
def test_without_an_engine_every_command_returns_4(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: list[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    done = CliRunner().invoke(byzantine, command, standalone_mode=False)
    assert 4 in (done.return_value, done.exit_code), done.output
    assert "no engine answers" in done.output + done.stderr


def test_the_doctor_without_an_engine_says_what_he_could_not_look_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    done = CliRunner().invoke(byzantine, ["doctor", "--format", "json"], standalone_mode=False)
    states = {one["what"]: one["state"] for one in json.loads(done.stdout)}
    assert states["engine"] == "missing"
    assert states["nftables"] == states["subnets"] == states["image general"] == "untested"


def test_an_engine_of_too_old_an_api_is_refused(config: dict[str, str], tmp_path: Path) -> None:
    with (
        _engine(tmp_path / "old.sock", b'{"Version": "20.10.24", "ApiVersion": "1.41"}') as host,
        pytest.raises(EngineError, match=r"20\.10\.24 with API 1\.41; API 1\.44 is needed"),
    ):
        connect(environ=config | {"DOCKER_HOST": host})


def test_an_engine_that_answers_is_used(config: dict[str, str], tmp_path: Path) -> None:
    with _engine(tmp_path / "new.sock", b'{"Version": "26.1.5", "ApiVersion": "1.45"}') as host:
        engine = connect(environ=config | {"DOCKER_HOST": host})
        engine.close()
    assert (engine.version, engine.api_version) == ("26.1.5", "1.45")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"Version": "26"}', b"<html>"])
def test_what_answers_and_is_no_engine_is_refused(
    config: dict[str, str], tmp_path: Path, body: bytes
) -> None:
    with (
        _engine(tmp_path / "odd.sock", body) as host,
        pytest.raises(EngineError, match=r"odd\.sock"),
    ):
        connect(environ=config | {"DOCKER_HOST": host})


@contextmanager
def _engine(path: Path, body: bytes) -> Iterator[str]:
    """Somebody who listens where an engine would, and gives one answer to everything."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

        def address_string(self) -> str:
            return "a socket"

    with UnixStreamServer(str(path), Answer) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"unix://{path}"
        server.shutdown()
