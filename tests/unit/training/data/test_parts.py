"""Rendered parts: one seed one part, exact masks, visible defects, a data set in MVTec layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from training.data.parts import DEFECTS, KINDS, Part, render_part, write_parts
from training.data.parts.printing import Text, ink
from training.data.parts.view import Pose, make_view
from training.errors import TrainingError

PAIRS = [(kind, defect) for kind in KINDS for defect in DEFECTS[kind]]
SEEDS = range(12)


def difference(part: Part, other: Part) -> NDArray[np.int16]:
    """Largest difference of a channel at each pixel, grey levels [H, W]."""
    levels: NDArray[np.int16] = np.abs(part.pixels.astype(np.int16) - other.pixels).max(axis=2)
    return levels


@pytest.mark.parametrize("kind", KINDS)
def test_good_part_has_no_mask_and_fills_the_tones(kind: str) -> None:
    part = render_part(kind, None, 112, 3)
    assert part.pixels.shape == (112, 112, 3)
    assert part.pixels.dtype == np.uint8
    assert (part.kind, part.defect) == (kind, None)
    assert part.mask.shape == (112, 112)
    assert part.mask.dtype == np.bool_
    assert not part.mask.any()
    assert np.ptp(np.percentile(part.pixels, (1, 99))) > 80
    assert np.mean((part.pixels == 0) | (part.pixels == 255)) < 0.02  # well exposed


@pytest.mark.parametrize(("kind", "defect"), PAIRS)
def test_part_is_a_pure_function_of_its_arguments(kind: str, defect: str) -> None:
    first = render_part(kind, defect, 64, 5)
    render_part(kind, None, 96, 6)  # what was rendered between must not matter
    again, other = render_part(kind, defect, 64, 5), render_part(kind, defect, 64, 6)
    assert np.array_equal(first.pixels, again.pixels)
    assert np.array_equal(first.mask, again.mask)
    assert not np.array_equal(first.pixels, other.pixels)


@pytest.mark.parametrize(("kind", "defect"), PAIRS)
def test_mask_holds_what_the_defect_changed(kind: str, defect: str) -> None:
    for seed in SEEDS:
        good, spoilt = render_part(kind, None, 112, seed), render_part(kind, defect, 112, seed)
        assert (spoilt.kind, spoilt.defect) == (kind, defect)
        changed = difference(good, spoilt)
        assert changed[~spoilt.mask].max() < 9  # outside: less than can be seen
        assert np.mean(changed[spoilt.mask] > 2) > 0.7  # inside: nearly all
        height, width = (np.ptp(np.nonzero(spoilt.mask)[axis]) + 1 for axis in (0, 1))
        assert max(height, width) >= 6
        assert 15 <= spoilt.mask.sum() <= 0.12 * spoilt.mask.size


@pytest.mark.parametrize(("kind", "defect"), PAIRS)
def test_defects_can_be_seen_at_112_pixels(kind: str, defect: str) -> None:
    parts = [(render_part(kind, None, 112, seed), render_part(kind, defect, 112, seed)) for seed in SEEDS]
    contrasts = [np.percentile(difference(good, spoilt)[spoilt.mask], 75) for good, spoilt in parts]
    assert min(contrasts) > 10  # about four times the sensor's noise
    assert np.median(contrasts) > 22


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "scratch" in DEFECTS[kind]])
def test_scratches_are_long_and_thin(kind: str) -> None:
    for seed in SEEDS:
        mask = render_part(kind, "scratch", 112, seed).mask
        rows, columns = np.nonzero(mask)
        length = np.hypot(np.ptp(rows), np.ptp(columns))
        assert length >= 15
        assert 1.5 <= mask.sum() / length <= 6


def test_smeared_print_trails_to_the_right_and_never_wraps_around() -> None:
    view, pose = make_view(128, 128, 0.0), Pose(0, 0, 0, 1)
    clean = ink(view, pose, (Text("AB", 0.5, 0, 0.3),), 0.9, 0.5)
    smeared = ink(view, pose, (Text("AB", 0.5, 0, 0.3, smear=0.35),), 0.9, 0.5)
    start, end = np.flatnonzero(clean.any(axis=0))[[0, -1]]
    assert clean.max() > 0.9
    assert not smeared[:, :start].any()
    assert smeared[:, end - 4 : end + 1].sum() > clean[:, end - 4 : end + 1].sum()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(160, 96), (64, 128)])
def test_size_is_width_and_height(kind: str, size: tuple[int, int]) -> None:
    part = render_part(kind, "missing", size, 1)
    assert part.pixels.shape == (size[1], size[0], 3)
    assert part.mask.shape == (size[1], size[0])
    assert part.mask.any()


@pytest.mark.parametrize(
    ("kind", "defect"), [("washer", "scratch"), ("gear", "missing"), ("connector", "stain"), ("label", "misprint")]
)
def test_one_seed_gives_one_scene_at_every_size(kind: str, defect: str) -> None:
    small, large = render_part(kind, defect, 128, 9), render_part(kind, defect, 512, 9)
    coarse = [  # so coarse that neither focus nor noise counts
        np.asarray(Image.fromarray(part.pixels).resize((32, 32), Image.Resampling.BOX), np.float32) for part in (small, large)
    ]
    assert np.abs(coarse[0] - coarse[1]).mean() < 6
    shrunk_mask = np.asarray(Image.fromarray(large.mask).convert("L").resize((128, 128), Image.Resampling.BOX)) > 127
    assert (shrunk_mask & small.mask).sum() > 0.6 * shrunk_mask.sum()


def test_light_noise_and_pose_vary_but_kinds_stay_apart() -> None:
    """Nearest neighbour on thumbnails of unseen good parts finds the kind: kinds differ more than parts of one kind do."""

    def thumbnail(kind: str, seed: int) -> NDArray[np.float32]:
        picture = Image.fromarray(render_part(kind, None, 64, seed).pixels)
        return np.asarray(picture.resize((8, 8), Image.Resampling.BOX), np.float32).ravel()

    known = {kind: [thumbnail(kind, seed) for seed in range(5)] for kind in KINDS}
    for kind in KINDS:
        assert min(np.abs(a - b).max() for a in known[kind] for b in known[kind] if a is not b) > 3
        for seed in range(100, 110):
            unseen = thumbnail(kind, seed)
            distances = {name: min(float(np.linalg.norm(unseen - each)) for each in known[name]) for name in KINDS}
            assert min(distances, key=distances.__getitem__) == kind


@pytest.mark.parametrize(
    ("kind", "defect", "size", "seed", "message"),
    [
        ("bolt", None, 112, 0, "washer"),
        ("label", "dent", 112, 0, "misprint"),
        ("gear", None, 16, 0, "32"),
        ("gear", None, (200, 8), 0, "200x8"),
        ("gear", None, 112, -1, "negative"),
    ],
)
def test_wrong_arguments_are_refused(
    kind: str, defect: str | None, size: int | tuple[int, int], seed: int, message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        render_part(kind, defect, size, seed)


def test_data_set_has_mvtec_layout(tmp_path: Path) -> None:
    output = tmp_path / "parts"
    write_parts(output, good=5, defective=7, size=(48, 40), seed=1)
    for kind in KINDS:
        assert sorted(path.name for path in (output / kind / "train" / "good").iterdir()) == [f"00{n}.png" for n in range(5)]
        assert sorted(path.name for path in (output / kind / "test" / "good").iterdir()) == ["000.png", "001.png"]
        assert {path.name for path in (output / kind / "test").iterdir()} == {"good", *DEFECTS[kind]}
        pictures = sorted((output / kind / "test").glob("[!g]*/*.png"))
        assert len(pictures) == 7
        for path in pictures:
            with Image.open(path) as picture, Image.open(_mask_of(path)) as mask:
                assert (picture.mode, picture.size) == ("RGB", (48, 40))
                assert (mask.mode, mask.size) == ("L", (48, 40))
                assert set(np.unique(np.asarray(mask)).tolist()) == {0, 255}
        masks = list((output / kind / "ground_truth").glob("*/*.png"))
        assert sorted(masks) == sorted(map(_mask_of, pictures))
    assert not [path for path in output.rglob("*") if path.is_file() and path.suffix != ".png"]


def _mask_of(picture: Path) -> Path:
    return picture.parents[2] / "ground_truth" / picture.parent.name / f"{picture.stem}_mask.png"


def test_data_set_depends_on_seed_and_names_alone(tmp_path: Path) -> None:
    write_parts(tmp_path / "all", good=3, defective=5, size=48, seed=4)
    write_parts(tmp_path / "some", good=2, defective=2, size=48, seed=4, kinds=("label", "gear"))
    write_parts(tmp_path / "other", good=1, defective=0, size=48, seed=5, kinds=("gear",))
    written = [path.relative_to(tmp_path / "some") for path in (tmp_path / "some").rglob("*.png")]
    assert {path.parts[0] for path in written} == {"label", "gear"}
    for path in written:
        assert (tmp_path / "some" / path).read_bytes() == (tmp_path / "all" / path).read_bytes()
    first = Path("gear/train/good/000.png")
    assert (tmp_path / "other" / first).read_bytes() != (tmp_path / "all" / first).read_bytes()
    good = [path.read_bytes() for path in (tmp_path / "all").glob("*/*/good/*.png")]
    assert len(set(good)) == len(good) == 4 * (3 + 1)  # train and test share no picture


def test_data_set_refuses_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(TrainingError, match="not an empty folder"):
        write_parts(tmp_path, good=1, defective=1, size=48, seed=0)
    with pytest.raises(TrainingError, match="not an empty folder"):
        write_parts(tmp_path / "notes.txt", good=1, defective=1, size=48, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"good": -1}, "-1"),
        ({"defective": -2}, "-2"),
        ({"seed": -3}, "-3"),
        ({"size": 8}, "8x8"),
        ({"kinds": ("bolt",)}, "bolt"),
    ],
)
def test_data_set_refuses_wrong_settings(tmp_path: Path, changed: dict[str, object], message: str) -> None:
    settings: dict[str, object] = {"good": 1, "defective": 1, "size": 48, "seed": 0} | changed
    with pytest.raises(TrainingError, match=message):
        write_parts(tmp_path / "parts", **settings)  # type: ignore[arg-type]
    assert not (tmp_path / "parts").exists()
