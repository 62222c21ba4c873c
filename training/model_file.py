"""A model on disk: one file, or beside it one with its weights where they exceed what protobuf holds."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx.external_data_helper import load_external_data_for_model

LARGEST_FILE = 1_900_000_000  # bytes of weights; protobuf ends at 2 GiB


def save_model(model: onnx.ModelProto, file: Path) -> None:
    """Write the model over what is there, its weights as `file`.data if they are too large for one file."""
    beside = file.with_name(f"{file.name}.data")
    beside.unlink(missing_ok=True)  # the exporter's, or of a larger precision
    if weight_bytes(model) <= LARGEST_FILE:
        onnx.save(model, file)
    else:
        onnx.save(model, file, save_as_external_data=True, all_tensors_to_one_file=True, location=beside.name)
        load_external_data_for_model(model, str(file.parent))  # onnx has taken them out of the caller's


def weight_bytes(model: onnx.ModelProto) -> int:
    """Bytes of the model's weights in memory."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)
