"""Duet beside other ways to serve the same graph, and beside what the machine could do at best.

    make bench                                         # installs the peers into .venv-bench, then runs this
    python -m benchmarks.serve --server Duet --server "plain FastAPI" --picture web --seconds 3

Every server gets the same model file, pictures and work (see work.py), one after the other, in rounds; each is started anew in
each round. The load comes from wrk on the same machine, of whose cores it takes a little, from all alike. `Duet int8` (on CUDA
`Duet fp16`) is Duet with that file as `duet-train export --precision` would round it; of int8 good for speed alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .graphs import write_model, write_rounded
from .limit import Limit
from .load import LoadError, at_share, saturate, warm_up
from .pictures import Posted, write_pictures
from .report import Result, Visit, draw, print_tables, write_json
from .servers import DUET_FP16, DUET_INT8, DUETS, MODULES, ROOT, ServerError, Setup, running

NAMES: list[str] = [*DUETS, *MODULES]
KINDS: list[str] = ["camera", "web", "small"]


def main(
    graph: Annotated[str, typer.Option(help="`demo` ships with Duet; `vit-s` has random weights, at 224 pixels.")] = "demo",
    server: Annotated[
        list[str] | None,
        typer.Option(help="Of " + ", ".join(NAMES) + "; may be repeated; all if absent, of int8 and fp16 the device's own."),
    ] = None,
    picture: Annotated[list[str], typer.Option(help="Of " + ", ".join(KINDS) + "; may be repeated.")] = KINDS,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    seconds: Annotated[float, typer.Option(min=1, help="Of each load.")] = 5.0,
    connections: Annotated[int, typer.Option(min=1)] = 16,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Batch limit of all that batch; Duet's own, and 8 for its peers, if absent."),
    ] = None,
    cuda: Annotated[bool, typer.Option("--cuda", help="Compute on the GPU, all of them.")] = False,
    peers: Annotated[Path, typer.Option(help="Python that has the peers installed.")] = ROOT / ".venv-bench/bin/python",
    output: Annotated[Path, typer.Option(help="Folder for GRAPH.json and GRAPH.png.")] = Path("runs/serve"),
) -> None:
    """Measure throughput, latency, memory and start of each server."""
    server = server or [name for name in NAMES if name != (DUET_INT8 if cuda else DUET_FP16)]
    unknown = [name for name in server if name not in NAMES] + [name for name in picture if name not in KINDS]
    if unknown or graph not in ("demo", "vit-s"):
        raise typer.BadParameter(f"unknown {', '.join(unknown) or graph}: see --help")
    if set(server) - set(DUETS) and not peers.exists():
        raise typer.BadParameter(f"{peers} is missing: `make bench` installs the peers, --server Duet does without")
    output.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="duet-serve-") as scratch:
            folder = Path(scratch)
            posted = [found for kind, found in write_pictures(folder).items() if kind in picture]
            # absolute, but not resolved: a virtual environment's Python is a link to one that lacks its packages
            setup = Setup(write_model(graph, folder / "models"), batch, cuda, peers.absolute())
            setups = dict.fromkeys(server, setup)
            if DUET_INT8 in server:
                setups[DUET_INT8] = replace(setup, model=write_rounded(setup.model, folder / "int8", "int8"))
            if DUET_FP16 in server:
                setups[DUET_FP16] = replace(setup, model=write_rounded(setup.model, folder / "fp16", "fp16"))
            limits: list[Limit] = []
            visits: list[Visit] = []
            for number in range(rounds):
                limits.append(_measure_limit(setup, posted, seconds))
                for name, its in setups.items():
                    print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr)
                    visits += _visit(name, its, folder, posted, connections, seconds)
    except (LoadError, ServerError) as error:
        Console(stderr=True).print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error
    result = Result(graph, batch, cuda, limits, visits, {found.name: found.file.name for found in posted})
    print_tables(result)
    write_json(result, output / f"{graph}.json")
    draw(result, output / f"{graph}.png")


def _measure_limit(setup: Setup, posted: list[Posted], seconds: float) -> Limit:
    command = [sys.executable, "-m", "benchmarks.serve.limit", str(setup.model), *(str(found.file) for found in posted)]
    command += ["--seconds", str(seconds / 5), *(["--cuda"] if setup.cuda else [])]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout
    found = json.loads(printed)
    return Limit(**found | {"inference": {int(size): rate for size, rate in found["inference"].items()}})


def _visit(name: str, setup: Setup, folder: Path, posted: list[Posted], connections: int, seconds: float) -> list[Visit]:
    """One server, started anew, on every picture."""
    measured = []
    with running(name, setup, folder, posted[0].file, posted[0].media_type) as server:
        for found in posted:
            wanted = found.file, found.media_type
            warm_up(server, *wanted, connections)
            saturated = saturate(server, *wanted, connections, seconds)
            shared = at_share(server, *wanted, seconds, saturated.rate)
            measured.append((found.name, saturated, shared))
        ready, peak = server.ready_seconds, server.peak_bytes
    return [Visit(name, picture, saturated, shared, ready, peak) for picture, saturated, shared in measured]


if __name__ == "__main__":
    typer.run(main)
