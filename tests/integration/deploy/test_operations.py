"""docs/operations.md: its commands, run as they stand there, and its tables against what they describe."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from service.errors import PROBLEMS
from service.settings import Settings
from tests.pictures import encode, grey
from tests.service_process import ServiceProcess, running_service
from tests.tiny_model import write_tiny_model

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs" / "operations.md").read_text()
KEY = "the administrator's key"


def section(title: str) -> str:
    """The text under a heading."""
    [text] = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", GUIDE, re.MULTILINE | re.DOTALL)
    return str(text)


def run(block: str, service: ServiceProcess) -> str:
    """What the commands of a block print, asked of this service; raises CalledProcessError if one fails."""
    commands = block.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{service.port}")
    done = subprocess.run(
        ["bash", "-euc", commands], env=os.environ | {"ADMIN_KEY": KEY}, capture_output=True, text=True, check=True
    )
    return done.stdout


def versions(service: ServiceProcess) -> set[str]:
    """The version that answers, as requests that name none see it: the same one every time."""
    header = {"X-API-Key": KEY}
    answers = [
        service.client.post("/score?model=gear&heatmap=none", content=encode(grey()), headers=header).raise_for_status().json()
        for _ in range(3)
    ]
    return {answer["model"]["version"] for answer in answers}


def test_a_model_is_upgraded_and_rolled_back(tmp_path: Path) -> None:
    upgrade, roll_back = re.findall(r"```sh\n(.*?)```", section("Another version of a model"), re.DOTALL)
    upgrade, look = upgrade.strip().splitlines()
    write_tiny_model(tmp_path / "models", "gear", 1)
    keys = f"admin:{hashlib.sha256(KEY.encode()).hexdigest()}:admin"
    with running_service(tmp_path / "models", tmp_path / "log", api_keys=keys) as service:
        assert versions(service) == {"1"}
        write_tiny_model(tmp_path / "models", "gear", 2)
        run(upgrade, service)
        assert versions(service) == {"2"}
        assert '"2"' in run(look, service)
        run(roll_back, service)
        assert versions(service) == {"1"}


def test_every_alert_is_listed_with_its_runbook() -> None:
    groups = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())["groups"]
    raised = {
        rule["alert"]: (rule["labels"]["severity"], rule["annotations"]["runbook"])
        for group in groups
        for rule in group["rules"]
        if "alert" in rule
    }
    listed = re.findall(r"^\| \[(\w+)\]\((.*?)\) \| (\w+) \|", section("Alerts"), re.MULTILINE)
    assert {name: (severity, f"docs/{link}") for name, link, severity in listed} == raised


def test_limits_name_settings_and_problems_that_exist() -> None:
    text = section("Limits")
    for setting in re.findall(r"`DUET_(\w+)`", GUIDE):
        assert setting.lower() in Settings.model_fields
    known = {(problem.status, problem.slug) for problem in PROBLEMS.values()}
    named = re.findall(r"(\d{3}) `([\w-]+)`", text)
    assert len(named) == 6
    assert {(int(status), kind) for status, kind in named} <= known


@pytest.mark.parametrize("path", re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", GUIDE))
def test_links_lead_somewhere(path: str) -> None:
    assert (ROOT / "docs" / path).exists()
