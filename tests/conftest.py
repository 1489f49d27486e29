"""Every run of the tests is the same run: chance is drawn from the tests' own names."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from hypothesis import settings

settings.register_profile(
    "byzantine", derandomize=True, deadline=None, database=None, max_examples=60, print_blob=True
)
settings.load_profile("byzantine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate", action="store_true", help="write the golden transcripts anew, then compare"
    )
    parser.addoption(
        "--exhaustive", action="store_true", help="real generals and replicas play all, not a part"
    )


@pytest.fixture
def regenerate(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--regenerate"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under each failure, the one command that repeats it. A seed is part of a test's name."""
    report = yield
    if report.failed:
        report.sections.append(("to repeat", f"pytest '{item.nodeid}'"))
    return report
