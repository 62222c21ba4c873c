"""Memory of pictures and models back to the system once they are done with. Without glibc nothing here happens."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from .model_format import MAP_SIZE

# Options of glibc's mallopt(3), from malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_HEAPS = 2  # for whatever threads there are; each model that is loaded brings new ones


def give_back_freed_memory() -> None:
    """Fix the size, that of one anomaly map, from which glibc maps a block for itself and unmaps it when it is freed.

    By default glibc raises it to the largest block freed so far, up to 32 MiB. Pictures then lie between smaller things in the
    heaps of several threads, and the process stays as large as at its worst moment. What is smaller lies in few heaps.
    """
    if (mallopt := _glibc("mallopt")) is not None:
        mallopt(_MMAP_THRESHOLD, MAP_SIZE**2 * 4)
        mallopt(_TRIM_THRESHOLD, 2**22)
        mallopt(_ARENA_MAX, _HEAPS)


def give_back_holes() -> None:
    """Return the free pages in the middle of every heap, which glibc by itself never does; blocks, for milliseconds.

    A model that is unloaded leaves holes between smaller things. The next one takes them in part, so that without this each
    change of models leaves the process larger.
    """
    if (malloc_trim := _glibc("malloc_trim")) is not None:
        malloc_trim(0)


def _glibc(name: str) -> Callable[..., int] | None:
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
    return function
