"""What can compute a model on the CPU, how fast, and what it does to the scores.

    python -m benchmarks.cpu_path speed models/demo/1/model.onnx --good runs/parts
    python -m benchmarks.cpu_path speed --width 384 --input-size 224 --encoder-depth 12
    python -m benchmarks.cpu_path scores models/gear/1/model.onnx models/gear/2/model.onnx --data runs/parts --layout mvtec

`speed` times ONNX Runtime and OpenVINO in float32, bfloat16 (where the CPU has it) and int8, in turns, against ONNX Runtime's
float32 of the same turn. `scores` measures model files in all that can compute them, on a labelled test split. bfloat16 is
emulated where the CPU has none: every float tensor is rounded after each operator, which is a little more than OpenVINO rounds.
"""

from __future__ import annotations

import json
import platform
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import onnx
import typer
from onnx import TensorProto
from rich.console import Console
from rich.table import Table

from service.images import model_input
from service.model_format import INPUT, Precision, parse_metadata, score_threshold
from service.onnx_session import NAMES, OnnxSession
from service.openvino_session import OpenVinoSession, has_bfloat16
from service.session import Session
from training.data import GOOD, Sample, Source, load_samples, load_sources
from training.int8 import to_int8
from training.metrics import image_auroc
from training.onnx_graph import write_graph
from training.stored_weights import restore

from .merged_graph import random_graph, random_teacher
from .turns import Times, in_turns, table

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
Pixels = npt.NDArray[np.uint8]
BATCH = 8
RANGES = 64  # good pictures that int8 takes its ranges from
SCORES = ("local_score", "semantic_score", "joint_score")
CPU: list[tuple[str, dict[str, str]]] = [(NAMES["cpu"], {})]


@app.command()
def speed(
    model: Annotated[Path | None, typer.Argument(help="A model file; else one with random weights is made.")] = None,
    good: Annotated[
        Path | None, typer.Option(help="Good pictures of MODEL, in MVTec's layout, that int8 is calibrated on.")
    ] = None,
    width: Annotated[int, typer.Option(help="Of the random networks; 384 is ViT-S.")] = 384,
    input_size: Annotated[int, typer.Option(help="Of the random networks.")] = 224,
    encoder_depth: Annotated[int, typer.Option(help="Of the random encoder student.")] = 12,
    batch: Annotated[list[int] | None, typer.Option(help="Pictures together; repeat it. 1 and 8 if absent.")] = None,
    rounds: Annotated[int, typer.Option(help="Turns.")] = 15,
    output: Annotated[Path | None, typer.Option(help="JSON file for the figures.")] = None,
) -> None:
    """Milliseconds an image, and the ratio to ONNX Runtime in float32: median and quartiles over the turns."""
    with tempfile.TemporaryDirectory(prefix="duet-cpu-path-") as scratch:
        file = model or Path(scratch) / "random.onnx"
        if model is None:
            write_graph(random_graph(random_teacher(width, input_size), encoder_depth), (input_size, input_size), file)
        shape = OnnxSession(file, CPU).inputs[INPUT].shape[1:3]
        size = int(shape[0] or 0)
        pictures = _good(load_samples("mvtec", good, "train"), size) if good else _noise(BATCH, size)
        sessions = _sessions(file, pictures, Path(scratch))
        figures: dict[str, Times] = {}
        for count in batch or [1, BATCH]:
            chosen = pictures[np.arange(count) % len(pictures)]
            times = _times(sessions, chosen, rounds)
            figures[str(count)] = times
            what = model or f"random weights, width {width}, {size} px"
            Console(width=140).print(table(times, f"{what}, batch {count}; {platform.processor() or platform.machine()}"))
    if output:
        output.write_text(json.dumps(figures, indent=2) + "\n")


