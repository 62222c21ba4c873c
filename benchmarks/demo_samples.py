"""The sample pictures beside the demo model, and the README's picture of what the service answers to them.

    python -m benchmarks.demo_samples write --parts runs/parts --unseen runs/unseen \
        --fashion-mnist /usr/share/datasets/fashion-mnist --output models/demo/samples
    python -m benchmarks.demo_samples draw --samples models/demo/samples --url http://127.0.0.1:8000 --output docs/demo.png

All are from test splits; the picture numbers are fixed, and not chosen by score.
"""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import typer
from matplotlib.figure import Figure
from PIL import Image

from training.data import load_samples
from training.files import write_beside

app = typer.Typer()

# file name: where the picture comes from
PARTS = {
    "good_washer": "washer/test/good/000",
    "good_gear": "gear/test/good/001",  # 000 was one of the false alarms of an earlier demo model
    "good_connector": "connector/test/good/000",
    "bad_washer_scratch": "washer/test/scratch/000",
    "bad_gear_missing_tooth": "gear/test/missing/000",
    "bad_connector_misprint": "connector/test/misprint/000",
}
CLOTHES = {"good_sneaker": "sneaker", "good_ankle_boot": "ankle boot", "wrong_shirt": "shirt", "wrong_bag": "bag"}
COLUMNS = 6


@app.command()
def write(
    parts: Annotated[Path, typer.Option()],
    unseen: Annotated[Path, typer.Option()],
    fashion_mnist: Annotated[Path, typer.Option()],
    output: Annotated[Path, typer.Option()],
) -> None:
    """Copy the chosen test pictures."""
    chosen = {name: (parts / f"{place}.png").read_bytes() for name, place in PARTS.items()}
    chosen["wrong_label"] = (unseen / "label/test/good/000.png").read_bytes()
    clothes = load_samples("fmnist", fashion_mnist, "test")
    for name, category in CLOTHES.items():
        encoded = BytesIO()
        Image.fromarray(next(s for s in clothes if s.category == category).pixels()).convert("L").save(encoded, "PNG")
        chosen[name] = encoded.getvalue()
    for name, data in chosen.items():
        _save(output / f"{name}.png", data)


@app.command()
def draw(
    samples: Annotated[Path, typer.Option()],
    output: Annotated[Path, typer.Option()],
    url: Annotated[str, typer.Option()] = "http://127.0.0.1:8000",
) -> None:
    """Post every sample, and draw each beside its heatmap and scores."""
    files = sorted(samples.glob("*.png"), key=lambda file: (("good", "bad", "wrong").index(file.stem.split("_")[0]), file.stem))
    answers = {file: _score(url, file) for file in files}
    rows = -(-len(files) // COLUMNS)
    figure = Figure(figsize=(COLUMNS * 2.35, rows * 2.2), layout="constrained", facecolor="white")
    for cell, (file, answer) in zip(figure.subfigures(rows, COLUMNS, squeeze=False).flat, answers.items(), strict=False):
        _draw_one(cell, file, answer)
    write_beside(output, lambda path: figure.savefig(path, format="png", dpi=100))


def _save(file: Path, data: bytes) -> None:
    write_beside(file, lambda path: path.write_bytes(data))


def _score(url: str, file: Path) -> dict[str, Any]:
    response = httpx.post(f"{url}/score", content=file.read_bytes(), headers={"Content-Type": "image/png"}, timeout=30)
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer


def _draw_one(cell: Any, file: Path, answer: dict[str, Any]) -> None:
    anomalous = answer["anomalous"]
    picture, heat = cell.subplots(1, 2)
    picture.imshow(Image.open(file).convert("RGB"))
    index = np.asarray(Image.open(BytesIO(base64.b64decode(answer["heatmap"]["data"]))))
    heat.imshow(index, cmap="inferno", vmin=0, vmax=255)
    for axis in (picture, heat):
        axis.set_axis_off()
    scores = answer["scores"]
    verdict = "ANOMALOUS" if anomalous else "good"
    cell.suptitle(file.stem.replace("_", " "), fontsize=9)
    cell.supxlabel(
        f"{verdict}\nlocal {scores['local']:.2f}  semantic {scores['semantic']:.2f}\njoint {scores['joint']:.2f}",
        fontsize=8, color="#b00020" if anomalous else "#1b6e2c", weight="bold" if anomalous else "normal",
    )  # fmt: skip


if __name__ == "__main__":
    app()
