"""How fast `fit` trains, against the least that its steps could take, and what would make it faster.

    python -m benchmarks.training_speed runs/gear

Takes a run that `duet-train fit` has begun, and changes nothing of it. Everything is timed in turns, a few steps each, on the
batches that the run would see next:

- fit: as `duet-train fit` goes, pictures drawn and spoilt by its loading process
- steps alone: the same steps on batches that lie ready, so that loading costs nothing
- plain loop: teacher, both students, backward pass and one AdamW, without anything else that a step does
- teacher alone: what it sees in a step; the share of that which could come from a cache is that of the pictures not spoilt
- compiled: steps alone, with the students through torch.compile (with --compile; it needs a C++ compiler)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from training.batches import Batch, Batches
from training.fit import step_loader
from training.noisy_or import joint_hazard
from training.precision import TYPES
from training.run_folder import RunFolder
from training.students import local_loss, semantic_loss
from training.trainer import Trainer

from .turns import in_turns


def main(
    run: Annotated[Path, typer.Argument(help="A run of duet-train fit, without labelled defects.")],
    steps: Annotated[int, typer.Option(help="Of each kind in each round.")] = 4,
    rounds: Annotated[int, typer.Option()] = 7,
    compile_students: Annotated[bool, typer.Option("--compile", help="Try torch.compile, too.")] = False,
) -> None:
    """Print images a second of each kind, and its ratio to the steps alone."""
    trainer = Trainer(RunFolder(run))
    batches = Batches(trainer.run.training(), trainer.run.description().class_counts, trainer.settings)
    ready = [batches[step] for step in range(steps)]
    loader = iter(step_loader(batches, range(10**6)))
    kinds: dict[str, Callable[[], None]] = {
        "fit": lambda: repeat(trainer, islice(loader, steps)),
        "steps alone": lambda: repeat(trainer, ready),
        "plain loop": plain_loop(trainer, ready),
        "teacher alone": lambda: teacher_alone(trainer, ready),
    }
    if compile_students:
        compiled = Trainer(RunFolder(run))
        compiled.students.compile()
        kinds["compiled"] = lambda: repeat(compiled, ready)
    seconds = in_turns({name: partial(_finished, kind, trainer.device) for name, kind in kinds.items()}, rounds)
    images = steps * trainer.settings.batch_size
    alone = seconds["steps alone"]
    table = Table("", "images/s", "ratio to steps alone", "least to most", title=f"{run}, {torch.get_num_threads()} threads")
    for name, taken in seconds.items():
        ratios = sorted(one / other for one, other in zip(alone, taken, strict=True))
        table.add_row(name, f"{images / median(taken):.1f}", f"{median(ratios):.2f}", f"{ratios[0]:.2f} to {ratios[-1]:.2f}")
    Console(width=100).print(table)
    teacher = median(one / other for one, other in zip(seconds["teacher alone"], alone, strict=True))
    cached = teacher / (1 + trainer.settings.spoilt_share)
    print(f"the teacher takes {teacher:.0%} of a step; features kept for good pictures would save {cached:.0%} at most")


def _finished(kind: Callable[[], None], device: torch.device) -> None:
    """Call it, and wait for what it has left a GPU to do."""
    kind()
    if device.type == "cuda":
        torch.cuda.synchronize()


def repeat(trainer: Trainer, batches: Iterable[Batch]) -> None:
    for batch in batches:
        trainer.train_on(batch)


def teacher_alone(trainer: Trainer, batches: list[Batch]) -> None:
    for batch in batches:
        with torch.no_grad(), autocast(trainer):
            trainer.teacher(torch.cat((batch.pictures, batch.spoilt)).to(trainer.device))


def plain_loop(trainer: Trainer, batches: list[Batch]) -> Callable[[], None]:
    """The networks' own work and the plainest optimiser."""
    optimizer = torch.optim.AdamW(trainer.students.parameters(), lr=1e-6)

    def loop() -> None:
        for batch in batches:
            images, spoilt = (pictures.to(trainer.device) for pictures in (batch.pictures, batch.spoilt))
            with autocast(trainer):
                with torch.no_grad():
                    everything = trainer.teacher(torch.cat((images, spoilt)))
                hidden = [tokens[: len(images)] for tokens in everything]
                shown = [tokens[len(spoilt) :] for tokens in everything]
                rebuilt, predicted = trainer.students(shown, images)
            local = local_loss(trainer.decoder.targets(hidden), rebuilt)
            semantic = semantic_loss(trainer.encoder.targets(hidden), predicted)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(joint_hazard((local, semantic)).mean())
            optimizer.step()

    return loop


def autocast(trainer: Trainer) -> torch.autocast:
    precision = trainer.settings.precision
    return torch.autocast(trainer.device.type, TYPES[precision], enabled=precision != "fp32")


if __name__ == "__main__":
    typer.run(main)
