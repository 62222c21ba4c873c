"""One model file on one device: contract of the tensors, buckets, warm-up."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .buffers import Buffers, Outputs
from .cores import usable_cores
from .images import Pixels
from .model_format import INPUT, ModelFormatError, ModelMetadata, output_shape, parse_metadata
from .providers import GPU, EngineError, EngineOptions, open_session
from .session import Session, TensorType
from .settings import LARGEST_BATCH

_SAME = 0.1  # relative above 1: two runs in half precision differ by far less, another picture's joint score by far more


class Engine:
    """A loaded model file. Not for several threads at once: one thread of the batcher runs it."""

    def __init__(self, path: Path, options: EngineOptions, device_id: int = 0) -> None:
        """Load and check `path`; raises ModelFormatError for a bad file, EngineError if CUDA is required and absent."""
        try:
            found = path.stat()
            with path.open("rb") as file:
                self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            self._session = open_session(path, options, device_id)
            replaced = _identity(path.stat()) != _identity(found)
        except (EngineError, ModelFormatError):
            raise
        except Exception as error:  # the run times' exceptions share no base class
            raise ModelFormatError(f"{path}: cannot be loaded: {error}") from error
        if replaced:
            raise ModelFormatError(f"{path}: was written to while it was read: write beside it, then rename, and load it again")
        self.provider = self._session.provider
        self.metadata = parse_metadata(self._session.properties, path)
        # on a CPU a batch takes as long as its pictures: more than keep the cores busy would only wait for each other
        best = min(LARGEST_BATCH, max(2, usable_cores())) if self._session.bind is None else LARGEST_BATCH
        largest, tiles = options.max_batch_size or best, self.metadata.tiles
        # a batch costs its tiles, not its pictures
        self.buckets = buckets(largest if tiles is None else max(1, largest // tiles.count))
        _check_tensors(self._session, self.metadata, path)
        self._buffers: dict[int, Buffers] = {}

    def beside(self) -> Engine:
        """An engine of the same session, for another thread."""
        other = copy.copy(self)
        other._buffers = {}
        return other

    @property
    def at_once(self) -> int:
        """Engines that this session serves best."""
        return self._session.at_once

    @property
    def max_batch_size(self) -> int:
        """Images that one run takes at most."""
        return self.buckets[-1]

    def run(self, images: Sequence[Pixels]) -> Outputs:
        """Compute 1 to max_batch_size images uint8 [H, W, 3] of the model's shape; each output is float32 [len(images), ...].

        A GPU's batch is padded to the next bucket, because varying batch shapes leak device memory (onnxruntime#24376).
        """
        bind = self._session.bind
        if bind is None:
            return dict(self._session.compute(np.stack(images)))
        bucket = next(bucket for bucket in self.buckets if bucket >= len(images))
        if bucket not in self._buffers:
            shapes = {name: output_shape(name) for name in self.metadata.outputs()}
            self._buffers[bucket] = bind(bucket, self.metadata.input_shape, shapes)
        return self._buffers[bucket].run(images)

    def warm_up(self) -> None:
        """Run every bucket once, so that no request pays for a first shape; raises ModelFormatError for wrong output shapes.

        Raises EngineError where memory that is bound gives other scores than memory that is not: such an engine would answer
        something all day, and nobody would notice.
        """
        if self._session.bind is None:
            self._check([self._blank()] * min(2, self.max_batch_size))  # enough to see it; `fill` runs the largest
            return
        rng = np.random.default_rng(0)
        for bucket in self.buckets:
            pictures = list(rng.integers(0, 256, (bucket, *self.metadata.input_shape, 3), dtype=np.uint8))
            expected = self._check(pictures)  # unbound: what is bound has the promised shapes, whatever the graph computes
            for name, values in self.run(pictures).items():
                if not np.allclose(values, expected[name], rtol=_SAME, atol=_SAME, equal_nan=True):
                    raise EngineError(
                        f"{self.provider} computes another {name} in memory that is bound than in memory that is not: set "
                        "DUET_PROVIDERS=cpu, and report this"
                    )

    def fill(self) -> None:
        """Compute as many black pictures as one run takes."""
        self.run([self._blank()] * self.max_batch_size)

    def probe(self) -> None:
        """Compute one black picture; raises whatever keeps the engine from it."""
        self.run([self._blank()])

    def _check(self, pictures: list[Pixels]) -> Mapping[str, npt.NDArray[Any]]:
        outputs = self._session.compute(np.stack(pictures))
        for name, value in outputs.items():
            expected = (len(pictures), *output_shape(name))
            if value.shape != expected:
                raise ModelFormatError(f"output '{name}' has shape {value.shape} for {len(pictures)} images, not {expected}")
        return outputs

    def _blank(self) -> Pixels:
        return np.zeros((*self.metadata.input_shape, 3), dtype=np.uint8)


def load_engines(path: Path, options: EngineOptions) -> list[Engine]:
    """A warm engine for each device of `options`; on the CPU, for each batch that it computes best at the same time.

    Raises ModelFormatError or EngineError.
    """
    first, *others = options.device_ids
    engines = [Engine(path, options, first)]
    if engines[0].provider in GPU:
        engines += [Engine(path, options, device) for device in others]
    for device, engine in zip(options.device_ids, engines, strict=False):
        if engine.provider != engines[0].provider:
            raise EngineError(f"device {device} (DUET_DEVICE_ID) does not start, while device {first} does: take it out")
    try:
        for engine in engines:
            engine.warm_up()
        return _filled(engines[0]) + engines[1:]
    except (EngineError, ModelFormatError):
        raise
    except Exception as error:  # the run times' exceptions share no base class
        raise ModelFormatError(f"{path}: cannot compute a picture: {error}") from error


def _filled(engine: Engine) -> list[Engine]:
    """It and the others that its session serves, after the largest batch on all at once: what memory that takes is taken now,
    so that a machine without it shows at the start and not at the first burst."""
    engines = [engine, *(engine.beside() for _ in range(engine.at_once - 1))]
    with ThreadPoolExecutor(len(engines)) as pool:
        list(pool.map(Engine.fill, engines))
    return engines


def buckets(max_batch_size: int) -> tuple[int, ...]:
    """Batch sizes that are computed: powers of two below `max_batch_size`, then itself."""
    return (*(2**power for power in range(math.ceil(math.log2(max_batch_size)))), max_batch_size)


def _identity(stat: Any) -> tuple[int, int, int]:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _check_tensors(session: Session, metadata: ModelMetadata, path: Path) -> None:
    """Names, types and shapes of the graph against the contract (design, section 4)."""
    expected_inputs = {INPUT: TensorType("uint8", (None, *metadata.input_shape, 3))}
    expected_outputs = {name: TensorType("float32", (None, *output_shape(name))) for name in metadata.outputs()}
    for kind, found, expected in (
        ("inputs", session.inputs, expected_inputs),
        ("outputs", session.outputs, expected_outputs),
    ):
        if found.keys() != expected.keys():
            raise ModelFormatError(f"{path}: {kind} are {sorted(found)}, not {sorted(expected)}: export the model again")
        for name, wanted in expected.items():
            if not _matches(found[name], wanted):
                raise ModelFormatError(f"{path}: '{name}' is {found[name]}, not {wanted}")


def _matches(declared: TensorType, wanted: TensorType) -> bool:
    """The batch must be dynamic; other dimensions may be symbolic, and warm-up then sees their real size."""
    if declared.element != wanted.element or len(declared.shape) != len(wanted.shape) or declared.shape[0] is not None:
        return False
    return all(size in (None, other) for size, other in zip(declared.shape, wanted.shape, strict=True))
