"""What each benchmark is trained with: one small file a benchmark in training/presets."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ..data import LAYOUTS
from ..errors import TrainingError
from ..fit_settings import FitSettings, RecipeName, recipe
from .tasks import Setting

PRESETS = tuple(name for name in LAYOUTS if name != "folder")


class Preset(BaseModel):
    """One file: settings of `fit` for both ways of training, and those that differ between them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    semantic: bool = Field(description="the anomalies are other classes, not defects")
    fit: dict[str, Any]
    single: dict[str, Any]
    multi: dict[str, Any]
    paper: dict[str, Any] = Field(default={}, description="differs from paper.toml with --recipe paper")

    def settings(self, setting: Setting, name: RecipeName, changed: dict[str, Any]) -> FitSettings:
        """Settings of one training; `changed` are those that the user gave. Raises ValidationError for a bad value."""
        followed = recipe(name) | (self.paper if name == "paper" else {})
        return FitSettings(**self.fit | (self.single if setting == "single" else self.multi) | followed | changed)


def load_preset(name: str) -> Preset:
    """The preset of a benchmark; raises TrainingError for an unknown name."""
    if name not in PRESETS:
        raise TrainingError(f"unknown benchmark '{name}'; known ones: {', '.join(PRESETS)}")
    return Preset.model_validate(tomllib.loads((files("training") / "presets" / f"{name}.toml").read_text(encoding="utf-8")))
