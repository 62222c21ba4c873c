"""The official python version of CIFAR: pickled dicts of 32x32 RGB pictures, written by Python 2."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import DataError

# a pickle may run any code; these names are all that the official files need
ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}, which no CIFAR file needs")
        return super().find_class(module_name, global_name)


def read_batches(
    files: Sequence[Path], labels: str, classes: Sequence[str]
) -> tuple[npt.NDArray[np.uint8], list[str], list[str]]:
    """Pictures [N, 32, 32, 3], their classes by the labels of that name ("labels", "coarse_labels"), and file names, of all
    files joined.

    Raises DataError for a file that is missing, damaged, or no batch of this CIFAR.
    """
    pictures, categories, names = [], [], []
    for file in files:
        batch = _read(file)
        try:
            data = np.asarray(batch[b"data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
            numbers = [int(number) for number in batch[labels.encode()]]
            called = [bytes(name).decode() for name in batch[b"filenames"]]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{file} is no CIFAR batch: {error!r}; take the files of the official 'python version'") from error
        if not len(data) == len(numbers) == len(called):
            raise DataError(f"{file} is damaged: {len(data)} pictures, {len(numbers)} labels, {len(called)} names")
        if strange := set(numbers) - set(range(len(classes))):
            raise DataError(
                f"{file} has the label {min(strange)}, and there are {len(classes)} classes: it is of another data set"
            )
        pictures.append(data.transpose(0, 2, 3, 1))
        categories += [classes[number] for number in numbers]
        names += called
    return np.ascontiguousarray(np.concatenate(pictures)), categories, names


def _read(file: Path) -> Any:
    try:
        with file.open("rb") as stream:
            return _ArraysOnly(stream, encoding="bytes").load()
    except (OSError, EOFError, pickle.UnpicklingError, ValueError, IndexError, AttributeError) as error:
        raise DataError(f"{file} cannot be read as a CIFAR batch: {error}") from error
