"""What the commands print: lines that nobody breaks but the terminal, and tables that no pipe makes narrow."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

WIDTH = 160  # of a table where there is no terminal


def say(text: str, *, style: str = "", errors: bool = False) -> None:
    """Print one line to standard output, or standard error; brackets in it are no markup."""
    Console(stderr=errors).print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def show(table: Table) -> None:
    """Print a table to standard output."""
    screen = Console()
    (screen if screen.is_terminal else Console(width=WIDTH)).print(table)
