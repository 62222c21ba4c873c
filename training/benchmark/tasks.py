"""The models that a benchmark's table is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Setting = Literal["single", "multi"]


@dataclass(frozen=True)
class Task:
    """One model: what is normal for it, and the group of rows that its mean is taken over."""

    group: str
    name: str
    normal: tuple[str, ...]


def tasks(setting: Setting, classes: Sequence[str], *, semantic: bool) -> list[Task]:
    """The tasks of a set of these classes.

    Single: one model a class. Multi: one model for all categories; of a semantic set, UniAD's four halves (of ten classes
    {01234}, {56789}, {02468}, {13579}) and Transformaly's all-but-one, since the paper does not say which it used.
    """
    if setting == "single":
        return [Task("one-vs-rest" if semantic else "single", name, (name,)) for name in classes]
    if not semantic:
        return [Task("multi", "all", tuple(classes))]
    middle = len(classes) // 2
    halves = {"first": classes[:middle], "last": classes[middle:], "even": classes[::2], "odd": classes[1::2]}
    return [Task("halves", name, tuple(half)) for name, half in halves.items()] + [
        Task("all-but-one", f"not {left_out}", tuple(name for name in classes if name != left_out)) for left_out in classes
    ]
