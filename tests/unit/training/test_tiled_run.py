"""A model for large parts, from training to the exported file: it sees tiles, and scores whole pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter1d

from service.engine import Engine, EngineOptions
from service.images import model_input
from service.model_format import Tiles, TrainingData
from training.batches import Batches
from training.calibrate import calibrate_run, joint_score
from training.class_levels import LevelScale
from training.data import GOOD, Sample, fingerprint
from training.errors import TrainingError
from training.evaluate import evaluate
from training.export import export_run
from training.fit import fit, prepare_run
from training.fit_settings import FitSettings
from training.folds import fold_numbers, fold_runs
from training.good_scores import held_out_scores
from training.measured_levels import tail_quantiles
from training.recalibrate import recalibrate
from training.report import write_report
from training.run_folder import RunFolder
from training.scorers import OnnxScorer, RunScorer
from training.start import start_run

Pixels = npt.NDArray[np.uint8]

TILES = Tiles(rows=2, columns=3, overlap=14)
SHAPE = (98, 140)  # of tiles of 56


def large_pictures(count: int, seed: int) -> Pixels:
    """Pictures uint8 [count, 196, 280, 3] of stripes with noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:196, :280]
    phase, light = rng.uniform(0, 2 * np.pi, (count, 1, 1)), rng.uniform(0.8, 1.2, (count, 1, 1))
    grey = light * (128 + 60 * np.sin(x / 9 + y / 30 + phase))
    colour = grey[..., None] * np.array([1.0, 0.9, 0.7]) + rng.normal(0, 4, (count, 196, 280, 3))
    pictures: Pixels = np.clip(colour, 0, 255).astype(np.uint8)
    return pictures


def samples(count: int, seed: int, kind: str = "stripes") -> list[Sample]:
    return [Sample(f"{kind}/{seed}/{i}", picture, GOOD, kind) for i, picture in enumerate(large_pictures(count, seed))]


def settings(teacher: Path, **changes: object) -> FitSettings:
    tiny: dict[str, object] = {
        "teacher": str(teacher), "input_size": 56, "tiles": TILES, "steps": 30, "batch_size": 8, "warmup_steps": 2,
        "encoder_depth": 3, "taught_blocks": 2,
    }  # fmt: skip
    return FitSettings.model_validate(tiny | changes)


def new_run(path: Path, fit_settings: FitSettings, good: list[Sample], held_out: list[Sample]) -> RunFolder:
    names = tuple(dict.fromkeys(sample.category for sample in good))
    facts = TrainingData(layout="folder", normal=names, images=len(good), fingerprint=fingerprint(good))
    return prepare_run(path, fit_settings, good, held_out, facts)


