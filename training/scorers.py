"""A finished model as something that scores pictures: a run through torch, or an exported file through ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from service.model_format import INPUT, Calibration, Shape, parse_metadata

from .errors import TrainingError
from .processes import scoring_device
from .run_folder import RunFolder
from .seen_pictures import SEEN, read_seen
from .tiling import pictures_at_once

Outputs = dict[str, npt.NDArray[np.float32]]


class PictureScorer(Protocol):
    """Anything that scores pictures."""

    input_shape: Shape
    at_once: int  # pictures that are best scored together

    def score(self, batch: npt.NDArray[np.uint8]) -> Outputs:
        """Pictures uint8 [N, H, W, 3] to output tensors named as in the model file (design, section 4)."""


class Scorer(PictureScorer, Protocol):
    """What evaluation needs of a model."""

    normal: tuple[str, ...]
    calibration: Calibration
    threshold: float
    held_out: tuple[float, ...]  # joint scores of the pictures it was calibrated on; a file does not keep them
    seen: Mapping[str, str]  # pictures that it was made with (see seen_pictures.py), likewise


class RunScorer:
    """A finished, calibrated run, through torch in float32."""

    def __init__(self, run: RunFolder) -> None:
        description, outcome = run.description(), run.calibration()
        self.input_shape = description.settings.input_shape
        self.at_once = pictures_at_once(description.settings.tiles)
        self.normal = description.training_data.normal
        self.calibration, self.threshold, self.held_out = outcome.calibration, outcome.threshold, outcome.joint_scores
        self.seen: Mapping[str, str] = read_seen(run.seen_file)
        self._device = scoring_device()
        self._graph = run.calibrated_graph().to(self._device)

    @torch.inference_mode()
    def score(self, batch: npt.NDArray[np.uint8]) -> Outputs:
        outputs = self._graph(torch.tensor(batch, device=self._device))
        return {name: tensor.cpu().numpy() for name, tensor in outputs.items()}


class OnnxScorer:
    """An exported model file, through ONNX Runtime, as the service runs it."""

    def __init__(self, file: Path) -> None:
        cuda = ("CUDAExecutionProvider", {"use_tf32": "0"})  # as the service has it: whole float32
        providers = [cuda] if cuda[0] in onnxruntime.get_available_providers() else []
        try:
            self._session = onnxruntime.InferenceSession(str(file), providers=[*providers, "CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise TrainingError(f"{file} cannot be loaded: {error}") from error
        metadata = parse_metadata(self._session.get_modelmeta().custom_metadata_map, file)
        self.input_shape, self.at_once = metadata.input_shape, pictures_at_once(metadata.tiles)
        self.normal = metadata.training_data.normal
        self.calibration, self.threshold = metadata.calibration, metadata.threshold
        self.held_out: tuple[float, ...] = ()
        self.seen: Mapping[str, str] = read_seen(file.with_name(SEEN))
        self._names = list(metadata.outputs())

    def score(self, batch: npt.NDArray[np.uint8]) -> Outputs:
        return dict(zip(self._names, self._session.run(self._names, {INPUT: batch}), strict=True))


def open_scorer(model: Path) -> Scorer:
    """A run's folder or an exported file; raises TrainingError for anything else."""
    if model.is_dir():
        return RunScorer(RunFolder(model))
    if model.suffix == ".onnx" and model.is_file():
        return OnnxScorer(model)
    raise TrainingError(f"{model} is neither a run's folder nor a model.onnx")
