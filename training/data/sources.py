"""Several data sets read as one: a generalist model learns from all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import UnknownClassError
from .layouts import load_samples
from .sample import Sample
from .tree import Split


@dataclass(frozen=True)
class Source:
    """A data set on disk: its layout and the folder it lies in."""

    layout: str
    root: Path

    def claimed(self, split: Split, names: Sequence[str]) -> list[str]:
        """Those of `names` that are classes of this data set."""
        return [name for name in names if self._has(split, name)]

    def _has(self, split: Split, name: str) -> bool:
        try:
            load_samples(self.layout, self.root, split, [name])
        except UnknownClassError:
            return False
        return True


def load_sources(sources: Sequence[Source], split: Split, normal: Sequence[str]) -> list[Sample]:
    """Samples of all sources. Each takes as its normal classes those of `normal` that it knows, all its classes if none.

    Raises UnknownClassError for a name that no source knows.
    """
    claims = [source.claimed(split, normal) for source in sources]
    unclaimed = [name for name in normal if not any(name in claim for claim in claims)]
    if unclaimed and len(sources) == 1:
        claims = [unclaimed]  # the adapter's own error lists the classes that it knows
    elif unclaimed:
        raise UnknownClassError(f"no data set has a class {', '.join(map(repr, unclaimed))}")
    return [
        sample
        for source, claim in zip(sources, claims, strict=True)
        for sample in load_samples(source.layout, source.root, split, claim)
    ]
