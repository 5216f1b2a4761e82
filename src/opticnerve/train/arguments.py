"""A stage in the words of transformers' TrainingArguments."""

from pathlib import Path

import torch
from transformers import TrainingArguments

from opticnerve.train.batches import Split
from opticnerve.train.recipe import Recipe, Stage


def training_arguments(
    recipe: Recipe, stage: Stage, *, folder: Path, split: Split, num_steps: int
) -> TrainingArguments:
    """Translate a stage.

    Args:
        recipe: what all stages share.
        stage: the stage.
        folder: where its checkpoints go.
        split: how a step is shared out.
        num_steps: optimizer steps.
    """
    has_gpu = torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(folder),
        use_cpu=not has_gpu,
        # Every open parameter gets a gradient from every process: see `Task`.
        ddp_find_unused_parameters=False,
        per_device_train_batch_size=split.micro_batch_size,
        gradient_accumulation_steps=split.num_micro_batches,
        max_steps=num_steps,
        max_grad_norm=stage.max_grad_norm,
        bf16=stage.precision == "bf16",
        weight_decay=stage.weight_decay,
        save_steps=recipe.save_every,
        save_total_limit=recipe.keep_checkpoints,
        # Our own state files are written whatever this says; for a sharded model Trainer insists on it.
        save_only_model=stage.sharding == "fsdp2",
        logging_steps=recipe.log_every,
        logging_nan_inf_filter=False,
        report_to=list(recipe.report_to) or "none",
        run_name=f"{recipe.name}-{stage.name}",
        seed=recipe.seed,
        ignore_data_skip=True,  # the loader begins where the checkpoint ends
        remove_unused_columns=False,
        disable_tqdm=True,
    )
    # Never DataParallel: several GPUs are several processes.
    arguments._n_gpu = min(arguments.n_gpu, 1)  # pyright: ignore[reportPrivateUsage]
    return arguments
