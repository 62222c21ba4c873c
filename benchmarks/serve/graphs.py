"""The graphs that are served: the model that ships, and one of DINOv2-S's size with random weights, good for speed alone."""

from __future__ import annotations

import hashlib
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime

from service.model_format import (
    MODEL_FILE,
    Calibration,
    ModelMetadata,
    Parity,
    Sigmoid,
    TrainingData,
    parse_metadata,
    versions,
)

SHIPPED = Path(__file__).parents[2] / "models" / "demo"
WIDTH, INPUT_SIZE, ENCODER_DEPTH = 384, 224, 12
UNIT = Sigmoid(tau=0.5, sigma=0.1)


def write_model(graph: str, repository: Path) -> Path:
    """Write `demo` or `vit-s` into a repository of its own; the model file."""
    file = repository / graph / "1" / MODEL_FILE
    file.parent.mkdir(parents=True)
    if graph == "demo":
        newest = max(versions(SHIPPED.parent, SHIPPED.name))
        shutil.copyfile(SHIPPED / str(newest) / MODEL_FILE, file)
    else:
        write_random(graph, file, WIDTH, INPUT_SIZE)
    return file


def write_rounded(exact: Path, repository: Path, precision: Literal["int8", "fp16"]) -> Path:
    """Write a copy that computes in this precision, int8 by the ranges of noise: good for speed alone; the model file."""
    from training.export import write_metadata  # torch, as below
    from training.half_precision import to_half
    from training.int8 import to_int8
    from training.stored_weights import restore

    session = onnxruntime.InferenceSession(exact, providers=["CPUExecutionProvider"])
    metadata = parse_metadata(session.get_modelmeta().custom_metadata_map, exact)
    model = onnx.load(exact)
    restore(model)
    noise = np.random.default_rng(0).integers(0, 256, (8, *metadata.input_shape, 3), dtype=np.uint8)
    rounded = to_half(model) if precision == "fp16" else to_int8(model, noise, len(noise))
    write_metadata(rounded, metadata.model_copy(update={"precision": precision}))
    file = repository / exact.parents[1].name / "1" / MODEL_FILE
    file.parent.mkdir(parents=True)
    onnx.save(rounded, file)
    return file


def write_random(name: str, file: Path, width: int, input_size: int, encoder_depth: int = ENCODER_DEPTH) -> None:
    """Write a model of three networks of this width that nobody has trained; the teacher has 12 blocks."""
    from benchmarks.merged_graph import (  # torch takes seconds to import, and not every graph needs it
        random_graph,
        random_teacher,
    )
    from training.export import write_metadata
    from training.onnx_graph import write_graph

    graph = random_graph(random_teacher(width, input_size), encoder_depth)
    write_graph(graph, (input_size, input_size), file)
    metadata = ModelMetadata(
        name=name,
        teacher=graph.raw.teacher.info,
        branches=graph.raw.branches,
        input_size=input_size,
        calibration=Calibration(local=UNIT, semantic=UNIT, pixel=UNIT, images=1),
        threshold=0.5,
        alpha=0.01,
        training_data=TrainingData(layout="none", normal=("noise",), images=1, fingerprint=hashlib.sha256(b"").hexdigest()),
        metrics={},
        parity=Parity(max_abs_difference=0, batch_sizes=(1,)),
        created=datetime.now(UTC),
        licence="Apache-2.0",
    )
    model = onnx.load(file)
    write_metadata(model, metadata)
    onnx.save(model, file)
