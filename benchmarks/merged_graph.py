"""What each part of the merged graph costs, and what the teacher shared by both students saves.

    python -m benchmarks.merged_graph --teacher compact --input-size 112 --encoder-depth 4
    python -m benchmarks.merged_graph --width 384 --input-size 224 --encoder-depth 12

Three graphs are exported from the same networks and timed in turns with ONNX Runtime: merged, local alone and semantic alone.
The two single ones together are two teacher-student pipelines. What they cost more is the teacher's second run, and the rest
follows by subtraction: nothing has to be told apart inside a graph whose operators the run time fuses.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import onnxruntime
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import Dinov2WithRegistersConfig

from service.model_format import INPUT, PATCH, Branch, Calibration, Sigmoid, TeacherInfo
from training.graph import CalibratedGraph, RawGraph
from training.onnx_graph import write_graph
from training.students import DecoderStudent, EncoderStudent
from training.teacher import Teacher, load_teacher, new_vit
from training.whitening import Whitening

from .turns import Times, in_turns

HEAD_WIDTH, BLOCKS, TAUGHT = 64, 12, 4
GRAPHS: dict[str, tuple[Branch, ...]] = {"both": ("local", "semantic"), "local": ("local",), "semantic": ("semantic",)}


def random_teacher(width: int, input_size: int) -> Teacher:
    """A DINOv2 with registers of 12 blocks of `width`, with random weights: good for speed alone. 384 is ViT-S, 768 ViT-B."""
    config = Dinov2WithRegistersConfig(
        hidden_size=width, num_hidden_layers=BLOCKS, num_attention_heads=width // HEAD_WIDTH, patch_size=PATCH
    )
    return Teacher(new_vit(config), input_size, TeacherInfo(source=f"random-{width}", sha256="0" * 64, stand_in=True))


def random_graph(teacher: Teacher, encoder_depth: int, branches: Sequence[Branch] = GRAPHS["both"]) -> CalibratedGraph:
    """Students with random weights on a teacher, with a calibration that means nothing."""
    torch.manual_seed(0)
    decoder = DecoderStudent(teacher, dropout=0.0)
    semantic = EncoderStudent(teacher, encoder_depth, TAUGHT), Whitening(TAUGHT * teacher.dim)
    raw = RawGraph(teacher, decoder if "local" in branches else None, semantic if "semantic" in branches else None)
    unit = Sigmoid(tau=0.5, sigma=0.1)
    given = {branch: unit if branch in branches else None for branch in GRAPHS["both"]}
    pixel = unit if "local" in branches else None
    return CalibratedGraph(raw, Calibration(**given, pixel=pixel, images=1)).eval()


def flops(network: nn.Module, *inputs: object) -> float:
    """Floating-point operations of products and convolutions, two for each multiplication and addition."""
    # by its definition: the counter knows no fused attention of the CPU
    with FlopCounterMode(display=False) as counter, torch.inference_mode(), sdpa_kernel(SDPBackend.MATH):
        network(*inputs)
    return float(counter.get_total_flops())


def main(
    input_size: Annotated[int, typer.Option()],
    encoder_depth: Annotated[int, typer.Option()],
    teacher: Annotated[str | None, typer.Option(help="A teacher to load; else one with random weights is made.")] = None,
    width: Annotated[int, typer.Option(help="Of the random teacher; 384 is ViT-S.")] = 384,
    batch: Annotated[int, typer.Option()] = 4,
    rounds: Annotated[int, typer.Option()] = 15,
    threads: Annotated[int, typer.Option(help="Of ONNX Runtime; 0 for every core.")] = 0,
) -> None:
    """Print parameters, operations and time of each part, and the time of two pipelines against the merged one."""
    network = load_teacher(teacher, input_size) if teacher else random_teacher(width, input_size)
    graph = random_graph(network, encoder_depth)
    pictures = np.random.default_rng(0).integers(0, 256, (batch, input_size, input_size, 3), dtype=np.uint8)
    milliseconds = {name: median(times) for name, times in _times(network, encoder_depth, pictures, rounds, threads).items()}
    images = torch.from_numpy(pictures[:1])
    with torch.inference_mode():
        hidden = network(images)
    decoder, encoder = graph.raw.decoder, graph.raw.encoder
    if decoder is None or encoder is None:
        raise RuntimeError("the merged graph has both students")
    both, local, semantic = (milliseconds[name] for name in GRAPHS)
    parts: dict[str, tuple[nn.Module, tuple[object, ...], float]] = {
        "teacher": (network, (images,), local + semantic - both),
        "decoder student": (decoder, (hidden,), both - semantic),
        "encoder student": (encoder, (images,), both - local),
    }
    counted = {name: flops(part, *inputs) for name, (part, inputs, _) in parts.items()}
    whole = flops(graph, torch.from_numpy(pictures[:1]))
    heads = whole - sum(counted.values())
    table = Table(
        "part", "million parameters", "GFLOP an image", "%", "ms an image", "%", title=f"{network.info.source}, {input_size} px"
    )
    for name, (part, _, time_of_part) in parts.items():
        parameters = sum(parameter.numel() for parameter in part.parameters()) / 1e6
        table.add_row(name, f"{parameters:.1f}", *_cells(counted[name] / 1e9, whole / 1e9), *_cells(time_of_part, both))
    table.add_row("heads: distances, map, scores", "", *_cells(heads / 1e9, whole / 1e9), "in the students'", "")
    Console(width=140).print(table)
    print(f"two pipelines {local + semantic:.1f} ms, merged {both:.1f} ms an image: ratio {(local + semantic) / both:.2f}")


def _cells(value: float, whole: float) -> tuple[str, str]:
    return f"{value:.2f}", f"{100 * value / whole:.0f}"


def _times(
    teacher: Teacher, encoder_depth: int, pictures: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], rounds: int, threads: int
) -> Times:
    """Milliseconds an image of each graph in each round; the graphs take turns."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    sessions = {}
    with tempfile.TemporaryDirectory(prefix="duet-merged-graph-") as scratch:
        for name, branches in GRAPHS.items():
            file = Path(scratch) / f"{name}.onnx"
            write_graph(random_graph(teacher, encoder_depth, branches), (teacher.input_size, teacher.input_size), file)
            sessions[name] = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    taken = in_turns({name: partial(session.run, None, {INPUT: pictures}) for name, session in sessions.items()}, rounds)
    return {name: [1000 * one / len(pictures) for one in seconds] for name, seconds in taken.items()}


if __name__ == "__main__":
    typer.run(main)
