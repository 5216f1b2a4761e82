"""The training loop of one stage: transformers' Trainer, with our loss, order of data, optimizer and checkpoints."""

import math
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from typing_extensions import override

from opticnerve.train import checkpoints, state_files
from opticnerve.train.errors import TrainingError
from opticnerve.train.objectives.base import LossSum
from opticnerve.train.optimizers import MuonWithAdamW, split_matrices
from opticnerve.train.processes import Processes
from opticnerve.train.recipe import Stage
from opticnerve.train.report import check_unchanged
from opticnerve.train.schedule import rate_share
from opticnerve.train.step_sums import StepSums
from opticnerve.train.task import Task

Batch = dict[str, Any]


class StageTrainer(Trainer):
    """Trainer with a loss that is normalised by the items of the whole global batch.

    Args:
        task: what is trained.
        args: from `training_arguments`.
        stage: rates, schedule and betas.
        loader: micro-batches of this process, from the first step that is not done.
        sums: what the processes add up in each step.
        frozen: fingerprints of what must not change; a checkpoint with others is refused.
        processes: who trains.
        callbacks: progress and stopping.
    """

    def __init__(
        self,
        task: Task,
        args: TrainingArguments,
        *,
        stage: Stage,
        loader: DataLoader[Any],
        sums: StepSums,
        frozen: dict[str, str],
        processes: Processes,
        callbacks: list[TrainerCallback],
    ) -> None:
        self.stage = stage
        self.loader = loader
        self.sums = sums
        self.frozen = frozen
        self.processes = processes
        self.task = task
        super().__init__(model=cast(Any, task), args=args, train_dataset=loader.dataset, callbacks=callbacks)
        self.remove_callback(PrinterCallback)

    @override
    def get_train_dataloader(self) -> DataLoader[Any]:
        return self.loader

    @override
    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], None]:
        return [next(epoch_iterator) for _ in range(num_batches)], None

    @override
    def training_step(self, model: torch.nn.Module, inputs: Batch, num_items_in_batch: object = None) -> Tensor:
        """Add a micro-batch's gradients; after the last one, divide by the number of items of the global batch.

        Returns:
            The mean loss over the global batch, after its last micro-batch; 0 before.
        """
        model.train()
        inputs = cast(Batch, self._prepare_inputs(cast(Any, inputs)))
        with self.compute_loss_context_manager():
            loss = LossSum(**model(inputs))
        self.accelerator.backward(loss.total)
        self.sums.add(loss, inputs)
        if not self.accelerator.sync_gradients:
            return torch.zeros((), device=loss.total.device)
        step = self.sums.reduce()
        # DDP and FSDP2 have taken the mean over the processes: undo it.
        self._scale_gradients(self.processes.count / max(step.count, 1.0))
        return torch.tensor(step.loss, device=loss.total.device)

    def _scale_gradients(self, factor: float) -> None:
        for parameter in self.task.parameters():
            if parameter.requires_grad and parameter.grad is not None:
                parameter.grad.mul_(factor)
            elif parameter.requires_grad:
                # What no sample of this batch has reached is stepped with 0, on any number of processes.
                parameter.grad = torch.zeros_like(parameter)

    @override
    def _clip_grad_norm(self, model: torch.nn.Module) -> Tensor:
        norm = cast(Any, super()._clip_grad_norm(model))
        return norm.full_tensor() if self.task.is_sharded else norm

    @override
    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        if cast(Any, self.optimizer) is None:
            decaying = set(self.get_decay_parameter_names(self.task))
            names = {id(parameter): name for name, parameter in self.task.named_parameters()}
            groups: list[dict[str, Any]] = []
            for group in self.task.selection.groups:
                for has_decay in (True, False):
                    own = [p for _, p in group.parameters]
                    chosen = [p for p in own if (p.ndim > 1 and names[id(p)] in decaying) is has_decay]
                    decay = self.stage.weight_decay if has_decay else 0.0
                    if chosen:
                        groups.append({"params": chosen, "lr": group.rate, "weight_decay": decay, "part": group.name})
            if self.stage.optimizer == "muon":
                self.optimizer = MuonWithAdamW(split_matrices(groups, self.task), betas=self.stage.betas)
            else:
                is_fused = self.args.device.type == "cuda"
                self.optimizer = torch.optim.AdamW(groups, betas=self.stage.betas, fused=is_fused)
        return self.optimizer

    @override
    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> LambdaLR:
        given = self.stage.warmup_steps
        share = partial(
            rate_share,
            num_steps=num_training_steps,
            schedule=self.stage.schedule,
            num_warmup=math.ceil(num_training_steps * self.stage.warmup_ratio) if given is None else given,
            min_lr_ratio=self.stage.min_lr_ratio,
        )
        self.lr_scheduler = LambdaLR(cast(Any, optimizer or self.optimizer), lambda step: share(step))
        self._created_lr_scheduler = True
        return self.lr_scheduler

    @override
    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            if not math.isfinite(logs["loss"]):
                raise TrainingError(
                    f"the loss is {logs['loss']} at step {self.state.global_step} of {self.stage.name}: lower the"
                    " learning rates or lengthen the warm-up."
                )
            window = self.sums.take()
            logs.update(images=window.num_images, tokens=window.num_tokens, **window.extras)
        # Trainer counts from where this process began.
        self.state.epoch = self.state.global_step / max(self.state.max_steps, 1)
        super().log(logs, start_time)

    @contextmanager
    def _defer_fsdp_gradient_reduction(self) -> Generator[None]:
        cast(Any, self.task).set_requires_gradient_sync(False)
        try:
            yield
        finally:
            cast(Any, self.task).set_requires_gradient_sync(True)

    @override
    def _save_checkpoint(self, model: torch.nn.Module, trial: object) -> None:
        final = Path(str(self.args.output_dir)) / f"{checkpoints.PREFIX}{self.state.global_step}"
        facts = {"step": self.state.global_step, "num_processes": self.processes.count, "frozen": self.frozen}
        is_first = self.processes.is_first
        checkpoints.write(final, self._write, is_first=is_first, facts=facts)
        if is_first:
            checkpoints.remove_old(final.parent, keep=self.args.save_total_limit or 1)

    def _write(self, folder: Path) -> None:
        is_first = self.processes.is_first
        if self.task.is_sharded:
            state_files.save_shards(self.task, self._plain_optimizer, folder)
        elif is_first:
            state_files.save_whole(self.task, self._plain_optimizer, folder)
        if is_first:
            torch.save(cast(Any, self.lr_scheduler).state_dict(), folder / "schedule.pt")
            self.state.save_to_json(str(folder / TRAINER_STATE_NAME))
        self._save_rng_state(str(folder))

    @property
    def _plain_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer without accelerate's shell."""
        return cast(Any, getattr(self.optimizer, "optimizer", self.optimizer))

    @override
    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        path = Path(resume_from_checkpoint)
        facts = checkpoints.read_manifest(path)
        # A shard's fingerprint depends on the number of processes.
        is_comparable = not self.task.is_sharded or facts["num_processes"] == self.processes.count
        if is_comparable and self.processes.is_first:
            check_unchanged(facts["frozen"], self.frozen)
        if not self.task.is_sharded:
            state_files.load_whole_weights(self.task, path)

    @override
    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        path = Path(checkpoint)
        if self.task.is_sharded:
            state_files.load_shards(self.task, self._plain_optimizer, path)
        else:
            state_files.load_whole_optimizer(self._plain_optimizer, path)
        cast(Any, self.lr_scheduler).load_state_dict(torch.load(path / "schedule.pt", weights_only=True))
