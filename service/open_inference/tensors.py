"""Values of tensors: JSON lists or little-endian, row-major bytes. Only the data types of Duet's models: UINT8, BYTES, FP32."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BadTensorError
from ..images import Pixels

_LENGTH = struct.Struct("<I")  # before each element of BYTES


def uint8_from_binary(name: str, shape: tuple[int, ...], binary: memoryview) -> Pixels:
    """A view of `binary` as uint8 of this shape; raises BadTensorError for another number of bytes."""
    size = math.prod(shape)
    if len(binary) != size:
        raise BadTensorError(f"input '{name}' has {len(binary)} bytes, but its shape {list(shape)} takes {size}")
    return np.frombuffer(binary, dtype=np.uint8).reshape(shape)


def uint8_from_json(name: str, shape: tuple[int, ...], data: list[Any]) -> Pixels:
    """A JSON list, flat or nested as `shape` is, as uint8; raises BadTensorError for other nesting, counts or values."""
    try:
        values = np.array(data, dtype=object)
        if values.shape not in (shape, (math.prod(shape),)):
            raise BadTensorError(
                f"data of input '{name}' is no list of {math.prod(shape)} values, flat or nested as its shape {list(shape)}"
            )
        flat = values.ravel().tolist()
        if set(map(type, flat)) != {int}:
            raise BadTensorError(f"data of input '{name}' must be whole numbers alone")
        return np.frombuffer(bytes(flat), dtype=np.uint8).reshape(shape)
    except ValueError as error:  # nested beyond what an array can be, or a number that is no byte
        raise BadTensorError(f"data of input '{name}' must be numbers from 0 to 255, in a list as its shape says") from error


def bytes_from_binary(name: str, count: int, binary: memoryview) -> list[memoryview]:
    """Views of `count` elements of BYTES, each behind its length; raises BadTensorError where these do not add up."""
    elements = []
    position = 0
    for index in range(count):
        start = position + _LENGTH.size
        if start > len(binary):
            raise BadTensorError(
                f"input '{name}' ends before element {index} of {count}: each is a uint32 length and its bytes"
            )
        (length,) = _LENGTH.unpack_from(binary, position)
        position = start + length
        if position > len(binary):
            raise BadTensorError(
                f"element {index} of input '{name}' says that it has {length} bytes, but {len(binary) - start} follow"
            )
        elements.append(binary[start:position])
    if position != len(binary):
        raise BadTensorError(f"{len(binary) - position} bytes follow the last of {count} elements of input '{name}'")
    return elements


def fp32_rows(rows: list[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
    """Rows of a tensor whose buffers, one after the other, are its binary data."""
    return [np.asarray(row, dtype="<f4", order="C") for row in rows]


def fp32_json(rows: list[npt.NDArray[np.float32]]) -> list[float]:
    """Rows of a tensor as one flat list, in double precision that reads back as the same float32."""
    values: list[float] = np.concatenate([np.ravel(row) for row in rows]).tolist()
    return values
