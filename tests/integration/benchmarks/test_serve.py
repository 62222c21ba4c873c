"""The side-by-side benchmark, very short, against whatever is installed here: Duet and the plain handler at least."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import httpx
import pytest
from PIL import Image
from typer import Typer
from typer.testing import CliRunner

from benchmarks.serve.__main__ import main
from benchmarks.serve.load import LoadError, saturate
from benchmarks.serve.servers import DUET, MODULES, Setup, running
from benchmarks.serve.work import Work
from tests.tiny_model import write_tiny_model

ROOT = Path(__file__).parents[3]
INSTALLED = ROOT / ".venv-bench" / "bin" / "python"
needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is missing: apt-get install wrk")


def run(*arguments: str) -> tuple[int, str]:
    app = Typer()
    app.command()(main)
    outcome = CliRunner().invoke(app, list(arguments))
    return outcome.exit_code, outcome.output


@needs_wrk
def test_servers_are_measured_side_by_side(tmp_path: Path) -> None:
    peers = INSTALLED if INSTALLED.exists() else Path(sys.executable)
    names = [DUET, *(MODULES if INSTALLED.exists() else ["plain FastAPI"])]
    chosen = [argument for name in names for argument in ("--server", name)]
    code, printed = run(
        *chosen, "--picture", "small", "--rounds", "1", "--seconds", "3", "--connections", "2", "--peers", str(peers),
        "--output", str(tmp_path),
    )  # fmt: skip
    assert code == 0, printed
    assert "of the limit" in printed
    found = json.loads((tmp_path / "demo.json").read_text())
    assert [visit["server"] for visit in found["visits"]] == names
    for visit in found["visits"]:
        assert visit["saturated"]["rate"] > 0
        assert visit["shared"]["p50"] <= visit["shared"]["p95"] <= visit["shared"]["p99"]
        assert visit["peak_bytes"] > 2**26
        assert visit["ready_seconds"] > 0
    (limit,) = found["limits"]
    slowest = limit["cores"] / (limit["cores"] / min(limit["inference"].values()) + limit["answer"])
    assert 0 < limit["rates"]["112x112 PNG"] <= max(slowest, max(limit["inference"].values()))
    with Image.open(tmp_path / "demo.png") as chart:
        assert chart.width > 400


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--server", "Triton"], "unknown Triton"),
        (["--graph", "large"], "unknown large"),
        (["--peers", "/nowhere"], "is missing"),
    ],
)
def test_what_cannot_be_measured_is_named(arguments: list[str], reason: str) -> None:
    code, printed = run(*arguments)
    assert code == 2
    assert reason in printed


def test_every_peer_does_duet_s_work(tmp_path: Path) -> None:
    """The plain handler answers the scores that Duet answers, and Duet's heatmap."""
    model = write_tiny_model(tmp_path / "models", version=1)
    picture = ROOT / "models" / "demo" / "samples" / "good_gear.png"
    work = Work(model, cuda=False)
    (row,) = work.infer([work.decode(picture.read_bytes())])
    expected = json.loads(work.answer(row))
    answers = {}
    for name in (DUET, "plain FastAPI"):
        setup = Setup(model, 2, cuda=False, peers=Path(sys.executable))
        with running(name, setup, tmp_path, picture, "image/png") as server:
            found = httpx.post(server.url, content=picture.read_bytes(), headers={"Content-Type": "image/png"}, timeout=60)
            answers[name] = found.json()
    assert answers["plain FastAPI"] == expected
    duet = answers[DUET]
    assert duet["scores"]["joint"] == pytest.approx(expected["scores"]["joint_probability"], abs=1e-6)
    assert duet["heatmap"]["data"] == expected["heatmap"]


@needs_wrk
def test_server_that_refuses_is_no_result(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "models", version=1)
    picture = ROOT / "models" / "demo" / "samples" / "good_gear.png"
    broken = tmp_path / "broken.png"
    broken.write_bytes(picture.read_bytes()[:300])
    setup = Setup(model, 2, cuda=False, peers=Path(sys.executable))
    with running(DUET, setup, tmp_path, picture, "image/png") as server, pytest.raises(LoadError, match="failed"):
        saturate(server, broken, "image/png", 1, 2.0)
