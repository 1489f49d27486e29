"""Where tables are printed."""

from __future__ import annotations

import sys
from typing import Any


def page() -> Any:
    """Standard output, as wide as it is; colour only on a terminal."""
    from rich.console import Console

    class Page(Console):
        def on_broken_pipe(self) -> None:
            """The reader left. Rich would end the program with 1, which is a verdict here."""
            raise BrokenPipeError

    width = None if sys.stdout.isatty() else 120
    return Page(file=sys.stdout, width=width, highlight=False, markup=False)
