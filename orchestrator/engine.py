"""The container engine: where it is, whether it may be used, and what its refusals mean.

The endpoint is found as the docker command finds it: `DOCKER_HOST`, then `DOCKER_CONTEXT`, then the
context in use, then the local socket. It is part of every message, because nothing costs more time
than containers that were started somewhere else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from docker import DockerClient
from docker.errors import APIError, DockerException
from docker.tls import TLSConfig
from docker.utils import kwargs_from_env
from requests.exceptions import JSONDecodeError, RequestException, Timeout

#: An engine that does not say its version within so many seconds is not there.
GREETING_S: Final = 3
#: One request may take so long, in seconds: many containers start at a time on a small machine.
REQUEST_S: Final = 120
#: Requests that are under way at a time at most.
CONNECTIONS: Final = 64
#: The first API that connects a container to several networks as it is created: engine 25.
API_MIN: Final = (1, 44)
#: Where an engine listens when nobody says otherwise.
LOCAL_SOCKET: Final = "unix:///var/run/docker.sock"

_API_MIN: Final = ".".join(map(str, API_MIN))
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class EngineError(Exception):
    """The engine cannot do what is asked; the text says why, and how to mend it."""


@dataclass(frozen=True)
class Endpoint:
    """Where an engine listens, and whose word that is: a variable, a context, or nobody's."""

    url: str
    source: str
    tls: TLSConfig | None = None

    @property
    def is_remote(self) -> bool:
        """Whether it is on another machine: such an engine's networks are out of our reach."""
        parts = urlsplit(self.url)
        return parts.scheme not in ("unix", "npipe") and parts.hostname not in _LOOPBACK

    def __str__(self) -> str:
        return f"{self.url} ({self.source})"


@dataclass(frozen=True)
class Engine:
    """An engine that has answered."""

    client: DockerClient
    endpoint: Endpoint
    version: str
    api_version: str

    def close(self) -> None:
        self.client.close()


def connect(*, allow_remote: bool = False, environ: Mapping[str, str] = os.environ) -> Engine:
    """The engine that the docker command would speak to. EngineError where it cannot be used."""
    endpoint = find_endpoint(environ)
    if endpoint.is_remote and not allow_remote:
        raise EngineError(
            f"the engine at {endpoint} is on another machine: say --allow-remote if you mean it, "
            "or choose a local one: docker context use default"
        )
    engine = _greet(endpoint)
    if _numbers(engine.api_version) < API_MIN:
        engine.close()
        raise EngineError(
            f"the engine at {endpoint} is version {engine.version} with API {engine.api_version}; "
            f"API {_API_MIN} is needed: Docker Engine 25 or newer"
        )
    return engine


def find_endpoint(environ: Mapping[str, str] = os.environ) -> Endpoint:
    """Where the docker command would look. EngineError where its context does not exist."""
    if environ.get("DOCKER_HOST"):
        given = _from_variables(environ)
        return Endpoint(str(given["base_url"]), "DOCKER_HOST", given.get("tls"))
    # The library's own search takes an unknown context for the default one, in silence.
    folder = Path(environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    name = environ.get("DOCKER_CONTEXT") or _context_in_use(folder / "config.json")
    if name in ("", "default"):
        return Endpoint(LOCAL_SOCKET, "default context")
    return _of_context(name, folder / "contexts")


@contextmanager
def refusals(doing: str) -> Iterator[None]:
    """Turns what the engine answers or does not answer into an EngineError about what was done."""
    try:
        yield
    except APIError as error:
        raise EngineError(f"{doing}: {error.explanation or error}") from error
    except Timeout as error:
        raise EngineError(f"{doing}: the engine did not answer within {REQUEST_S} s") from error
    except (DockerException, RequestException, OSError) as error:
        raise EngineError(f"{doing}: the engine is gone: {error}") from error


def _greet(endpoint: Endpoint) -> Engine:
    """The engine at an endpoint, once it has said its version."""
    try:
        with closing(_client(endpoint, GREETING_S)) as herald:
            greeting = herald.version(api_version=False)
        version, api_version = str(greeting["Version"]), str(greeting["ApiVersion"])
    except (KeyError, TypeError, JSONDecodeError) as error:
        raise EngineError(f"what answers at {endpoint} is no Docker engine") from error
    except (DockerException, RequestException, OSError) as error:
        raise EngineError(_silence(endpoint, error)) from error
    return Engine(_client(endpoint, REQUEST_S), endpoint, version, api_version)


def _client(endpoint: Endpoint, timeout_s: int) -> DockerClient:
    return DockerClient(
        base_url=endpoint.url,
        version=_API_MIN,
        timeout=timeout_s,
        max_pool_size=CONNECTIONS,
        tls=endpoint.tls or False,
    )


def _silence(endpoint: Endpoint, error: BaseException) -> str:
    """Why nobody answered, by the cause at the bottom of the libraries' wrappings."""
    text = str(error)
    if "PermissionError" in text or isinstance(error, PermissionError):
        return (
            f"the engine at {endpoint} may not be used by this user: "
            "join the docker group, or use root or a rootless engine"
        )
    if endpoint.url.startswith("ssh://"):
        return f"no engine answers at {endpoint}: {text}; for ssh, pip install 'docker[ssh]'"
    if endpoint.url.startswith("unix://"):
        return (
            f"no engine answers at {endpoint}: is it installed, and started? "
            "systemctl start docker, or `byzantine run --backend processes` without one"
        )
    return f"no engine answers at {endpoint} within {GREETING_S} s"


def _from_variables(environ: Mapping[str, str]) -> dict[str, Any]:
    try:
        return dict(kwargs_from_env(environment=dict(environ)))
    except DockerException as error:
        raise EngineError(f"DOCKER_HOST and its certificates: {error}") from error


def _context_in_use(config: Path) -> str:
    try:
        return str(json.loads(config.read_bytes()).get("currentContext", ""))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, AttributeError) as error:
        raise EngineError(f"{config} cannot be read: {error}") from error


def _of_context(name: str, contexts: Path) -> Endpoint:
    """The endpoint of a context by its name, whose hash names its folders."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    try:
        meta = json.loads((contexts / "meta" / digest / "meta.json").read_bytes())
        url = str(meta["Endpoints"]["docker"]["Host"])
    except FileNotFoundError:
        raise EngineError(f"there is no docker context {name!r}: see `docker context ls`") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(f"docker context {name!r} cannot be read: {error!r}") from error
    return Endpoint(url, f"context {name}", _tls(contexts / "tls" / digest / "docker"))


def _tls(folder: Path) -> TLSConfig | None:
    if not folder.is_dir():
        return None
    ca, cert, key = (folder / f"{name}.pem" for name in ("ca", "cert", "key"))
    try:
        return TLSConfig(
            client_cert=(str(cert), str(key)) if cert.exists() else None,
            ca_cert=str(ca) if ca.exists() else None,
            verify=True,
        )
    except DockerException as error:
        raise EngineError(f"the certificates in {folder}: {error}") from error


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
