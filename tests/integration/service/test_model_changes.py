"""Models loaded, swapped and unloaded through the API of a real process, as an administrator does it and under load."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.api_keys import ADMIN_KEY, KEY, SETTING, bearer
from tests.pictures import encode, spotted
from tests.service_process import ServiceProcess, running_service
from tests.tiny_model import write_tiny_model

PICTURE = encode(spotted())
DEMO = Path(__file__).parents[3] / "models/demo/1"


@pytest.fixture
def own_models(tmp_path: Path) -> Path:
    """A repository that a test may change, with version 1 of 'tiny'."""
    write_tiny_model(tmp_path / "models", threshold=0.1)
    return tmp_path / "models"


@pytest.fixture
def service(own_models: Path, tmp_path: Path) -> Iterator[ServiceProcess]:
    with running_service(own_models, tmp_path / "service.log", api_keys=SETTING) as service:
        yield service


@pytest.fixture
def client(service: ServiceProcess) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{service.port}") as client:
        yield client


def score(service: ServiceProcess, **query: str) -> httpx.Response:
    return service.client.post("/score", params=query, content=PICTURE, headers=bearer(KEY))


def index(client: triton.InferenceServerClient) -> dict[str, str]:
    entries = client.get_model_repository_index(headers=bearer(KEY))
    return {f"{entry['name']}/{entry['version']}": entry["state"] for entry in entries}


def test_models_that_come_and_go_leave_no_memory_behind(tmp_path: Path) -> None:
    """The shipped model, because the tiny one weighs nothing. What a change leaves varies by a fifth: the last three count."""
    for name in ("demo", "second"):
        shutil.copytree(DEMO, tmp_path / f"models/{name}/1")
    settings = {"api_keys": SETTING, "default_model": "demo"}
    with running_service(tmp_path / "models", tmp_path / "service.log", **settings) as service:
        with_both = least_memory(service)
        with_one = []
        for _ in range(8):
            for change in ("load", "load", "unload"):
                service.client.post(f"/v2/repository/models/second/{change}", headers=bearer(ADMIN_KEY)).raise_for_status()
            with_one.append(least_memory(service))
    assert min(with_one[-3:]) < with_both, with_one


def test_a_burst_takes_no_memory_that_the_start_has_not_taken(tmp_path: Path) -> None:
    shutil.copytree(DEMO, tmp_path / "models/demo/1")
    with running_service(tmp_path / "models", tmp_path / "service.log", max_queue=64) as service:
        before = least_memory(service)
        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(lambda _: service.client.post("/score", content=PICTURE), range(160)))
        assert {answer.status_code for answer in answers} == {200}
        assert least_memory(service) < 1.15 * before


def least_memory(service: ServiceProcess) -> float:
    """Resident bytes once the holes have been given back, which nobody waits for."""
    samples = []
    for _ in range(10):
        samples.append(service.metric("process_resident_memory_bytes"))
        time.sleep(0.1)
    return min(samples)


def test_tritons_client_swaps_a_model(service: ServiceProcess, client: triton.InferenceServerClient, own_models: Path) -> None:
    write_tiny_model(own_models, version=2, threshold=0.2)
    write_tiny_model(own_models, "other")
    assert index(client) == {"other/1": "UNAVAILABLE", "tiny/1": "READY", "tiny/2": "UNAVAILABLE"}
    for name in ("tiny", "other"):
        client.load_model(name, headers=bearer(ADMIN_KEY))
    assert index(client) == {"other/1": "READY", "tiny/1": "UNAVAILABLE", "tiny/2": "READY"}
    assert score(service).json()["threshold"] == 0.2
    assert client.is_model_ready("other", headers=bearer(KEY))
    client.unload_model("other", headers=bearer(ADMIN_KEY))
    assert score(service, model="other").status_code == 404
    assert not client.is_model_ready("other", headers=bearer(KEY))


def test_rollback(service: ServiceProcess, own_models: Path) -> None:
    """The older version is loaded beside the newer one, which is then unloaded."""
    write_tiny_model(own_models, version=2, threshold=0.2)
    admin = bearer(ADMIN_KEY)
    for change, version in (("load", None), ("load", "1"), ("unload", "2")):
        body = {"parameters": {"version": version}} if version else {}
        assert service.client.post(f"/v2/repository/models/tiny/{change}", json=body, headers=admin).status_code == 200
        if version == "1":
            assert score(service, version="2").json()["threshold"] == score(service).json()["threshold"] == 0.2
            assert score(service, version="1").json()["threshold"] == 0.1
    assert score(service).json()["model"] == {"name": "tiny", "version": "1"}


@pytest.mark.parametrize("change", ["load", "unload"])
def test_only_an_administrator_changes_models(service: ServiceProcess, change: str) -> None:
    for headers, status in ((bearer(KEY), 403), ({}, 401)):
        answer = service.client.post(f"/v2/repository/models/tiny/{change}", headers=headers)
        assert answer.status_code == status
        assert list(answer.json()) == ["error"]
    assert score(service).status_code == 200


def test_nobody_changes_models_where_there_are_no_keys(own_models: Path, tmp_path: Path) -> None:
    with running_service(own_models, tmp_path / "open.log") as service:
        assert service.client.post("/v2/repository/models/tiny/unload").status_code == 403
        assert service.client.post("/v2/repository/index").status_code == 200
        assert service.client.post("/score", content=PICTURE).status_code == 200


def test_a_refused_file_is_answered_with_the_reason(
    service: ServiceProcess, client: triton.InferenceServerClient, own_models: Path
) -> None:
    path = write_tiny_model(own_models, version=2)
    path.write_bytes(path.read_bytes()[:-200_000])
    with pytest.raises(InferenceServerException, match=r"model\.onnx: cannot be loaded") as error:
        client.load_model("tiny", headers=bearer(ADMIN_KEY))
    assert error.value.status() == "409"
    assert score(service).json()["model"]["version"] == "1"
    assert service.client.get("/health/ready").status_code == 200
    assert service.metric("duet_model_load_failures_total", version="2") == 1
    (model,) = service.client.get("/models", headers=bearer(KEY)).json()["models"]
    assert [version["state"] for version in model["versions"]] == ["ready", "failed"]
    assert "cannot be loaded" in model["versions"][1]["reason"]


@pytest.mark.parametrize("name", ["..%2Ftiny", "absent", "%2e%2e"])
def test_what_is_not_in_the_folder_cannot_be_loaded(service: ServiceProcess, name: str) -> None:
    answer = service.client.post(f"/v2/repository/models/{name}/load", headers=bearer(ADMIN_KEY))
    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]


def test_files_are_not_taken_over_http(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="config"):
        client.load_model("tiny", config="{}", headers=bearer(ADMIN_KEY))


def test_swapping_under_load_fails_no_request(service: ServiceProcess, own_models: Path) -> None:
    """Four clients post without pause while the versions change ten times; each answer is one version's, whole."""
    write_tiny_model(own_models, version=2, threshold=0.2)
    thresholds = {"1": 0.1, "2": 0.2}
    over = threading.Event()

    def post() -> set[str]:
        versions: set[str] = set()
        with httpx.Client(base_url=f"http://127.0.0.1:{service.port}", timeout=60, headers=bearer(KEY)) as connection:
            while not over.is_set():
                answer = connection.post("/score", content=PICTURE)
                assert answer.status_code == 200, answer.text
                version = answer.json()["model"]["version"]
                assert answer.json()["threshold"] == thresholds[version]
                versions.add(version)
        return versions

    def change(action: str, **parameters: str) -> None:
        answer = service.client.post(
            f"/v2/repository/models/tiny/{action}", json={"parameters": parameters}, headers=bearer(ADMIN_KEY)
        )
        assert answer.status_code == 200, answer.text

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(post) for _ in range(4)]
        try:
            for _ in range(5):
                change("load")
                change("load", version="1")
                change("unload", version="2")
        finally:
            over.set()
        seen = set.union(*(client.result() for client in clients))
    assert seen == {"1", "2"}
    assert service.metric("duet_requests_total", outcome="failed") == 0
    assert service.metric("duet_rejected_total") == 0


def test_models_over_the_budget_come_back_on_demand(own_models: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_tiny_model(own_models, name)
    with running_service(own_models, tmp_path / "small.log", max_models_mb=1) as service:
        with ThreadPoolExecutor(6) as pool:
            names = ["a", "b", "tiny"] * 4
            answers = list(pool.map(lambda name: service.client.post("/score", params={"model": name}, content=PICTURE), names))
        assert [answer.status_code for answer in answers] == [200] * 12
        assert [answer.json()["model"]["name"] for answer in answers] == names
        states = [model["versions"][0]["state"] for model in service.client.get("/models").json()["models"]]
        assert sorted(states) == ["on_demand", "on_demand", "ready"]
        assert service.client.get("/v2/models/a/ready").status_code == 200
        assert service.metric("duet_model_ready") == 1
