"""Several data sets read as one: a generalist model learns from all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import DataError, UnknownClassError
from .layouts import class_names, load_defects, load_samples
from .sample import Sample
from .tree import Split, is_class


@dataclass(frozen=True)
class Source:
    """A data set on disk: its layout and the folder it lies in."""

    layout: str
    root: Path

    def claimed(self, names: Sequence[str]) -> list[str]:
        """Those of `names` that are classes of this data set."""
        known = class_names(self.layout, self.root)
        return [name for name in names if is_class(name, known)]


def claimed(sources: Sequence[Source], names: Sequence[str]) -> list[str]:
    """Those of `names` that are classes of any of these data sets, in the order of these."""
    return list(dict.fromkeys(name for source in sources for name in source.claimed(names)))


def load_sources(sources: Sequence[Source], split: Split, normal: Sequence[str]) -> list[Sample]:
    """Samples of all sources. Each takes as its normal classes those of `normal` that it knows, all its classes if none.

    Raises UnknownClassError for a name that no source knows.
    """
    return [
        sample
        for source, claim in zip(sources, _claims(sources, normal), strict=True)
        for sample in load_samples(source.layout, source.root, split, claim)
    ]


def load_labelled_defects(sources: Sequence[Source], normal: Sequence[str]) -> list[Sample]:
    """Labelled defects to learn from, of the classes that load_sources takes; raises DataError where no source has any."""
    found = [
        sample
        for source, claim in zip(sources, _claims(sources, normal), strict=True)
        for sample in load_defects(source.layout, source.root, claim)
    ]
    if not found:
        roots = ", ".join(str(source.root) for source in sources)
        raise DataError(
            f"no labelled defect in {roots}: with --layout folder they lie in bad/, their masks by the same names in masks/; "
            "other layouts keep their defects for the test"
        )
    return found


def _claims(sources: Sequence[Source], normal: Sequence[str]) -> list[list[str]]:
    """The normal classes of each source; errors as of load_sources."""
    if len(sources) == 1:
        return [list(normal)]  # the adapter's own error lists the classes that it knows
    claims = [source.claimed(normal) for source in sources]
    unclaimed = [name for name in normal if not any(name in claim for claim in claims)]
    if unclaimed:
        raise UnknownClassError(f"no data set has a class {', '.join(map(repr, unclaimed))}")
    return claims
