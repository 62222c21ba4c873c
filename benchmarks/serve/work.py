"""What a request costs whatever serves it: decode and resize, inference, heatmap and JSON. All by Duet's own functions.

So the peers have Duet's fast decoding and heatmaps as well, and differ from it in how they serve alone.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from service.heatmap import encode_map, pixel_probability
from service.images import Pixels, read_picture
from service.model_format import INPUT, parse_metadata

MODEL, PORT, BATCH, CUDA = "BENCH_MODEL", "BENCH_PORT", "BENCH_BATCH", "BENCH_CUDA"  # the environment of a peer
MAX_PIXELS = 50_000_000

Row = dict[str, npt.NDArray[np.float32]]


class Work:
    """The stages of a request on one model file."""

    def __init__(self, model: Path, cuda: bool, threads: int = 0) -> None:
        """`threads` of one inference; 0 leaves ONNX Runtime its default, every core. On CUDA in whole float32, as Duet does."""
        providers: list[Any] = [("CUDAExecutionProvider", {"use_tf32": "0"})] if cuda else ["CPUExecutionProvider"]
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        if cuda:
            onnxruntime.preload_dlls()  # CUDA and cuDNN as pip installs them
        self._session: Any = onnxruntime.InferenceSession(str(model), settings, providers=providers)
        if cuda and self._session.get_providers()[0] != "CUDAExecutionProvider":
            raise RuntimeError("CUDA does not start: the limit and the peers would run on the CPU")
        metadata = parse_metadata(self._session.get_modelmeta().custom_metadata_map, model)
        if metadata.calibration.pixel is None:
            raise RuntimeError(f"{model} has no heatmap: the benchmark needs one")
        self.shape, self._pixel = metadata.input_shape, metadata.calibration.pixel
        self._names = [output.name for output in self._session.get_outputs()]

    def decode(self, picture: bytes) -> Pixels:
        """Encoded picture to model input, uint8 [H, W, 3]."""
        return read_picture(picture, MAX_PIXELS, self.shape).resized(self.shape)

    def infer(self, inputs: Sequence[Pixels]) -> list[Row]:
        """One batch; the outputs of each picture, without the batch dimension."""
        outputs = self._session.run(self._names, {INPUT: np.stack(inputs)})
        return [dict(zip(self._names, rows, strict=True)) for rows in zip(*outputs, strict=True)]

    def answer(self, row: Row) -> bytes:
        """The heatmap and the scores of one picture as JSON."""
        png = encode_map(pixel_probability(row["anomaly_map"], self._pixel))
        scores = {name: float(value) for name, value in row.items() if name != "anomaly_map"}
        return json.dumps({"scores": scores, "heatmap": base64.b64encode(png).decode()}).encode()


def work(computes: bool = True) -> Work:
    """The work that the environment describes; what only decodes or answers needs no place on the GPU."""
    return Work(Path(os.environ[MODEL]), computes and os.environ[CUDA] == "1")


def batch_size() -> int:
    """Pictures that a peer computes together at most."""
    return int(os.environ[BATCH])


def port() -> int:
    """Where a peer listens, on 127.0.0.1."""
    return int(os.environ[PORT])
