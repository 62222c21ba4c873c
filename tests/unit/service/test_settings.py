"""Settings: defaults, reading, and refusal in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.settings import PREFIX, SettingsError, load_settings
from tests.api_keys import KEY, SETTING, digest


@pytest.fixture(autouse=True)
def _no_inherited_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)


def test_defaults() -> None:
    settings = load_settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.models == Path("models")
    assert settings.providers == ("cuda", "cpu")
    assert settings.api_keys == ()
    assert settings.rate_limit == 0
    assert settings.docs


def test_values_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUET_PROVIDERS", "TensorRT, cuda,cpu")
    monkeypatch.setenv("DUET_REQUIRE_CUDA", "true")
    monkeypatch.setenv("DUET_MAX_BATCH_DELAY_MS", "2.5")
    settings = load_settings()
    assert settings.providers == ("tensorrt", "cuda", "cpu")
    assert settings.require_cuda
    assert settings.max_batch_delay_ms == 2.5


def test_keys_are_read_and_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUET_API_KEYS", SETTING)
    settings = load_settings()
    assert [(key.name, key.admin) for key in settings.api_keys] == [("line-4", False), ("boss", True)]
    assert digest(KEY) not in repr(settings)


def test_unknown_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUET_MAX_QUEU", "3")
    with pytest.raises(SettingsError, match=r"DUET_MAX_QUEU: .*DUET_MAX_QUEUE"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "70000"),
        ("PROVIDERS", "gpu"),
        ("PROVIDERS", ""),
        ("MAX_QUEUE", "0"),
        ("API_KEYS", ""),
        ("MODELS", ""),
        ("ARCHIVE", ""),
        ("TENSORRT_CACHE", ""),
        ("API_KEYS", "line"),
        ("RATE_LIMIT", "-1"),
        ("RATE_LIMIT", "inf"),
        ("RATE_LIMIT", "nan"),
        ("DOCS", "maybe"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_invalid_value_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(SettingsError, match=f"DUET_{name}") as refusal:
        load_settings()
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).count("DUET_") == 1
    assert "Value error" not in str(refusal.value)
