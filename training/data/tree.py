"""What the adapters share in reading a tree: pictures of a folder, choice of classes, errors that show what was found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from .errors import DataError, UnknownClassError

Split = Literal["train", "test"]
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
SHOWN = 8


def pictures(folder: Path) -> list[Path]:
    """Picture files directly in `folder`, by name; none if there is no such folder. Hidden files are left out."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))


def folders(folder: Path) -> list[Path]:
    """Folders directly in `folder`, by name; none if there is no such folder. Hidden ones are left out."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def layout_error(wanted: str, folder: Path, expected: str) -> DataError:
    """The error for a tree without `wanted` in `folder`, with what is there instead and the layout `expected`."""
    if not folder.exists():
        found = "no such folder"
    elif not folder.is_dir():
        found = "a file, not a folder"
    else:
        entries = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
        found = ", ".join(entries[:SHOWN]) + (f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else "") or "nothing"
    return DataError(f"looked for {wanted} in {folder}; found: {found}; expected layout: {expected}")


def choose_classes(normal: Sequence[str], known: Sequence[str]) -> list[str]:
    """The classes of `known` that `normal` names, in the order of `known`; all of them if `normal` is empty.

    Case, spaces and punctuation do not matter ("ankle-boot" is "ankle boot"), unless classes differ in nothing else. Raises
    UnknownClassError for another name, and for one that several classes could be.
    """
    found = {name: _alike(name, known) for name in normal}
    if unknown := [name for name, alike in found.items() if not alike]:
        raise UnknownClassError(f"unknown class {', '.join(map(repr, unknown))}; known classes: {', '.join(known)}")
    for name, alike in found.items():
        if len(alike) > 1:
            raise UnknownClassError(f"class {name!r} could be {' or '.join(map(repr, alike))}: write it as it is")
    chosen = {alike[0] for alike in found.values()}
    return [name for name in known if name in chosen or not normal]


def is_class(name: str, known: Sequence[str]) -> bool:
    """Whether choose_classes finds `name` among `known`."""
    return bool(_alike(name, known))


def _alike(name: str, known: Sequence[str]) -> list[str]:
    """The class of exactly this name, or else those that only case, spaces and punctuation tell from it."""
    return [name] if name in known else [other for other in known if _key(other) == _key(name)]


def _key(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))
