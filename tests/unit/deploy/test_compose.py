"""The Compose files, and what they and the Dockerfile must agree on with the rest of the project."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from service import __main__ as server
from service.settings import Settings

ROOT = Path(__file__).parents[3]
COMPOSE = Path(sys.executable).with_name("docker-compose")


def resolved(*files: str, **variables: str) -> dict[str, Any]:
    """The project as Compose understands it, all profiles included."""
    named = [word for file in files for word in ("-f", file)]
    done = subprocess.run(
        [COMPOSE, *named, "--profile", "*", "config", "--format", "json"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith(("COMPOSE", "DUET"))} | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(resolved("docker-compose.yml")["services"])


def test_every_service_is_hardened_and_limited(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name
        limits = service["deploy"]["resources"]["limits"]
        assert set(limits) == {"cpus", "memory", "pids"}, name


def test_starts_in_the_order_of_health(services: dict[str, Any]) -> None:
    assert services["prometheus"]["depends_on"]["duet"]["condition"] == "service_healthy"
    assert services["grafana"]["depends_on"]["prometheus"]["condition"] == "service_healthy"


def test_nothing_is_published_beyond_this_machine_unasked(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert {port["host_ip"] for port in published} == {"127.0.0.1"}
    asked = resolved("docker-compose.yml", PUBLISH_ON="0.0.0.0")["services"]
    assert asked["duet"]["ports"][0]["host_ip"] == "0.0.0.0"
    assert asked["prometheus"]["ports"][0]["host_ip"] == "127.0.0.1"


def test_a_folder_of_models_takes_the_place_of_the_volume() -> None:
    mount, _ = resolved("docker-compose.yml", MODEL_FOLDER="./models")["services"]["duet"]["volumes"]
    assert (mount["type"], mount["source"], mount["target"], mount["read_only"]) == ("bind", f"{ROOT}/models", "/models", True)


def test_the_gpu_file_reserves_a_gpu_and_requires_it() -> None:
    services = resolved("docker-compose.yml", "docker-compose.gpu.yml")["services"]
    for name in ("duet", "train"):
        [device] = services[name]["deploy"]["resources"]["reservations"]["devices"]
        assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", 1, ["gpu"])
        assert services[name]["build"]["args"]["RUNTIME"] == "gpu"
    assert services["duet"]["environment"]["DUET_REQUIRE_CUDA"] == "true"
    assert services["duet"]["environment"]["DUET_PROVIDERS"].startswith("cuda")


def test_openvino_comes_with_its_image_and_is_asked_for_bfloat16_by_name() -> None:
    files = ("docker-compose.yml", "docker-compose.openvino.yml")
    duet = resolved(*files)["services"]["duet"]
    assert (duet["build"]["args"]["RUNTIME"], duet["image"]) == ("openvino", "duet:openvino")
    assert duet["environment"]["DUET_PROVIDERS"] == "cpu"
    asked = resolved(*files, DUET_PROVIDERS="openvino-bf16,cpu")["services"]["duet"]
    assert asked["environment"]["DUET_PROVIDERS"] == "openvino-bf16,cpu"


def test_settings_are_known(services: dict[str, Any]) -> None:
    names = {name for name in services["duet"]["environment"] if name.startswith("DUET_")}
    dockerfile = set(re.findall(r"\b(DUET_[A-Z_]+)=", (ROOT / "Dockerfile").read_text()))
    assert {name.removeprefix("DUET_").lower() for name in names | dockerfile} <= set(Settings.model_fields)


def test_container_outlives_its_drain(services: dict[str, Any]) -> None:
    drain = Settings.model_fields["request_timeout_ms"].default / 1000 + server._GRACE_SECONDS
    assert float(services["duet"]["stop_grace_period"].removesuffix("s")) > drain


def test_dashboards_know_how_often_is_scraped() -> None:
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["global"]["scrape_interval"]
    sources = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert [source["jsonData"]["timeInterval"] for source in sources] == [scraped]


def test_image_tells_the_projects_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f'org.opencontainers.image.version="{project["version"]}"' in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("name", ["training.txt", "cpu.txt", "openvino.txt", "gpu.txt", "camera.txt"])
def test_lock_files_agree(name: str) -> None:
    """What is tested is what an image holds, and the trainer installs over the service's run time."""
    tested, locked = pins("dev.txt"), pins(name)
    assert len(locked) > 20
    assert {package: tested.get(package, version) for package, version in locked.items()} == locked


def pins(name: str) -> dict[str, str]:
    """Package and version of each line of a lock file."""
    return dict(re.findall(r"^([\w-]+)==([^ ;\n]+)", (ROOT / "requirements" / name).read_text(), re.MULTILINE))
