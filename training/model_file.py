"""A model on disk: one file, or beside it one with its weights where they exceed what protobuf holds."""

from __future__ import annotations

from pathlib import Path

import onnx

LARGEST_FILE = 1_900_000_000  # bytes of weights; protobuf ends at 2 GiB


def save_model(model: onnx.ModelProto, file: Path) -> None:
    """Write the model over what is there, its weights as `file`.data if they are too large for one file."""
    beside = file.with_name(f"{file.name}.data")
    beside.unlink(missing_ok=True)  # the exporter's, or of a larger precision
    weights = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if weights <= LARGEST_FILE:
        onnx.save(model, file)
    else:
        onnx.save(model, file, save_as_external_data=True, all_tensors_to_one_file=True, location=beside.name)
