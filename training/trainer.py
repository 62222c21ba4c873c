"""One training step: both students, their optimisers and the step they stand at, alone or in step with other processes."""

from __future__ import annotations

import logging
from contextlib import nullcontext

import torch
from torch import nn

from .batches import Batch, part
from .errors import TrainingError
from .files import write_beside
from .noisy_or import joint_hazard, surprise_of_defect
from .optimizers import Muon, StableAdamW, scale_learning_rates
from .precision import TYPES
from .processes import accelerator
from .run_folder import RunFolder, load_state
from .schedule import warmup_cosine
from .students import Students, defect_loss, local_loss, semantic_loss

log = logging.getLogger(__name__)


class Trainer:
    """Starts from the run's checkpoint where there is one.

    Several processes (torchrun) share each step's batch and average their gradients, and each process may take its
    share in several passes: the step is the same, up to rounding and dropout's dice. Hard mining looks at one pass.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.settings = settings = run.description().settings
        self.accelerator = accelerator()
        self.device = self.accelerator.device
        if self.accelerator.num_processes > 1 and self.accelerator.is_main_process:
            log.info("%d processes train together on %s", self.accelerator.num_processes, self.device.type)
        torch.manual_seed(settings.seed)
        teacher, decoder, encoder = run.untrained()
        self.teacher, self.decoder, self.encoder = teacher.to(self.device), decoder, encoder
        self.students: nn.Module = self.accelerator.prepare_model(Students(decoder, encoder).train())
        self.optimizers = self._new_optimizers()
        # half precision's range is too small for gradients as they are
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "fp16")
        self.step = 0
        if run.checkpoint_file.exists():
            self._load()

    @property
    def parts(self) -> int:
        """Passes, over all processes, that a batch is computed in."""
        return int(self.accelerator.num_processes) * self.settings.accumulate

    def train_on(self, batch: Batch) -> dict[str, float]:
        """One step on a batch, of which this process computes its share; returns each branch's mean loss over the batch.

        Where a picture has a spoilt copy, the decoder student sees that, and has to rebuild the features of the good one. Of a
        labelled defect both students learn to differ from the teacher.
        Raises TrainingError where the training diverges, and for a batch smaller than the number of passes.
        """
        settings = self.settings
        if len(batch.pictures) < self.parts:
            raise TrainingError(
                f"{len(batch.pictures)} pictures a step are too few for {self.parts} passes: raise --batch-size, or use fewer "
                "processes or a smaller --accumulate"
            )
        self.students.zero_grad(set_to_none=True)
        sums = torch.zeros(2, device=self.device)
        for turn in range(settings.accumulate):
            number = turn * self.accelerator.num_processes + self.accelerator.process_index
            last = turn == settings.accumulate - 1
            with nullcontext() if last else self.accelerator.no_sync(self.students):
                sums += self._accumulate(part(batch, number, self.parts), number, len(batch.pictures) + len(batch.defects))
        local, semantic = (self.accelerator.reduce(sums, "sum") / len(batch.pictures)).tolist()
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        for network in (self.decoder, self.encoder):  # each by itself: one branch's steep start must not starve the other
            nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm)
        factor = warmup_cosine(self.step, settings.steps, settings.warmup_steps, settings.final_learning_rate_share)
        scale_learning_rates(self.optimizers, factor)
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        self.step += 1
        return {"local": local, "semantic": semantic}

    def _accumulate(self, batch: Batch, number: int, whole: int) -> torch.Tensor:
        """Add the gradients of pass `number` over a batch of `whole` pictures in all; returns the sum of each branch's loss
        over the good ones.
        """
        settings = self.settings
        # dropout is a function of the step too, for the sake of resumed runs
        torch.manual_seed(settings.seed * 1_000_003 + self.step + (number << 40))
        images, spoilt, defects = (pictures.to(self.device) for pictures in batch[:3])
        good, seen = len(images), torch.cat((images, defects))
        with torch.autocast(self.device.type, TYPES[settings.precision], enabled=settings.precision != "fp32"):
            with torch.no_grad():
                everything = self.teacher(torch.cat((seen, spoilt)))
            hidden = [tokens[: len(seen)] for tokens in everything]
            shown = [
                torch.cat((tokens[: good - len(spoilt)], tokens[len(seen) :], tokens[good : len(seen)]))
                for tokens in everything
            ]
            rebuilt, class_tokens = self.students(shown, seen)
        hard_share = settings.hard_share * min(1.0, self.step / settings.hard_steps)
        target = self.decoder.targets(hidden)
        local = torch.cat(
            (
                local_loss(target[:, :good], rebuilt[:, :good], hard_share),
                defect_loss(target[:, good:], rebuilt[:, good:], batch.marked.to(self.device)),
            )
        )
        semantic = semantic_loss(self.encoder.targets(hidden), class_tokens)
        hazard = joint_hazard((settings.local_weight * local, settings.semantic_weight * semantic))
        # negative log-likelihoods under the Noisy-OR; a good picture's is its joint hazard
        likelihood = hazard[:good].sum() + surprise_of_defect(hazard[good:]).sum()
        loss = likelihood / whole * self.accelerator.num_processes  # processes' gradients are averaged, passes' summed
        if not torch.isfinite(loss):
            raise TrainingError(f"the loss is {loss.item()} at step {self.step}: lower the learning rates in a new run")
        torch.autograd.backward(self.scaler.scale(loss))
        return torch.stack((local[:good].sum(), semantic[:good].sum())).detach().float()

    def agreed(self, stop: bool) -> bool:
        """Whether any process is asked to stop: one that went on alone would wait for the others for ever."""
        if self.accelerator.num_processes == 1:
            return stop
        return bool(self.accelerator.reduce(torch.tensor(float(stop), device=self.device), "sum") > 0)

    def save(self) -> None:
        """Write the checkpoint; of several processes the first does."""
        if not self.accelerator.is_main_process:
            return
        state = {
            "decoder": self.decoder.state_dict(),
            "encoder": self.encoder.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "scaler": self.scaler.state_dict(),
            "step": self.step,
        }
        write_beside(self.run.checkpoint_file, lambda path: torch.save(state, path))

    def _load(self) -> None:
        state = load_state(self.run.checkpoint_file, self.device)
        self.decoder.load_state_dict(state["decoder"])
        self.encoder.load_state_dict(state["encoder"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.scaler.load_state_dict(state["scaler"])
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
        return Muon(matrices, settings.decoder_matrix_learning_rate, settings.weight_decay), adamw