@app.command()
def scores(
    models: Annotated[list[Path], typer.Argument(help="The float32 file, and what else `export` has made of the same run.")],
    data: Annotated[Path, typer.Option(help="A data set, of which the test split is scored.")],
    layout: Annotated[str, typer.Option()] = "mvtec",
    normal: Annotated[list[str] | None, typer.Option(help="A normal class; repeat it. Those of the model if absent.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Every n-th picture.")] = 1,
) -> None:
    """AUROC, how far each score moves, and the verdicts that change, against the first file in ONNX Runtime."""
    metadata = {model: parse_metadata(OnnxSession(model, CPU).properties, model) for model in models}
    described = metadata[models[0]]
    source = Source(layout, data)
    samples = load_sources([source], "test", normal or source.claimed(described.training_data.normal))[::every]
    labels = np.array([sample.label for sample in samples])
    found: dict[str, dict[str, npt.NDArray[np.float32]]] = {}
    verdicts: dict[str, npt.NDArray[np.bool_]] = {}
    with tempfile.TemporaryDirectory(prefix="duet-cpu-path-") as scratch:
        for model, its in metadata.items():
            for run_time, session in _run_times(model, its.precision, Path(scratch)).items():
                name = f"version {model.parent.name}, {its.precision}, in {run_time}"
                found[name] = _scores(session, samples, its.input_size)
                verdicts[name] = found[name]["joint_score"] >= score_threshold(its.threshold)
    first, usual = next(iter(found.values())), next(iter(verdicts.values()))
    shown = Table(
        "", *(f"AUROC {name}" for name in SCORES), *(f"change of {name}: mean, most" for name in SCORES),
        "verdicts changed", "false alarms", title=f"{len(samples)} pictures of {data}",
    )  # fmt: skip
    for name, values in found.items():
        changes = [np.abs(values[score] - first[score]) for score in SCORES]
        shown.add_row(
            name,
            *(f"{100 * image_auroc(values[score], labels):.2f}" for score in SCORES),
            *(f"{change.mean():.2g}, {change.max():.2g}" for change in changes),
            f"{int((verdicts[name] != usual).sum())}",
            f"{int(verdicts[name][labels == GOOD].sum())} of {int((labels == GOOD).sum())}",
        )
    Console(width=200).print(shown)


def _run_times(file: Path, precision: Precision, scratch: Path) -> dict[str, Session]:
    """Everything that can compute this file here, bfloat16 in it too."""
    sessions: dict[str, Session] = {"ONNX Runtime": OnnxSession(file, CPU), "OpenVINO": OpenVinoSession(file, "openvino")}
    if has_bfloat16():
        sessions["OpenVINO with bfloat16"] = OpenVinoSession(file, "openvino-bf16")
    elif precision == "fp32":
        model, rounding = onnx.load(file), scratch / "bf16.onnx"
        restore(model)
        onnx.save(_rounding(model), rounding)
        sessions["emulated bfloat16"] = OnnxSession(rounding, CPU)
    return sessions


def _sessions(file: Path, pictures: Pixels, scratch: Path) -> dict[str, Session]:
    """Run times and precisions by name; ONNX Runtime in float32 first."""
    model, int8 = onnx.load(file), scratch / "int8.onnx"
    restore(model)
    onnx.save(to_int8(model, pictures, BATCH), int8)
    sessions: dict[str, Session] = {
        "ONNX Runtime float32": OnnxSession(file, CPU),
        "ONNX Runtime int8": OnnxSession(int8, CPU),
        "OpenVINO float32": OpenVinoSession(file, "openvino"),
        "OpenVINO int8": OpenVinoSession(int8, "openvino"),
    }
    if has_bfloat16():
        sessions["OpenVINO bfloat16"] = OpenVinoSession(file, "openvino-bf16")
        sessions["OpenVINO int8, bfloat16 around it"] = OpenVinoSession(int8, "openvino-bf16")
    return sessions


def _rounding(model: onnx.ModelProto) -> onnx.ModelProto:
    """The float32 graph with every float tensor but the graph's outputs rounded to bfloat16."""
    types = {
        value.name: value.type.tensor_type.elem_type for value in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        for index, name in enumerate(node.output):
            if types.get(name) == TensorProto.FLOAT:
                node.output[index] = f"{name}.exact"
                nodes.append(onnx.helper.make_node("Cast", [f"{name}.exact"], [f"{name}.bf16"], to=TensorProto.BFLOAT16))
                nodes.append(onnx.helper.make_node("Cast", [f"{name}.bf16"], [name], to=TensorProto.FLOAT))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(onnx.numpy_helper.from_array(_bfloat16(values), tensor.name))
    return model


def _bfloat16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """To the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return rounded.astype(np.uint32).view(np.float32).reshape(values.shape)


def _times(sessions: dict[str, Session], pictures: Pixels, rounds: int) -> Times:
    """Milliseconds an image in each turn, by what computes, with as many batches at the same time as Duet gives it."""

    def compute(session: Session) -> None:
        with ThreadPoolExecutor(session.at_once) as pool:
            list(pool.map(session.compute, [pictures] * session.at_once))

    taken = in_turns({name: partial(compute, session) for name, session in sessions.items()}, rounds)
    return {name: [1000 * one / (len(pictures) * sessions[name].at_once) for one in seconds] for name, seconds in taken.items()}


def _scores(session: Session, samples: list[Sample], size: int) -> dict[str, npt.NDArray[np.float32]]:
    parts = [
        session.compute(np.stack([model_input(sample.pixels(), (size, size)) for sample in samples[start : start + BATCH]]))
        for start in range(0, len(samples), BATCH)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in SCORES}


def _good(samples: list[Sample], size: int) -> Pixels:
    chosen = np.linspace(0, len(samples) - 1, min(len(samples), RANGES)).astype(int)
    return np.stack([model_input(samples[index].pixels(), (size, size)) for index in chosen])


def _noise(count: int, size: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


if __name__ == "__main__":
    app()
