"""What decoding JPEGs at a smaller scale does to scores: the shipped model on rendered parts, decoded whole and as served.

    python -m benchmarks.reduced_decoding

Training and serving reduce alike, so a model never meets the difference; this is what a model trained before would see.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image
from sklearn.metrics import roc_auc_score

from benchmarks.serve.graphs import SHIPPED
from service.images import Pixels, decode_image, read_picture
from service.model_format import MODEL_FILE, Shape, score_threshold
from training.data.parts import DEFECTS, render_part
from training.progress import track
from training.scorers import OnnxScorer

KINDS = ("washer", "gear", "connector")  # of which the shipped model knows the good ones
MAX_PIXELS = 50_000_000
QUALITY = 90
BATCH = 8


def main(
    size: Annotated[int, typer.Option(help="Side of the pictures in pixels.")] = 672,
    pictures: Annotated[int, typer.Option(help="Of each kind, half of them defective.")] = 40,
    model: Annotated[Path, typer.Option()] = SHIPPED / "1" / MODEL_FILE,
) -> None:
    """Print how far scores and verdicts move, and AUROC of both ways."""
    scorer = OnnxScorer(model)
    wanted = [(kind, number) for kind in KINDS for number in range(pictures)]
    defective = np.array([number % 2 == 1 for _, number in wanted])
    both = [_inputs(kind, number, size, scorer.input_shape) for kind, number in track(wanted, "Rendering and decoding")]
    whole, reduced = (_scores(scorer, list(inputs)) for inputs in zip(*both, strict=True))
    threshold = score_threshold(scorer.threshold)
    print(f"{len(wanted)} JPEGs of {size} x {size} for an input of {scorer.input_shape[0]}: grey levels differ by "
          f"{np.mean([np.abs(a.astype(int) - b).mean() for a, b in both]):.2f} on average")  # fmt: skip
    for name in ("local_score", "semantic_score", "joint_score"):
        moved, spread = np.abs(whole[name] - reduced[name]), whole[name][~defective].std()
        first, second = (roc_auc_score(defective, scores[name]) for scores in (whole, reduced))
        print(
            f"{name}: AUROC {first:.4f} whole, {second:.4f} reduced; moved by {moved.mean() / spread:.3f} "
            f"(at most {moved.max() / spread:.3f}) of its deviation over good pictures"
        )
    changed = (whole["joint_score"] >= threshold) != (reduced["joint_score"] >= threshold)
    print(f"verdicts changed: {changed.sum()} of {len(wanted)}")


def _inputs(kind: str, number: int, size: int, shape: Shape) -> tuple[Pixels, Pixels]:
    """The model input of a part's JPEG, decoded whole and resized in one step, and as Duet does it."""
    defect = DEFECTS[kind][number // 2 % len(DEFECTS[kind])] if number % 2 else None
    encoded = BytesIO()
    Image.fromarray(render_part(kind, defect, size, 10_000 + number).pixels).save(encoded, "JPEG", quality=QUALITY)
    data = encoded.getvalue()
    whole = Image.fromarray(decode_image(data, MAX_PIXELS)).resize(shape[::-1], Image.Resampling.BICUBIC)
    return np.asarray(whole), read_picture(data, MAX_PIXELS, shape).resized(shape)


def _scores(scorer: OnnxScorer, inputs: list[Pixels]) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    parts = [scorer.score(np.stack(inputs[start : start + BATCH])) for start in range(0, len(inputs), BATCH)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name != "anomaly_map"}


if __name__ == "__main__":
    typer.run(main)
