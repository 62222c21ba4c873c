"""The Kubernetes resources as `kubectl kustomize` puts them together, against the API's schemas and against each other."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from deploy.kubernetes.prometheus_rule import PATH, RULES, prometheus_rule
from service import __main__ as server
from service.metrics import Metrics
from service.settings import Settings

ROOT = Path(__file__).parents[3]
KUBECTL = Path(sys.executable).with_name("kubectl")
OLDEST = "1.34"  # the first in which a preStop `sleep` is no beta
OPERATORS = {"ServiceMonitor", "PrometheusRule"}  # kinds that a cluster learns from the Prometheus operator
Resources = dict[str, dict[str, Any]]


@pytest.fixture(scope="module", params=["cpu", "gpu"])
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def resources(overlay: str) -> Resources:
    """The overlay's resources by kind; of the two ConfigMaps that of the settings."""
    built = subprocess.run(
        [KUBECTL, "kustomize", ROOT / "deploy/kubernetes" / overlay], capture_output=True, text=True, check=True
    )
    found = [one for one in yaml.safe_load_all(built.stdout) if one["metadata"]["name"] != "duet-dashboards"]
    assert len({one["kind"] for one in found}) == len(found)
    return {one["kind"]: one for one in found}


@pytest.fixture(scope="module")
def pod(resources: Resources) -> dict[str, Any]:
    return dict(resources["Deployment"]["spec"]["template"])


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
def test_resources_obey_the_api(resources: Resources, version: str) -> None:
    for kind, resource in resources.items():
        if kind not in OPERATORS:
            kubernetes_validate.validate(resource, version, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(resources["Service"] | {"spec": {"port": 80}}, version, strict=True)


def test_operators_kinds_have_the_fields_that_are_read(resources: Resources) -> None:
    monitor = resources["ServiceMonitor"]
    assert monitor["apiVersion"] == resources["PrometheusRule"]["apiVersion"] == "monitoring.coreos.com/v1"
    assert set(monitor["spec"]) == {"selector", "jobLabel", "endpoints"}
    assert [set(endpoint) for endpoint in monitor["spec"]["endpoints"]] == [{"port", "path", "interval", "scrapeTimeout"}]


def test_everything_is_in_one_namespace(resources: Resources) -> None:
    name = resources["Namespace"]["metadata"]["name"]
    assert {one["metadata"]["namespace"] for kind, one in resources.items() if kind != "Namespace"} == {name}


def test_selectors_find_the_pods(resources: Resources, pod: dict[str, Any]) -> None:
    labels = pod["metadata"]["labels"].items()
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert resources[kind]["spec"]["selector"]["matchLabels"].items() <= labels
    assert resources["Service"]["spec"]["selector"].items() <= labels
    assert resources["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items() <= labels
    assert (
        resources["ServiceMonitor"]["spec"]["selector"]["matchLabels"].items()
        <= resources["Service"]["metadata"]["labels"].items()
    )
    assert resources["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == resources["Deployment"]["metadata"]["name"]


def test_ports_are_called_alike(resources: Resources, pod: dict[str, Any]) -> None:
    [container] = pod["spec"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": Settings.model_fields["port"].default}]
    assert [port["targetPort"] for port in resources["Service"]["spec"]["ports"]] == ["http"]
    names = {port["name"] for port in resources["Service"]["spec"]["ports"]}
    assert {endpoint["port"] for endpoint in resources["ServiceMonitor"]["spec"]["endpoints"]} <= names
    probes = [container[probe]["httpGet"]["port"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert probes == ["http"] * 3


def test_pod_outlives_its_drain(pod: dict[str, Any]) -> None:
    [container] = pod["spec"]["containers"]
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = Settings.model_fields["request_timeout_ms"].default / 1000 + server._GRACE_SECONDS
    assert pod["spec"]["terminationGracePeriodSeconds"] > before + drain


def test_settings_are_known_and_valid(resources: Resources, pod: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    [container] = pod["spec"]["containers"]
    for name, value in resources["ConfigMap"]["data"].items():
        assert name.removeprefix("DUET_").lower() in Settings.model_fields
        monkeypatch.setenv(name, value)
    Settings()
    assert pod["spec"]["enableServiceLinks"] is False  # else the Service `duet` sets DUET_PORT
    assert [source["configMapRef"]["name"] for source in container["envFrom"] if "configMapRef" in source] == [
        resources["ConfigMap"]["metadata"]["name"]
    ]


def test_pod_has_no_rights(pod: dict[str, Any]) -> None:
    """What the `restricted` pod security standard asks for, and a file system that is only read."""
    [container] = pod["spec"]["containers"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    assert pod["spec"]["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert f"useradd --uid {pod['spec']['securityContext']['runAsUser']} " in (ROOT / "Dockerfile").read_text()


def test_scaling_reads_a_metric_that_exists(resources: Resources) -> None:
    [metric] = resources["HorizontalPodAutoscaler"]["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert name in {family.name for family in Metrics().registry.collect()}
    assert int(metric["pods"]["target"]["averageValue"]) < int(resources["ConfigMap"]["data"]["DUET_MAX_QUEUE"])


def test_gpus_are_asked_for_by_their_overlay_alone(overlay: str, resources: Resources, pod: dict[str, Any]) -> None:
    [container] = pod["spec"]["containers"]
    assert ("nvidia.com/gpu" in container["resources"]["limits"]) is (overlay == "gpu")
    assert (resources["ConfigMap"]["data"].get("DUET_REQUIRE_CUDA") == "true") is (overlay == "gpu")
    assert container["image"].endswith(f"-{overlay}")


def test_rules_are_those_of_prometheus(resources: Resources, tmp_path: Path) -> None:
    assert PATH.read_text() == prometheus_rule(), "run `make generated`"
    assert resources["PrometheusRule"]["spec"] == yaml.safe_load(RULES.read_text())
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump(resources["PrometheusRule"]["spec"]))
    checked = subprocess.run(["promtool", "check", "rules", rules], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_dashboards_come_along(overlay: str) -> None:
    built = subprocess.run(
        [KUBECTL, "kustomize", ROOT / "deploy/kubernetes" / overlay], capture_output=True, text=True, check=True
    )
    maps = {one["metadata"]["name"]: one for one in yaml.safe_load_all(built.stdout) if one["kind"] == "ConfigMap"}
    dashboards = maps["duet-dashboards"]
    kubernetes_validate.validate(dashboards, OLDEST, strict=True)
    assert dashboards["metadata"]["labels"]["grafana_dashboard"] == "1"
    for name, text in dashboards["data"].items():
        assert text == (ROOT / "deploy/grafana/dashboards" / name).read_text()
