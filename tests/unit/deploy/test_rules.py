"""Alerts: each fires and does not in promtool's own tests, and each has its paragraph in the runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.errors import PROBLEMS

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy/prometheus"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is missing (Debian package prometheus)")
PARAGRAPHS = dict(
    re.findall(r"^## (\w+)\n\n(.+?)(?=\n## |\Z)", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE | re.DOTALL)
)
METRICS = set(re.findall(r"^\| `(\w+)`", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE))


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def promtool(*arguments: str) -> str:
    done = subprocess.run([str(PROMTOOL), *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_prometheus_takes_its_configuration_with_every_rule() -> None:
    assert f"{len(rules())} rules found" in promtool("check", "config", "prometheus.yml")


@needs_promtool
def test_every_alert_behaves_as_its_test_says() -> None:
    promtool("test", "rules", "rules_test.yml")


def test_every_alert_is_tested_firing_and_not() -> None:
    tests = yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]
    cases = [(case["alertname"], bool(case["exp_alerts"])) for test in tests for case in test["alert_rule_test"]]
    assert set(cases) == {(name, fires) for name in alerts() for fires in (True, False)}


def test_every_alert_has_a_paragraph_and_every_paragraph_an_alert() -> None:
    assert PARAGRAPHS.keys() == alerts().keys()
    for name, rule in alerts().items():
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert len(PARAGRAPHS[name]) > 150


def test_rules_and_runbook_speak_of_metrics_that_exist() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    text = "\n".join([*(rule["expr"] for rule in rules()), *PARAGRAPHS.values()])
    used = set(re.findall(r"\bduet_\w+", text))
    assert used
    assert {re.sub("_(bucket|count|sum)$", "", name) for name in used} <= METRICS
    assert set(re.findall(r"\bduet:[\w:]+", text)) <= recorded


def test_reasons_of_refusal_are_those_that_the_service_gives() -> None:
    slugs = {problem.slug for problem in PROBLEMS.values()}
    matched = [
        reason for rule in rules() for found in re.findall('reason!?~"(.+?)"', rule["expr"]) for reason in found.split("|")
    ]
    assert matched
    assert set(matched) <= slugs
    told = PARAGRAPHS["DuetOverloaded"] + PARAGRAPHS["DuetRefusesClients"]
    assert set(re.findall("`([a-z]+-[a-z-]+)`", told)) <= slugs
