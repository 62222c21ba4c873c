"""One ONNX Runtime session: providers, contract of the tensors, buckets, warm-up."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import structlog

from .images import Pixels
from .model_format import INPUT, ModelFormatError, ModelMetadata, output_shape, parse_metadata
from .settings import Provider

Outputs = dict[str, npt.NDArray[np.float32]]

_PROVIDERS: dict[Provider, str] = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}

log = structlog.stdlib.get_logger(__name__)


class EngineError(RuntimeError):
    """The model cannot run on what this machine has; the message names the setting to change."""


@dataclass(frozen=True)
class EngineOptions:
    """What a session is built with."""

    providers: tuple[Provider, ...] = ("cpu",)
    require_cuda: bool = False
    device_id: int = 0
    intra_op_threads: int = 0
    max_batch_size: int = 8


class Engine:
    """A loaded model file. Not for several threads at once: the batcher's one thread runs it."""

    def __init__(self, path: Path, options: EngineOptions) -> None:
        """Load and check `path`; raises ModelFormatError for a bad file, EngineError if CUDA is required and absent."""
        try:
            with path.open("rb") as file:
                self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            self._session = _session(path, options)
        except EngineError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise ModelFormatError(f"{path}: cannot be loaded: {error}") from error
        self.provider = _provider_in_use(self._session, options)
        self.metadata = parse_metadata(self._session.get_modelmeta().custom_metadata_map, path)
        tiles = self.metadata.tiles
        # a batch costs its tiles, not its pictures
        self.buckets = buckets(options.max_batch_size if tiles is None else max(1, options.max_batch_size // tiles.count))
        _check_tensors(self._session, self.metadata, path)

    @property
    def max_batch_size(self) -> int:
        """Images that one run takes at most."""
        return self.buckets[-1]

    def run(self, images: Sequence[Pixels]) -> Outputs:
        """Compute 1 to max_batch_size images uint8 [H, W, 3] of the model's shape; each output is float32 [len(images), ...].

        The batch is padded with black pictures to the next bucket, because varying batch shapes leak device memory.
        """
        count = len(images)
        bucket = next(bucket for bucket in self.buckets if bucket >= count)
        batch = np.zeros((bucket, *self.metadata.input_shape, 3), dtype=np.uint8)
        for row, image in zip(batch, images, strict=False):
            row[...] = image
        names = self.metadata.outputs()
        return {name: value[:count] for name, value in zip(names, self._session.run(names, {INPUT: batch}), strict=True)}

    def warm_up(self) -> None:
        """Run every bucket once, so that no request pays for a first shape; raises ModelFormatError for wrong output shapes."""
        blank = np.zeros((*self.metadata.input_shape, 3), dtype=np.uint8)
        for bucket in self.buckets:
            for name, value in self.run([blank] * bucket).items():
                expected = (bucket, *output_shape(name))
                if value.shape != expected:
                    raise ModelFormatError(f"output '{name}' has shape {value.shape} for {bucket} images, not {expected}")


def buckets(max_batch_size: int) -> tuple[int, ...]:
    """Batch sizes that are computed: powers of two below `max_batch_size`, then itself."""
    return (*(2**power for power in range(math.ceil(math.log2(max_batch_size)))), max_batch_size)


def _session(path: Path, options: EngineOptions) -> Any:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.intra_op_threads
    available = ort.get_available_providers()
    on_device = {"device_id": options.device_id}
    providers = [
        (_PROVIDERS[provider], {} if provider == "cpu" else on_device)
        for provider in options.providers
        if _PROVIDERS[provider] in available
    ]
    return ort.InferenceSession(path, settings, providers=providers or [(_PROVIDERS["cpu"], {})])


def _provider_in_use(session: Any, options: EngineOptions) -> Provider:
    """The first provider of the session, which alone says what ONNX Runtime could really start."""
    names = {name: provider for provider, name in _PROVIDERS.items()}
    in_use = names[session.get_providers()[0]]
    if in_use == "cpu" and options.require_cuda:
        raise EngineError(
            "DUET_REQUIRE_CUDA is set, but ONNX Runtime could not start CUDA: check the driver and the `gpu` extra"
        )
    if in_use != options.providers[0]:
        log.warning("fallback: not running on the preferred provider", preferred=options.providers[0], provider=in_use)
    return in_use


def _check_tensors(session: Any, metadata: ModelMetadata, path: Path) -> None:
    """Names, types and shapes of the graph against the contract (design, section 4)."""
    expected_inputs = {INPUT: ("tensor(uint8)", (*metadata.input_shape, 3))}
    expected_outputs = {name: ("tensor(float)", output_shape(name)) for name in metadata.outputs()}
    for kind, tensors, expected in (
        ("inputs", session.get_inputs(), expected_inputs),
        ("outputs", session.get_outputs(), expected_outputs),
    ):
        found = {tensor.name: tensor for tensor in tensors}
        if found.keys() != expected.keys():
            raise ModelFormatError(f"{path}: {kind} are {sorted(found)}, not {sorted(expected)}: export the model again")
        for name, (type_, shape) in expected.items():
            tensor = found[name]
            if tensor.type != type_ or not _matches(tensor.shape, shape):
                raise ModelFormatError(f"{path}: '{name}' is {tensor.type} {tensor.shape}, not {type_} {['N', *shape]}")


def _matches(declared: list[int | str | None], shape: tuple[int, ...]) -> bool:
    """The batch must be dynamic; other dimensions may be symbolic, and warm-up then sees their real size."""
    if len(declared) != len(shape) + 1 or isinstance(declared[0], int):
        return False
    return all(not isinstance(dimension, int) or dimension == size for dimension, size in zip(declared[1:], shape, strict=True))
