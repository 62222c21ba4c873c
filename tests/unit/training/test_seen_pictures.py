"""Pictures that a run was made with are not measured as if they were new."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.data import Sample, digest
from training.errors import TrainingError
from training.evaluate import evaluate
from training.run_folder import RunFolder
from training.scorers import RunScorer
from training.seen_pictures import read_seen, refuse_seen, write_seen

MakeSamples = Callable[[int, int], list[Sample]]


def test_the_pictures_of_the_training_are_refused(
    finished_run: RunFolder, good_samples: MakeSamples, labelled_samples: list[Sample]
) -> None:
    anomalous = [sample for sample in labelled_samples if sample.label]
    for seed, part in ((1, "training"), (2, "held out")):  # as the run was made
        own = good_samples(24 if part == "training" else 12, seed)
        with pytest.raises(TrainingError) as error:
            evaluate(RunScorer(finished_run), own + anomalous)
        made_with = f"the run was made with {len(own)} of the {len(own)} good pictures"
        assert str(error.value).startswith(f"{made_with}, such as {seed}/0 ({part})")
        assert "name a folder of others with --data" in str(error.value)


def test_a_few_are_a_warning(good_samples: MakeSamples, caplog: pytest.LogCaptureFixture) -> None:
    """Benchmarks have some pictures twice."""
    samples = good_samples(20, 5)
    with caplog.at_level(logging.WARNING, "training"):
        refuse_seen({digest(samples[3]): "training", digest(samples[4]): "held out"}, samples)
    assert "the run was made with 2 of the 20 good pictures, such as 5/3 (training): figures flatter" in caplog.text
    with pytest.raises(TrainingError, match="3 of the 20 good"):
        refuse_seen({digest(sample): "training" for sample in samples[:3]}, samples)


def test_labelled_defects_that_were_learned_count_too(labelled_samples: list[Sample]) -> None:
    learned = {digest(sample): "labelled defects" for sample in labelled_samples if sample.defect == "blot"}
    with pytest.raises(TrainingError, match=r"6 of the 12 anomalous pictures, such as blot/0 \(labelled defects\)"):
        refuse_seen(learned, labelled_samples)


def test_new_pictures_pass_in_silence(
    finished_run: RunFolder, labelled_samples: list[Sample], caplog: pytest.LogCaptureFixture
) -> None:
    refuse_seen(read_seen(finished_run.seen_file), labelled_samples)
    assert caplog.text == ""


def test_a_run_without_the_list_is_measured_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "training"):
        assert read_seen(tmp_path / "pictures.csv") == {}
    assert "pictures.csv is missing: see for yourself" in caplog.text
    (tmp_path / "pictures.csv").write_text("name\n1\n")
    with pytest.raises(TrainingError, match=r"pictures\.csv cannot be read"):
        read_seen(tmp_path / "pictures.csv")


def test_a_picture_of_several_parts_counts_as_learned_and_a_name_need_not_be_text(tmp_path: Path) -> None:
    """A run of folds learns from every picture, and calibrates on it too."""
    sample = Sample("Pr\udcfcfung.png", np.zeros((2, 2), np.uint8), 0, "stripes")
    write_seen(tmp_path / "pictures.csv", {"training": [sample], "held out": [sample]})
    assert read_seen(tmp_path / "pictures.csv") == {digest(sample): "training"}
