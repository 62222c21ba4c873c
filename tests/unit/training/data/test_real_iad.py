import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.data import DataError, load_samples

Save = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path, save_picture: Save, save_mask: Save) -> Path:
    """One category, three views of a good part to train on; single view takes the first camera alone."""

    def entry(kind: str, name: str, mask: str | None = None) -> dict[str, str | None]:
        save_picture(tmp_path / "realiad_1024/audiojack" / name)
        return {"category": "audiojack", "anomaly_class": kind, "image_path": name, "mask_path": mask}

    train = [entry("OK", f"OK/S0001/audiojack_0001_OK_C{view}.jpg") for view in (1, 2, 3)]
    test = [
        entry("OK", "OK/S0002/audiojack_0002_OK_C1.jpg"),
        entry("AK", "NG/AK/S0003/audiojack_0003_NG_C1.jpg", "NG/AK/S0003/audiojack_0003_NG_C1.png"),
    ]
    save_mask(tmp_path / "realiad_1024/audiojack/NG/AK/S0003/audiojack_0003_NG_C1.png", (3, 4))
    for folder, training in (("realiad_jsons", train), ("realiad_jsons_sv", train[:1])):
        file = tmp_path / "realiad_jsons" / folder / "audiojack.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"meta": {"prefix": "audiojack/", "normal_class": "OK"}, "train": training, "test": test}))
    return tmp_path


def test_views_are_pictures_of_their_own(root: Path) -> None:
    assert len(load_samples("real-iad", root, "train")) == 3
    assert len(load_samples("real-iad-single-view", root, "train")) == 1
    good, bad = load_samples("real-iad", root, "test", ["audiojack"])
    assert (good.label, good.defect, bad.label, bad.defect) == (0, None, 1, "AK")
    assert np.argwhere(bad.mask()).tolist() == [[3, 4]]


def test_the_largest_resolution_that_is_there_is_read(root: Path) -> None:
    (root / "realiad_1024").rename(root / "realiad_256")
    assert load_samples("real-iad", root, "train")[0].source == (
        root / "realiad_256/audiojack/OK/S0001/audiojack_0001_OK_C1.jpg"
    )


def test_a_wrong_tree_is_refused(root: Path) -> None:
    (root / "realiad_1024/audiojack/OK/S0001/audiojack_0001_OK_C2.jpg").unlink()
    with pytest.raises(DataError, match=r"audiojack\.json names OK/.*C2\.jpg, but .* does not exist; expected layout"):
        load_samples("real-iad", root, "train")
    (root / "realiad_1024").rename(root / "images")
    with pytest.raises(DataError, match=r"looked for realiad_1024 or .* found: images/, realiad_jsons/"):
        load_samples("real-iad", root, "train")
    (root / "realiad_jsons/realiad_jsons/audiojack.json").unlink()
    with pytest.raises(DataError, match=r"looked for CATEGORY\.json in .*realiad_jsons/realiad_jsons; found: nothing"):
        load_samples("real-iad", root, "train")


def test_a_damaged_description_is_refused(root: Path) -> None:
    (root / "realiad_jsons/realiad_jsons/audiojack.json").write_text('{"meta": {}, "train": []}')
    with pytest.raises(DataError, match=r"audiojack\.json is damaged"):
        load_samples("real-iad", root, "train")
