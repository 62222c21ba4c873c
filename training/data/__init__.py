"""Data sets: one adapter a layout, all giving samples of one type."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from .errors import DataError
from .held_out import split_held_out
from .layouts import LAYOUTS, class_names, load_samples
from .sample import ANOMALOUS, GOOD, Sample
from .sources import Source, claimed, load_labelled_defects, load_sources
from .tree import Split

__all__ = [
    "ANOMALOUS",
    "GOOD",
    "LAYOUTS",
    "DataError",
    "Sample",
    "Source",
    "Split",
    "claimed",
    "class_names",
    "fingerprint",
    "load_labelled_defects",
    "load_samples",
    "load_sources",
    "split_held_out",
]


def fingerprint(samples: Sequence[Sample]) -> str:
    """SHA-256 (hex) over the sorted digests of the pictures' bytes: the same pictures in any order and place give the same."""
    digests = sorted(bytes.fromhex(digest(sample)) for sample in samples)
    return hashlib.sha256(b"".join(digests)).hexdigest()


def digest(sample: Sample) -> str:
    """SHA-256 (hex) of a picture's bytes, of its file or array; raises DataError for an unreadable file."""
    return hashlib.sha256(sample.encoded()).hexdigest()
