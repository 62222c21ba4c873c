import pytest
from pydantic import ValidationError

from training.benchmark import PRESETS, Setting, load_preset
from training.cli_benchmark import Benchmark
from training.data import LAYOUTS
from training.errors import TrainingError
from training.fit_settings import FitSettings, recipe


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("setting", ["single", "multi"])
def test_every_preset_makes_valid_settings(name: str, setting: Setting) -> None:
    preset = load_preset(name)
    ours, papers = preset.settings(setting, "duet", {}), preset.settings(setting, "paper", {})
    assert ours.input_size in {224, 392}
    assert (ours.input_size, ours.steps, ours.batch_size) == (papers.input_size, papers.steps, papers.batch_size)
    assert (ours.spoilt_share, ours.whitened, ours.class_levels, ours.class_turns) == (0.75, True, True, True)
    assert (papers.spoilt_share, papers.whitened, papers.class_levels, papers.class_turns) == (0.0, False, False, False)
    assert (papers.local_weight, papers.semantic_weight, papers.encoder_depth) == (1.0, 1.0, "full")
    assert (papers.hard_share, papers.optimizer) == (0.9, "stable-adamw")


def test_the_papers_recipe_leaves_nothing_of_the_method_to_our_defaults() -> None:
    """So that a default of ours can change without changing what it trains."""
    of_the_task = {"teacher", "input_size", "tiles", "steps", "batch_size", "accumulate", "held_out_share",
                   "folds", "alpha", "seed", "defect_share"}  # fmt: skip
    of_muon = {"decoder_matrix_learning_rate"}
    assert set(FitSettings.model_fields) - set(recipe("paper")) == of_the_task | of_muon


def test_there_is_one_for_each_benchmark() -> None:
    assert set(PRESETS) == set(LAYOUTS) - {"folder"}
    assert [benchmark.value for benchmark in Benchmark] == list(PRESETS)
    with pytest.raises(TrainingError, match=r"unknown benchmark 'coco'; known ones: mvtec, .*, view"):
        load_preset("coco")


def test_real_iad_trains_longer_and_with_more_dropout() -> None:
    settings = load_preset("real-iad").settings("multi", "paper", {"seed": 3})
    assert (settings.steps, settings.dropout, settings.seed) == (50_000, 0.4, 3)


def test_what_the_user_gives_wins_and_is_checked() -> None:
    preset = load_preset("mvtec")
    assert preset.settings("single", "duet", {"steps": 7}).steps == 7
    assert preset.settings("single", "paper", {"encoder_depth": 3}).encoder_depth == 3
    with pytest.raises(ValidationError):
        preset.settings("single", "duet", {"step": 7})
