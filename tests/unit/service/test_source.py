"""What the service's own code must not do, read from the code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import service

UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
FILES = sorted(Path(service.__file__).parent.rglob("*.py"))


def imported(node: ast.AST) -> set[str]:
    """Top-level names of the modules that a node imports."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    return {(node.module or "").partition(".")[0]} if isinstance(node, ast.ImportFrom) else set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_unpickles(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        assert not imported(node) & UNSAFE_MODULES
        assert not (isinstance(node, ast.keyword) and node.arg == "allow_pickle")
