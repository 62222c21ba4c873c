import pytest
from pydantic import ValidationError

from training.benchmark import PRESETS, load_preset
from training.cli_benchmark import Benchmark
from training.data import LAYOUTS
from training.errors import TrainingError


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_valid_settings(name: str) -> None:
    preset = load_preset(name)
    for setting in ("single", "multi"):
        for paper in (False, True):
            settings = preset.settings(setting, paper=paper, changed={})
            assert settings.input_size in {224, 392}
            assert (settings.hard_share == 0.9) == paper


def test_there_is_one_for_each_benchmark() -> None:
    assert set(PRESETS) == set(LAYOUTS) - {"folder"}
    assert [benchmark.value for benchmark in Benchmark] == list(PRESETS)
    with pytest.raises(TrainingError, match=r"unknown benchmark 'coco'; known ones: mvtec, .*, view"):
        load_preset("coco")


def test_real_iad_trains_longer_and_with_more_dropout() -> None:
    settings = load_preset("real-iad").settings("multi", paper=True, changed={"seed": 3})
    assert (settings.steps, settings.dropout, settings.seed) == (50_000, 0.4, 3)


def test_what_the_user_gives_wins_and_is_checked() -> None:
    preset = load_preset("mvtec")
    assert preset.settings("single", paper=False, changed={"steps": 7}).steps == 7
    with pytest.raises(ValidationError):
        preset.settings("single", paper=False, changed={"step": 7})