@pytest.fixture(scope="module")
def tiled(tmp_path_factory: pytest.TempPathFactory, teacher_folder: Path) -> RunFolder:
    """A trained and calibrated run."""
    run = new_run(tmp_path_factory.mktemp("runs") / "tiled", settings(teacher_folder), samples(8, 1), samples(10, 2))
    assert fit(run)
    calibrate_run(run, alpha=0.1)
    return run


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, tiled: RunFolder) -> Path:
    """The tiled run as models/large/1/model.onnx."""
    return export_run(tiled, "large", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Twelve good pictures, and four with a blot of 12 x 12 pixels and its mask."""
    folder, found = tmp_path_factory.mktemp("masks"), samples(12, 7)
    for index, picture in enumerate(large_pictures(4, 8)):
        top, left = 40 + 34 * index, 230 - 60 * index
        mask = np.zeros((196, 280), dtype=np.uint8)
        mask[top : top + 12, left : left + 12] = 255
        Image.fromarray(mask).save(folder / f"{index}.png")
        picture[mask > 0] = (20, 200, 30)
        found.append(Sample(f"blot/{index}", picture, 1, "stripes", "blot", (folder / f"{index}.png",)))
    return found


def test_stored_pictures_are_whole(tiled: RunFolder) -> None:
    assert tiled.training().shape == (8, *SHAPE, 3)
    expected = [model_input(sample.pixels(), SHAPE) for sample in samples(10, 2)]
    np.testing.assert_array_equal(tiled.held_out(), np.stack(expected))


def test_training_sees_every_tile_of_every_picture_in_turn(tiled: RunFolder) -> None:
    """48 tiles of 8 pictures: six steps of eight show each once."""
    batches = Batches(tiled.training(), [8], tiled.description().settings)
    shown = torch.cat([batches[step].pictures for step in range(6)]).numpy()
    assert shown.shape == (48, 56, 56, 3)
    pictures = np.array(tiled.training())
    every = {
        pictures[picture, top : top + 56, left : left + 56].tobytes()
        for picture in range(8) for top in (0, 42) for left in (0, 42, 84)
    }  # fmt: skip
    assert {tile.tobytes() for tile in shown} == every
    assert len(every) == 48
    assert batches[3].spoilt.shape == (6, 56, 56, 3)


@torch.inference_mode()
def test_the_graph_merges_what_each_tile_says(tiled: RunFolder) -> None:
    """By hand: networks on single tiles, patches weighted 1/2 in the one column or row that two tiles share."""
    graph, image = tiled.raw_graph(), torch.from_numpy(np.array(tiled.held_out()[:2]))
    assert graph.decoder is not None
    assert graph.encoder is not None
    assert graph.whitening is not None
    scores = graph(image)
    assert scores.anomaly_map is not None
    for picture in range(2):
        total, weights, semantic = torch.zeros(7, 10), torch.zeros(7, 10), []
        for row, column in np.ndindex(2, 3):
            top, left = 42 * row, 42 * column
            tile = image[picture : picture + 1, top : top + 56, left : left + 56]
            hidden = graph.teacher(tile)
            own = torch.ones(4, 4)
            for edge, shared in ((own[0], row > 0), (own[-1], row < 1), (own[:, 0], column > 0), (own[:, -1], column < 2)):
                edge *= 0.5 if shared else 1.0
            total[3 * row : 3 * row + 4, 3 * column : 3 * column + 4] += own * graph.patch_distances(graph.decoder, hidden)[0]
            weights[3 * row : 3 * row + 4, 3 * column : 3 * column + 4] += own
            semantic.append(graph.whitening(graph.encoder.targets(hidden), graph.encoder(tile)).item())
        torch.testing.assert_close(weights, torch.ones(7, 10))
        resized = F.interpolate(total[None, None], size=(256, 256), mode="bilinear", align_corners=False)[0, 0].double().numpy()
        smooth = gaussian_filter1d(gaussian_filter1d(resized, 4 * 4 / 7, 0, mode="nearest"), 4 * 4 / 10, 1, mode="nearest")
        np.testing.assert_allclose(scores.anomaly_map[picture].numpy(), smooth, rtol=1e-4, atol=1e-6)
        highest = np.sort(smooth, axis=None)[::-1][: int(655.36 / 6)]
        assert scores.local is not None
        assert scores.local[picture].item() == pytest.approx(highest.mean(), rel=1e-4)
        assert scores.semantic is not None
        assert scores.semantic[picture].item() == pytest.approx(max(semantic), rel=1e-3)


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_the_exported_file_scores_as_torch_does_at_any_batch_size(tiled: RunFolder, file: Path, count: int) -> None:
    pictures = np.array(tiled.held_out()[:count])
    found, expected = OnnxScorer(file).score(pictures), RunScorer(tiled).score(pictures)
    assert found["anomaly_map"].shape == (count, 256, 256)
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-4, err_msg=name)


def test_metadata_and_card_say_how_pictures_are_cut(file: Path) -> None:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    described = json.loads(session.get_modelmeta().custom_metadata_map["duet"])
    assert (described["input_size"], described["tiles"]) == (56, {"rows": 2, "columns": 3, "overlap": 14})
    assert described["parity"]["batch_sizes"] == [1, 2, 5]
    assert session.get_inputs()[0].shape[1:] == [*SHAPE, 3]
    card = (file.parent / "README.md").read_text()
    assert "| Input | 140 x 98 pixels, RGB, seen in 2 x 3 tiles of 56 x 56 that overlap by 14 |" in card
    assert "in a picture of 4000 x 3000 two of them are 57.1 x 61.2 of its own." in card


def test_the_service_s_engine_takes_as_many_pictures_as_their_tiles_allow(tiled: RunFolder, file: Path) -> None:
    engine = Engine(file, EngineOptions(intra_op_threads=1, max_batch_size=16))
    assert engine.buckets == (1, 2)
    engine.warm_up()
    found, expected = engine.run(list(tiled.held_out()[:2])), OnnxScorer(file).score(np.array(tiled.held_out()[:2]))
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-5)
    assert Engine(file, EngineOptions(max_batch_size=5)).buckets == (1,)


def test_evaluation_and_report_are_of_whole_pictures(tiled: RunFolder, labelled: list[Sample], tmp_path: Path) -> None:
    scorer = RunScorer(tiled)
    evaluation = evaluate(scorer, labelled)
    assert evaluation.metrics["image_auroc/local"] == 1.0
    assert evaluation.metrics["pixel_auroc/local"] > 0.95
    for index in range(12, 16):
        peak = np.unravel_index(evaluation.maps[index].argmax(), (256, 256))
        defect = np.argwhere(labelled[index].mask(256)).mean(axis=0)
        # 7 x 10 patches; what a patch tells of its neighbours moves the peak by up to one and a half
        assert (np.abs(peak - defect) < (1.5 * 256 / 7, 1.5 * 256 / 10)).all(), f"peak at {peak}, defect at {defect}"
    write_report(tmp_path, evaluation, scorer)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 500


def test_an_exported_file_is_calibrated_anew(file: Path) -> None:
    changed, outcome = recalibrate(file, samples(12, 5), alpha=0.1)
    assert changed.parent.name == "2"
    assert outcome.calibration.images == 12
    assert OnnxScorer(changed).input_shape == SHAPE


def test_an_interrupted_run_ends_as_an_unbroken_one(
    tmp_path: Path, teacher_folder: Path, stopping_after: Callable[[int], None]
) -> None:
    few = settings(teacher_folder, steps=6, batch_size=4)
    unbroken, broken = (new_run(tmp_path / name, few, samples(4, 1), samples(2, 2)) for name in ("unbroken", "broken"))
    assert fit(unbroken)
    stopping_after(3)
    assert not fit(broken)
    assert fit(broken)
    expected, found = (torch.load(run.checkpoint_file, weights_only=True) for run in (unbroken, broken))
    for student in ("decoder", "encoder"):
        assert all(torch.equal(expected[student][name], found[student][name]) for name in expected[student])


def test_a_picture_s_tiles_stay_in_one_fold(tmp_path: Path, teacher_folder: Path) -> None:
    run = start_run(tmp_path, settings(teacher_folder, folds=3, steps=2, alpha=0.2), samples(7, 4), "folder")
    numbers, pictures = fold_numbers(run.description()), np.array(run.training())
    for number, fold in enumerate(fold_runs(run)):
        assert fold.description().settings.tiles == TILES
        np.testing.assert_array_equal(fold.held_out(), pictures[numbers == number])
        np.testing.assert_array_equal(fold.training(), pictures[numbers != number])
    assert fit(run)
    assert calibrate_run(run, alpha=0.2).calibration.images == 7


def test_each_tile_is_measured_by_the_class_it_looks_like(tmp_path: Path, teacher_folder: Path) -> None:
    def both(count: int, seed: int) -> list[Sample]:
        noise = np.random.default_rng(seed).integers(0, 256, (count, *SHAPE, 3), dtype=np.uint8)
        return samples(count, seed) + [Sample(f"noise/{i}", picture, GOOD, "noise") for i, picture in enumerate(noise)]

    run = new_run(tmp_path / "two", settings(teacher_folder, steps=40), both(6, 1), both(10, 2))
    assert run.description().class_counts == (6, 6)
    assert fit(run)
    outcome = calibrate_run(run, alpha=0.1)
    assert outcome.levels is not None
    plain = held_out_scores(run.raw_graph(), run.held_out())
    scaled = held_out_scores(run.raw_graph(levels=outcome.levels), run.held_out())
    assert plain.local is not None
    assert scaled.local is not None
    levels = tail_quantiles([plain.local[:10], plain.local[10:]], 0.01)
    assert outcome.levels.local == pytest.approx(levels)
    assert max(levels) > 1.3 * min(levels)  # else there is nothing to show
    even = tail_quantiles([scaled.local[:10], scaled.local[10:]], 0.01)
    assert max(even) < 1.05 * min(even)
    crossed = [
        held_out_scores(run.raw_graph(levels=its), run.held_out()[number::5]) for number, its in enumerate(outcome.part_levels)
    ]
    joint = np.concatenate([joint_score(part, outcome.calibration) for part in crossed])
    np.testing.assert_allclose(np.sort(joint), outcome.joint_scores, rtol=1e-4)
    # half noise, half stripes: each half at its own class's level
    mixed = np.array(run.held_out()[:1])
    mixed[:, :, 70:] = run.held_out()[10:11, :, 70:]
    graph = run.raw_graph(levels=outcome.levels)
    with torch.inference_mode():
        scores, unscaled = graph(torch.from_numpy(mixed)), run.raw_graph()(torch.from_numpy(mixed))
        tokens = graph.teacher(torch.from_numpy(np.stack((mixed[0, :56, :56], mixed[0, :56, -56:]))))[-1][:, 0]
        local = LevelScale(outcome.levels)(tokens)
    for factor, corner in zip(local, ((0, 0), (0, 255)), strict=True):
        ratio = scores.anomaly_map[0][corner] / unscaled.anomaly_map[0][corner]
        assert ratio.item() == pytest.approx(factor.item(), rel=1e-3)


def test_too_many_tiles_leave_no_run(tmp_path: Path, teacher_folder: Path) -> None:
    many = settings(teacher_folder, tiles=Tiles(rows=1, columns=90, overlap=14))
    with pytest.raises(TrainingError, match=r"1x90 tiles make a grid of 4 x 271 patches"):
        new_run(tmp_path / "run", many, samples(1, 1), samples(1, 2))
    assert not (tmp_path / "run").exists()
