"""Pictures that cannot be decoded: all of them named at once, so that a data set is mended in one go."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..progress import track
from .errors import DataError
from .sample import Sample

log = logging.getLogger(__name__)


@contextmanager
def naming_all_unreadable(samples: Sequence[Sample]) -> Iterator[None]:
    """Where work on the samples ends with a DataError, look for all that cannot be read, and let the error name them."""
    try:
        yield
    except DataError:
        readable(samples, skip=False)
        raise


def readable(samples: Sequence[Sample], *, skip: bool) -> list[Sample]:
    """The samples whose picture can be decoded; each is decoded for that.

    Raises DataError that lists the others, unless they may be skipped: then they are logged.
    """
    kept, reasons = [], []
    for sample in track(samples, "looking for unreadable pictures"):
        try:
            sample.pixels()
        except DataError as error:
            reasons.append(str(error))
        else:
            kept.append(sample)
    if reasons and not skip:
        raise DataError(
            f"{len(reasons)} of {len(samples)} pictures cannot be read; mend or remove them, or go on without them by "
            "--skip-unreadable:\n  " + "\n  ".join(reasons)
        )
    if reasons:
        log.warning("%d of %d pictures are skipped:\n  %s", len(reasons), len(samples), "\n  ".join(reasons))
    return kept
