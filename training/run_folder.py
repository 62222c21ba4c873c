"""A run's folder: what `fit` writes and `calibrate`, `export` and `evaluate` read.

run.json          settings, teacher and training data, written once at the start
pictures.csv      which pictures went into which part of the run
training.npy      the training pictures at the model's input size, uint8 [M, H, W, 3]: each is decoded once
held_out.npy      the good pictures set apart for calibration, likewise
defects.npy       labelled defects, likewise, if there are any
masks.npy         uint8 [K, H, W], 1 where each is defective; nowhere if nobody marked it
checkpoint.pt     both students, optimisers and step
whitening.pt      of the finished encoder student's residuals
folds/            the runs of a cross-fitted calibration
tensorboard/      each branch's loss at every step
.lock             held by the process that trains the run
calibration.json  calibration, threshold, alpha and levels of the classes
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.images import Pixels
from service.model_format import Branch, Calibration, Probability, Shape, TrainingData

from .class_levels import ClassLevels
from .data.sample import Sample
from .errors import TrainingError
from .files import write_beside
from .fit_settings import FitSettings
from .graph import CalibratedGraph, RawGraph
from .progress import track
from .seen_pictures import SEEN
from .students import DecoderStudent, EncoderStudent
from .teacher import Teacher, load_teacher
from .tiled_graph import TiledGraph
from .whitening import Whitening

log = logging.getLogger(__name__)
Model = TypeVar("Model", bound=BaseModel)

DARK = 16  # of 255: the range of 12 bits that nobody shifted up in a 16-bit file
LIT = 0.001  # share of values above it that resizing alone may make


class RunDescription(BaseModel):
    """run.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: FitSettings
    teacher_sha256: str
    training_data: TrainingData
    class_counts: tuple[int, ...] = Field(description="training pictures of each normal class, as they lie in training.npy")


class RunCalibration(BaseModel):
    """calibration.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    calibration: Calibration
    threshold: Probability
    alpha: float
    levels: ClassLevels | None = Field(default=None, description="of a model of several classes")
    part_levels: tuple[ClassLevels, ...] = Field(
        default=(), description="by which each part of the good pictures was scored: those of all other parts"
    )

    @model_validator(mode="before")
    @classmethod
    def _older(cls, values: Any) -> Any:
        """Calibrations of earlier versions, where all were scored by the levels of all."""
        levels = values.get("levels") if isinstance(values, dict) else None
        return {"part_levels": (levels,)} | values if levels else values

    joint_scores: tuple[float, ...] = Field(default=(), description="of the good pictures it was calibrated on, ascending")


class RunFolder:
    """Paths and typed contents of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.description_file = path / "run.json"
        self.seen_file = path / SEEN
        self.training_file = path / "training.npy"
        self.held_out_file = path / "held_out.npy"
        self.defects_file = path / "defects.npy"
        self.masks_file = path / "masks.npy"
        self.checkpoint_file = path / "checkpoint.pt"
        self.whitening_file = path / "whitening.pt"
        self.curves_folder = path / "tensorboard"
        self.calibration_file = path / "calibration.json"

    def description(self) -> RunDescription:
        """Raises TrainingError when the folder is no run."""
        return _read(self.description_file, RunDescription, "start one with 'duet-train fit'")

    def calibration(self) -> RunCalibration:
        """Raises TrainingError when the run is not calibrated."""
        return _read(self.calibration_file, RunCalibration, f"finish the run, or 'duet-train calibrate {self.path}'")

    @property
    def alpha(self) -> float:
        """Of the last calibration, or what the run was started with."""
        return self.calibration().alpha if self.calibration_file.exists() else self.description().settings.alpha

    def training(self) -> npt.NDArray[np.uint8]:
        """The training pictures [M, H, W, 3], mapped from disk."""
        if self.held_out_file.exists() and not self.training_file.exists():
            raise TrainingError(
                f"{self.training_file} is missing: 'duet-train benchmark' removes it from what it has measured; train this "
                "model by itself with 'duet-train fit'"
            )
        return _map(self.training_file)

    def held_out(self) -> npt.NDArray[np.uint8]:
        """The held-out good pictures [M, H, W, 3], mapped from disk."""
        return _map(self.held_out_file)

    def defects(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]] | None:
        """Labelled defects [K, H, W, 3] and their masks of 0 and 1 [K, H, W], mapped from disk, if there are any."""
        if not self.description().training_data.defects:
            return None
        return _map(self.defects_file), _map(self.masks_file)

    def trained(self) -> tuple[Teacher, DecoderStudent, EncoderStudent]:
        """The teacher and both trained students, whose weights are rounded to half precision; in evaluation mode.

        Raises TrainingError when the run is not finished.
        """
        description = self.description()
        if not self.checkpoint_file.is_file():
            raise TrainingError(f"{self.checkpoint_file} is missing: the run was stopped early; go on with 'fit --resume'")
        state = load_state(self.checkpoint_file, "cpu")
        steps = description.settings.steps
        if state["step"] < steps:
            raise TrainingError(f"{self.path} stands at step {state['step']} of {steps}: go on with 'duet-train fit --resume'")
        teacher, decoder, encoder = self.untrained()
        decoder.load_state_dict(state["decoder"])
        encoder.load_state_dict(state["encoder"])
        # as the model file stores them, so that both score alike
        for parameter in (*decoder.parameters(), *encoder.parameters()):
            parameter.data = parameter.data.half().float()
        return teacher, decoder.eval(), encoder.eval()

    def untrained(self) -> tuple[Teacher, DecoderStudent, EncoderStudent]:
        """The run's teacher with fresh students; raises TrainingError where the teacher's weights have changed since."""
        description = self.description()
        teacher, decoder, encoder = new_networks(description.settings)
        if teacher.info.sha256 != description.teacher_sha256:
            raise TrainingError(
                f"teacher '{description.settings.teacher}' is no longer the one that {self.path} was trained with"
            )
        return teacher, decoder, encoder

    def raw_graph(self, branches: Sequence[Branch] = ("local", "semantic"), levels: ClassLevels | None = None) -> RawGraph:
        """The trained students with their teacher; in evaluation mode. Raises TrainingError when the run is not finished."""
        teacher, decoder, encoder = self.trained()
        semantic = (encoder, self._whitening(encoder, teacher)) if "semantic" in branches else None
        parts = teacher, decoder if "local" in branches else None, semantic, levels
        tiles = self.description().settings.tiles
        reach = self.description().settings.smoothing_reach
        return (RawGraph(*parts, reach) if tiles is None else TiledGraph(*parts, reach, tiles)).eval()

    def _whitening(self, encoder: EncoderStudent, teacher: Teacher) -> Whitening:
        if not self.whitening_file.is_file():
            raise TrainingError(f"{self.whitening_file} is missing: the run was stopped early; go on with 'fit --resume'")
        whitening = Whitening(encoder.taught * teacher.dim)
        whitening.load_state_dict(load_state(self.whitening_file, "cpu"))
        return whitening

    def calibrated_graph(self) -> CalibratedGraph:
        """The model of a finished and calibrated run."""
        outcome = self.calibration()
        return CalibratedGraph(self.raw_graph(levels=outcome.levels), outcome.calibration).eval()


