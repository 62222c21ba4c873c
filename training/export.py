"""Export: one merged ONNX graph with its metadata, checked against torch before anything is written."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from pydantic import TypeAdapter, ValidationError

from service.model_format import (
    INPUT,
    METADATA_KEY,
    MODEL_FILE,
    VERSION,
    Branch,
    ModelMetadata,
    ModelName,
    Parity,
    Precision,
)

from .calibrate import branch_calibration
from .card import write_card
from .errors import TrainingError
from .graph import CalibratedGraph
from .model_file import save_model
from .onnx_graph import write_graph
from .report import METRICS_FILE, PICTURES
from .rounded_export import quantise, round_to_half
from .run_folder import RunFolder
from .stored_weights import store_half

log = logging.getLogger(__name__)

PARITY_BATCHES = (1, 2, 5)
PARITY_TOLERANCE = 1e-4
LICENCE = "Apache-2.0"


def export_run(
    run: RunFolder,
    name: str,
    models: Path,
    branches: Sequence[Branch] = ("local", "semantic"),
    report: Path | None = None,
    precision: Precision = "fp32",
) -> Path:
    """Export a finished, calibrated run as the next version of model `name` under `models`; returns the new model file.

    Its model card lies beside it. `report` is the folder of an evaluation: its figures go into metadata and card, its pictures
    into the card.

    Raises TrainingError where ONNX Runtime's scores in float32 differ from torch's by more than 1e-4 on held-out pictures at
    batch 1, 2 and 5, or rounding changes them too much (see rounded_export); nothing is written then.
    """
    try:
        TypeAdapter(ModelName).validate_python(name)  # before the work, not after it
    except ValidationError as error:
        raise TrainingError(
            f"name '{name}' cannot be a model's: use 1 to 64 letters, digits, '_', '.' and '-', the first a letter or digit"
        ) from error
    if report and (precision == "int8" or len(branches) == 1):
        what = "int8" if precision == "int8" else f"the branch '{branches[0]}' alone"
        raise TrainingError(
            f"the figures in {report} are not those of {what}: leave --report out, and run 'duet-train evaluate' on the file"
        )
    description = run.description()
    outcome = run.calibration() if len(branches) > 1 else branch_calibration(run, branches[0])
    metrics = read_metrics(report) if report else {}
    if report and metrics.get("threshold") != outcome.threshold:
        raise TrainingError(
            f"the figures in {report} were measured with another model or calibration than {run.path} has now: "
            f"run 'duet-train evaluate {run.path} --report {report}' again"
        )
    graph = CalibratedGraph(run.raw_graph(branches, outcome.levels), outcome.calibration).eval()
    with tempfile.TemporaryDirectory(prefix="duet-export-") as scratch:
        file = Path(scratch) / MODEL_FILE
        write_graph(graph, description.settings.input_shape, file)
        parity = check_parity(graph, file, run.held_out())
        if precision == "fp16":
            round_to_half(file, run)
        elif precision == "int8":
            outcome = quantise(file, run, outcome)
        metadata = ModelMetadata(
            name=name,
            teacher=graph.raw.teacher.info,
            branches=graph.raw.branches,
            input_size=description.settings.input_size,
            tiles=description.settings.tiles,
            precision=precision,
            calibration=outcome.calibration,
            threshold=outcome.threshold,
            alpha=outcome.alpha,
            training_data=description.training_data,
            metrics=metrics,
            parity=parity,
            created=datetime.now(UTC).replace(microsecond=0),
            licence=LICENCE,
        )
        model = onnx.load(file)
        store_half(model)
        write_metadata(model, metadata)
        save_model(model, file)
        pictures = {name: title for name, title in PICTURES.items() if report and (report / name).is_file()}
        for picture in pictures:
            shutil.copyfile(cast(Path, report) / picture, file.with_name(picture))
        if run.seen_file.exists():
            shutil.copyfile(run.seen_file, file.with_name(run.seen_file.name))
        write_card(file.parent, metadata, description, outcome, pictures)
        return publish(file.parent, models, name)


def check_parity(graph: CalibratedGraph, file: Path, pictures: npt.NDArray[np.uint8]) -> Parity:
    """Largest difference of any score between torch and ONNX Runtime on real pictures; TrainingError above the tolerance."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    worst = 0.0
    for size in PARITY_BATCHES:
        batch = np.array(pictures[np.arange(size) % len(pictures)])
        with torch.inference_mode():
            expected = {name: tensor.numpy() for name, tensor in graph(torch.from_numpy(batch)).items()}
        for name, found in zip(names, session.run(names, {INPUT: batch}), strict=True):
            # of what is larger than 1, the relative one: scores have no upper end
            difference = float((np.abs(expected[name] - found) / np.maximum(1, np.abs(expected[name]))).max())
            if not difference <= PARITY_TOLERANCE:
                raise TrainingError(
                    f"not exported: {name} from ONNX Runtime differs from torch by {difference:.2g} at batch {size}, over the "
                    f"tolerance {PARITY_TOLERANCE}"
                )
            worst = max(worst, difference)
    log.info("parity with torch: largest difference %.2g", worst)
    return Parity(max_abs_difference=worst, batch_sizes=PARITY_BATCHES)


def write_metadata(model: onnx.ModelProto, metadata: ModelMetadata) -> None:
    """Let the model say what it is; takes the place of what it said before."""
    onnx.helper.set_model_props(model, {METADATA_KEY: metadata.model_dump_json()})


def read_metrics(report: Path) -> dict[str, float]:
    """The figures of an evaluation's report; raises TrainingError for a folder without them."""
    file = report / METRICS_FILE
    try:
        return TypeAdapter(dict[str, float]).validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise TrainingError(f"{file} cannot be read as the figures of 'duet-train evaluate --report': {error}") from error


def publish(folder: Path, models: Path, name: str) -> Path:
    """Copy a finished model's folder into `models` as the next version of `name`, which appears whole or not at all."""
    (models / name).mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=".export-", dir=models / name))
    beside.chmod(0o755)
    try:
        for part in folder.iterdir():
            shutil.copyfile(part, beside / part.name)
        while True:
            version = models / name / str(_next_version(models / name))
            try:
                os.rename(beside, version)  # noqa: PTH104 - Path.rename says the same, but this one fails on a non-empty target
                return version / MODEL_FILE
            except OSError as error:
                if not version.exists():
                    raise TrainingError(f"cannot write {version}: {error.strerror}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _next_version(folder: Path) -> int:
    """After all that are there, not only those with a model file: one that somebody has emptied in part is no next version."""
    return 1 + max((int(path.name) for path in folder.iterdir() if VERSION.fullmatch(path.name)), default=0)
