"""A finished model file, or run, calibrated anew on another line's good pictures: nothing is trained."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from service.model_format import MODEL_FILE, Calibration, Sigmoid, parse_metadata

from .calibrate import calibrate_run, calibration_of
from .card import write_card
from .data import GOOD, Sample
from .errors import TrainingError
from .export import publish, write_metadata
from .good_scores import HeldOutScores
from .model_constants import set_calibration
from .model_file import save_model
from .progress import Progress
from .run_folder import RunCalibration, RunFolder, decode_pictures
from .scorers import OnnxScorer
from .seen_pictures import HELD_OUT, SEEN, TRAINING, read_seen, refuse_seen, replace_seen


def recalibrate(file: Path, samples: Sequence[Sample], alpha: float | None = None) -> tuple[Path, RunCalibration]:
    """Calibrate the model file `models/NAME/VERSION/model.onnx` on good samples, as the next version of NAME.

    `alpha` None keeps the model's own.

    Its card lies beside it. Returns its file and what was found. Metrics measured before are left out: they were another
    threshold's. Raises TrainingError without good samples, for a file that is no exported model or does not lie in a model
    repository, and for one exported before its calibration could be changed.
    """
    scorer = OnnxScorer(file)
    model = onnx.load(file)
    metadata = parse_metadata({p.key: p.value for p in model.metadata_props}, file)
    folder = file.resolve().parent.parent
    if folder.name != metadata.name or not file.resolve().parent.name.isdecimal():
        raise TrainingError(f"{file} does not lie in a model repository: expected MODELS/{metadata.name}/VERSION/{MODEL_FILE}")
    alpha = metadata.alpha if alpha is None else alpha
    good = _unlearned(samples, scorer.seen)
    outcome = calibration_of(_scores(scorer, good), alpha)
    set_calibration(model, outcome.calibration, file)
    described = metadata.model_copy(
        update={
            "calibration": outcome.calibration, "threshold": outcome.threshold, "alpha": alpha, "metrics": {},
            "created": datetime.now(UTC).replace(microsecond=0),
        }
    )  # fmt: skip
    write_metadata(model, described)
    with tempfile.TemporaryDirectory(prefix="duet-calibrate-") as scratch:
        changed = Path(scratch) / MODEL_FILE
        if (seen := file.with_name(SEEN)).exists():
            shutil.copyfile(seen, changed.with_name(SEEN))
            replace_seen(changed.with_name(SEEN), HELD_OUT, good)
        write_card(changed.parent, described, int(file.resolve().parent.name), outcome, {})
        save_model(model, changed)
        _check(changed, outcome.calibration, good[0])
        return publish(Path(scratch), folder.parent, metadata.name), outcome


def recalibrate_run(run: RunFolder, samples: Sequence[Sample], alpha: float | None = None) -> RunCalibration:
    """Calibrate a finished run on good samples, which take the place of the pictures that it held out.

    `alpha` None keeps the run's own.

    Raises TrainingError without good samples and for a run of folds, of which each has held pictures out; then the run stays as
    it was.
    """
    if run.description().settings.folds:
        raise TrainingError(f"{run.path} is calibrated on its folds: export it, and calibrate that model.onnx")
    good = _unlearned(samples, read_seen(run.seen_file))
    with tempfile.TemporaryDirectory(prefix=".calibrate-", dir=run.path) as scratch:
        trial = RunFolder(run.path)
        trial.held_out_file, trial.calibration_file = (Path(scratch) / name for name in ("held_out.npy", "calibration.json"))
        decode_pictures(good, run.description().settings.input_shape, trial.held_out_file, "decoding good pictures")
        outcome = calibrate_run(trial, run.alpha if alpha is None else alpha)
        replace_seen(run.seen_file, HELD_OUT, good)
        trial.held_out_file.replace(run.held_out_file)
        trial.calibration_file.replace(run.calibration_file)
    return outcome


def _unlearned(samples: Sequence[Sample], seen: Mapping[str, str]) -> list[Sample]:
    """The good ones; those it was calibrated on before may be used again, those it has learned look better than new ones."""
    good = [sample for sample in samples if sample.label == GOOD]
    if not good:
        raise TrainingError(f"none of {len(samples)} pictures is good: name a folder of good ones with --data")
    refuse_seen({key: part for key, part in seen.items() if part == TRAINING}, good)
    return good


def _scores(scorer: OnnxScorer, samples: Sequence[Sample]) -> HeldOutScores:
    found: dict[str, list[npt.NDArray[np.float32]]] = {}
    with Progress("scoring good pictures", len(samples)) as bar:
        for start in range(0, len(samples), scorer.at_once):
            chosen = samples[start : start + scorer.at_once]
            batch = [sample.model_input(scorer.input_shape) for sample in chosen]
            outputs = scorer.score(np.stack(batch))
            if "anomaly_map" in outputs:
                found.setdefault("map_maximum", []).append(outputs["anomaly_map"].max(axis=(1, 2)))
            for name in ("local_score", "semantic_score"):
                if name in outputs:
                    found.setdefault(name, []).append(outputs[name])
            for _ in batch:
                bar.advance()
    joined = {name: np.concatenate(parts).astype(np.float64) for name, parts in found.items()}
    return HeldOutScores(joined.get("local_score"), joined.get("semantic_score"), joined.get("map_maximum"))


def _check(file: Path, calibration: Calibration, sample: Sample) -> None:
    """The file scores as its metadata says, on one picture; TrainingError if not."""
    scorer = OnnxScorer(file)
    outputs = scorer.score(sample.model_input(scorer.input_shape)[None])
    branches: Mapping[str, Sigmoid | None] = {"local": calibration.local, "semantic": calibration.semantic}
    for branch, sigmoid in branches.items():
        if sigmoid is not None:
            logit = (float(outputs[f"{branch}_score"][0]) - sigmoid.tau) / sigmoid.sigma
            expected, found = 1 / (1 + np.exp(-np.clip(logit, -80, 80))), float(outputs[f"{branch}_probability"][0])
            if not abs(expected - found) <= 1e-4:
                raise TrainingError(f"not written: {branch} probability is {found:g}, and its calibration says {expected:g}")
