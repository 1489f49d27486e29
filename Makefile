# Everything runs inside .venv, which the first target that needs it makes. Nothing but
# Python >= 3.11, make and a package index is assumed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup demo test check tests bench clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    play two stories with traitors in them, and verify every signature"
	@echo "make test    format, lint, types, import contracts and all tests: is it right?"
	@echo "make check   all of that but the tests"
	@echo "make bench   speed, side by side with peers and limits"
	@echo "make setup   only the virtual environment"
	@echo "make clean   remove it, and every cache"

setup: $(READY)

# Compiled once: where PYTHONDONTWRITEBYTECODE is set, every start would do it again.
$(READY): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Byzantine needs Python 3.11 or newer; say which: make PYTHON=python3.12" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8,<1'
	@VIRTUAL_ENV= $(BIN)/uv sync --frozen --quiet --inexact --compile-bytecode
	@$(BIN)/python -m compileall -q node orchestrator tests
	@touch $@

demo: setup
	@$(BIN)/byzantine run oral-traitorous-lieutenant signed-two-faced-commander
	@echo
	@$(BIN)/byzantine verify runs/signed-two-faced-commander

test: check tests

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Tests that time nothing share the cores; those that start processes have the machine to themselves.
# Those of containers are asked for: they take a Docker engine to themselves, and with
# BYZANTINE_REQUIRE_DOCKER=1 they fail where there is none. Two at a time: most of what they do is
# to wait for the engine.
tests: setup
	$(BIN)/pytest -n auto -m "not live and not containers"
	$(BIN)/pytest -m live
	@if [ "$${BYZANTINE_REQUIRE_DOCKER:-0}" = 1 ]; then $(BIN)/pytest -n 2 --dist worksteal -m containers; \
	  else echo "tests of containers: not asked for (BYZANTINE_REQUIRE_DOCKER=1 asks)"; fi

bench: setup
	@VIRTUAL_ENV= $(BIN)/uv sync --frozen --quiet --inexact --group bench
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
