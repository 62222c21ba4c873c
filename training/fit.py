"""Distillation of both students from good images: one pass of the teacher, one Noisy-OR objective."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.tensorboard.writer import SummaryWriter

from service.model_format import TrainingData

from .batches import Batch, Batches
from .data.sample import Sample
from .errors import TrainingError
from .files import write_beside, write_text
from .folds import fold_runs
from .noisy_or import joint_hazard
from .optimizers import StableAdamW, muon, scale_learning_rates
from .progress import Progress
from .run_folder import FitSettings, RunDescription, RunFolder, decode_pictures, new_networks
from .schedule import warmup_cosine
from .students import local_loss, semantic_loss
from .teacher import normalise
from .tiling import stitched_grid

CHECKPOINT_SECONDS = 60.0


def prepare_run(
    path: Path, settings: FitSettings, training: Sequence[Sample], held_out: Sequence[Sample], data: TrainingData
) -> RunFolder:
    """Make a run's folder: pictures decoded at the input size, settings recorded. Refuses a folder that already holds a run."""
    run = RunFolder(path)
    if run.description_file.exists():
        raise TrainingError(f"{path} already holds a run: go on with 'duet-train fit --resume', or choose another --output")
    if not training or not held_out:
        raise TrainingError(f"{len(training)} pictures to train on and {len(held_out)} held out: both need at least one")
    teacher, _, _ = new_networks(settings)
    if settings.tiles is not None:
        stitched_grid(teacher.grid, settings.tiles)  # refused before the work, not after it
    training = sorted(training, key=lambda sample: data.normal.index(sample.category))
    counts = Counter(sample.category for sample in training)
    decode_pictures(training, settings.input_shape, run.training_file, "decoding training pictures")
    decode_pictures(held_out, settings.input_shape, run.held_out_file, "decoding held-out pictures")
    description = RunDescription(
        settings=settings,
        teacher_sha256=teacher.info.sha256,
        training_data=data,
        class_counts=tuple(counts[name] for name in data.normal),
    )
    write_text(run.description_file, description.model_dump_json(indent=2))
    return run


class Trainer:
    """Both students, their optimisers and the step they stand at; starts from the run's checkpoint where there is one."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.settings = settings = run.description().settings
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(settings.seed)
        teacher, decoder, encoder = new_networks(settings)
        self.teacher, self.decoder, self.encoder = teacher.to(self.device), decoder.to(self.device), encoder.to(self.device)
        self.decoder.train()
        self.encoder.train()
        self.optimizers = self._new_optimizers()
        self.step = 0
        if run.checkpoint_file.exists():
            state = torch.load(run.checkpoint_file, map_location=self.device, weights_only=True)
            self.decoder.load_state_dict(state["decoder"])
            self.encoder.load_state_dict(state["encoder"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.step = state["step"]

    def _new_optimizers(self) -> tuple[torch.optim.Optimizer, ...]:
        """StableAdamW; or Muon for the decoder student's matrices and AdamW for the rest of both students."""
        settings = self.settings
        if settings.optimizer == "stable-adamw":
            decoder = {"params": self.decoder.parameters(), "base_lr": settings.decoder_learning_rate}
            encoder = {"params": self.encoder.parameters(), "base_lr": settings.encoder_learning_rate}
            return (StableAdamW((decoder, encoder), settings.weight_decay),)
        matrices = [p for p in self.decoder.parameters() if p.ndim == 2]
        vectors = [p for p in self.decoder.parameters() if p.ndim != 2]
        adamw = torch.optim.AdamW(
            [
                {"params": vectors, "base_lr": settings.decoder_learning_rate},
                {"params": self.encoder.parameters(), "base_lr": settings.encoder_learning_rate},
            ],
            weight_decay=settings.weight_decay,
            amsgrad=True,
            eps=1e-10,
        )
        return muon(matrices, settings.decoder_matrix_learning_rate, settings.weight_decay), adamw

    def train_on(self, batch: Batch) -> dict[str, float]:
        """One step; returns each branch's mean loss. Raises TrainingError where it diverges.

        Where a picture has a spoilt copy, the decoder student sees that, and has to rebuild the features of the good one.
        """
        settings = self.settings
        # dropout is a function of the step too, for the sake of resumed runs
        torch.manual_seed(settings.seed * 1_000_003 + self.step)
        images, spoilt = (normalise(part.to(self.device)) for part in batch)
        with torch.autocast(self.device.type, torch.bfloat16):
            with torch.no_grad():
                everything = self.teacher(torch.cat((images, spoilt)))
            hidden = [tokens[: len(images)] for tokens in everything]
            shown = [torch.cat((tokens[: len(images) - len(spoilt)], tokens[len(images) :])) for tokens in everything]
            rebuilt, class_tokens = self.decoder(shown), self.encoder(images)
        hard_share = settings.hard_share * min(1.0, self.step / settings.hard_steps)
        local = local_loss(self.decoder.targets(hidden), rebuilt, hard_share)
        semantic = semantic_loss(self.encoder.targets(hidden), class_tokens)
        # every picture is good, so its negative log-likelihood under the Noisy-OR is its joint hazard
        loss = joint_hazard((settings.local_weight * local, settings.semantic_weight * semantic)).mean()
        if not torch.isfinite(loss):
            raise TrainingError(f"the loss is {loss.item()} at step {self.step}: lower the learning rates in a new run")
        for network in (self.decoder, self.encoder):
            network.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        for network in (self.decoder, self.encoder):  # each by itself: one branch's steep start must not starve the other
            nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm)
        factor = warmup_cosine(self.step, settings.steps, settings.warmup_steps, settings.final_learning_rate_share)
        scale_learning_rates(self.optimizers, factor)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        return {"local": local.mean().item(), "semantic": semantic.mean().item()}

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "decoder": self.decoder.state_dict(),
            "encoder": self.encoder.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
        }
        write_beside(self.run.checkpoint_file, lambda path: torch.save(state, path))


def fit(run: RunFolder) -> bool:
    """Train both students to the run's last step, from its checkpoint if there is one; True when the last step is reached.

    Then those of its folds, if it has any. Ctrl-C or SIGTERM ends it after the step in progress, with a checkpoint. On the CPU
    a resumed run equals an unbroken one.
    """
    return all(_train(part) for part in (run, *fold_runs(run)))


def _train(run: RunFolder) -> bool:
    trainer = Trainer(run)
    steps = trainer.settings.steps
    batches = Batches(run.training(), run.description().class_counts, trainer.settings)
    loader = DataLoader(batches, batch_size=None, sampler=range(trainer.step, steps), num_workers=1, prefetch_factor=4)
    saved_at = time.monotonic()
    # what a killed run drew beyond its checkpoint is purged: it is drawn again
    curves = SummaryWriter(run.curves_folder, purge_step=trainer.step)
    with Progress("training", steps, trainer.step) as bar, _stop_on_signal() as stop, curves:
        for batch in loader:
            losses = trainer.train_on(batch)
            bar.advance(losses, images=len(batch.pictures))
            for branch, loss in losses.items():
                curves.add_scalar(f"loss/{branch}", loss, trainer.step - 1)
            if stop:
                break
            if time.monotonic() - saved_at > CHECKPOINT_SECONDS:
                trainer.save()
                saved_at = time.monotonic()
    trainer.save()
    return trainer.step >= steps


@contextmanager
def _stop_on_signal() -> Iterator[list[int]]:
    """A list that becomes non-empty when the process is asked to stop; a second Ctrl-C interrupts at once."""
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, previous[signal.Signals(number)])

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