def new_networks(settings: FitSettings) -> tuple[Teacher, DecoderStudent, EncoderStudent]:
    """Teacher and fresh students by the settings."""
    teacher = load_teacher(settings.teacher, settings.input_size)
    depth = teacher.depth if settings.encoder_depth == "full" else settings.encoder_depth or teacher.depth // 2
    if settings.taught_blocks > min(depth, teacher.depth):
        raise TrainingError(f"taught_blocks is {settings.taught_blocks}, but the encoder student has {depth} blocks")
    return teacher, DecoderStudent(teacher, settings.dropout), EncoderStudent(teacher, depth, settings.taught_blocks)


def decode_pictures(samples: Sequence[Sample], shape: Shape, file: Path, title: str) -> None:
    """Decode and resize every sample once into `file`, uint8 [M, height, width, 3]."""
    dark: list[str] = []

    def inputs() -> Iterator[Pixels]:
        for sample in track(samples, title):
            pixels = sample.model_input(shape)
            if np.count_nonzero(pixels >= DARK) < LIT * pixels.size:
                dark.append(sample.name)
            yield pixels

    store_pictures(inputs(), (len(samples), *shape, 3), file)
    if dark:
        log.warning(
            "%d of %d pictures are nearly black, such as %s: next to nothing in them is above %d of 255. Of 16-bit files the "
            "upper 8 bits are read: a camera's 10 or 12 bits have to be shifted up",
            len(dark), len(samples), dark[0], DARK - 1,
        )  # fmt: skip


def store_pictures(pictures: Iterable[Pixels], shape: tuple[int, ...], file: Path) -> None:
    """Write pictures (or masks) uint8 as one array of `shape`, [M, ...], into `file`; one at a time is in memory."""

    def write(path: Path) -> None:
        # opened as a file: NumPy would add .npy to a temporary name
        with path.open("wb") as stream:
            np.lib.format.write_array_header_2_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for picture in pictures:
                stream.write(np.ascontiguousarray(picture).tobytes())

    write_beside(file, write)


def load_state(file: Path, device: str | torch.device) -> dict[str, Any]:
    """What torch saved; raises TrainingError for a damaged file."""
    try:
        state: dict[str, Any] = torch.load(file, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, UnpicklingError) as error:
        raise TrainingError(f"{file} is damaged: start the run anew with 'duet-train fit'") from error
    return state


def _map(file: Path) -> npt.NDArray[np.uint8]:
    try:
        pictures: npt.NDArray[np.uint8] = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise TrainingError(f"{file} is missing: the run is not complete; start it anew with 'duet-train fit'") from error
    except ValueError as error:
        raise TrainingError(f"{file} is damaged ({error}): start the run anew with 'duet-train fit'") from error
    return pictures


def _read(file: Path, model: type[Model], remedy: str) -> Model:
    try:
        return model.model_validate_json(file.read_bytes())
    except FileNotFoundError as error:
        raise TrainingError(f"{file} does not exist: {remedy}") from error
    except ValidationError as error:
        raise TrainingError(f"{file} is damaged or from another version: {error}") from error
