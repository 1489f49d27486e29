"""What a general's image holds is what a general needs: the boundary between the two packages."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
#: What a distribution is called, where that is not the name that is imported.
DISTRIBUTIONS = {"zmq": "pyzmq", "nacl": "pynacl"}


def test_the_group_general_is_exactly_what_node_imports() -> None:
    imported = {DISTRIBUTIONS.get(name, name) for name in _imported(ROOT / "node")}
    assert _names(PROJECT["dependency-groups"]["general"]) == imported


def test_the_group_general_asks_for_what_the_project_asks_for() -> None:
    assert set(PROJECT["dependency-groups"]["general"]) <= set(PROJECT["project"]["dependencies"])


def test_the_general_of_the_image_is_built_from_the_lock_with_hashes() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "--frozen --no-emit-project --only-group general" in dockerfile
    assert dockerfile.count("--require-hashes") == 2


def _imported(package: Path) -> set[str]:
    """Top-level modules that a package imports, its own and the standard library's apart."""
    found: set[str] = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {package.name}


def _names(requirements: list[str]) -> set[str]:
    return {Requirement(text).name for text in requirements}
