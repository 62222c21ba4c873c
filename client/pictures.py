"""Whatever holds a picture to the bytes of a picture file."""

from __future__ import annotations

from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL.Image import Image

# A file's path, a file's bytes, pixels [H, W] or [H, W, 3] (uint8 RGB or grey, uint16 grey), or a Pillow image.
Picture: TypeAlias = Union[str, PathLike[str], bytes, "npt.NDArray[Any]", "Image"]

_COMPRESS_LEVEL = 1  # lossless at every level; higher ones cost more time than a local network does


def picture_bytes(picture: Picture) -> bytes:
    """The file to send: paths are read, bytes sent as they are, pixels become PNG.

    Raises OSError for a path that cannot be read, TypeError or ValueError for what is no picture.
    """
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, str | PathLike):
        return Path(picture).read_bytes()
    return _png(picture)


def _png(picture: npt.NDArray[Any] | Image) -> bytes:
    from PIL import Image  # only here: who sends files needs no Pillow

    if not isinstance(picture, Image.Image):
        picture = _image(picture)
    buffer = BytesIO()
    picture.save(buffer, "PNG", compress_level=_COMPRESS_LEVEL)
    return buffer.getvalue()


def _image(pixels: npt.NDArray[Any]) -> Image:
    import numpy as np
    from PIL import Image

    if not isinstance(pixels, np.ndarray):
        raise TypeError(f"a {type(pixels).__name__} is no picture: give a path, bytes, a numpy array or a Pillow image")
    grey = pixels.ndim == 2
    colour = pixels.ndim == 3 and pixels.shape[2] == 3
    if not (pixels.dtype == np.uint8 and (grey or colour)) and not (pixels.dtype == np.uint16 and grey):
        raise ValueError(
            f"an array {pixels.dtype} {list(pixels.shape)} is no picture: "
            "give uint8 [H, W, 3] (RGB), uint8 [H, W] or uint16 [H, W]"
        )
    return Image.fromarray(np.ascontiguousarray(pixels))
