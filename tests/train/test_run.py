import errno
import hashlib
import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from opticnerve.errors import OpticNerveError, TooManyBadSamplesError
from opticnerve.train import checkpoints, engine
from opticnerve.train.errors import CheckpointWriteError, StoppedError, TrainingError
from opticnerve.train.parts import layers_of
from opticnerve.train.processes import check_announced
from opticnerve.train.recipe import Recipe
from opticnerve.train.run import run
from opticnerve.train.sources import open_feed
from opticnerve.train.starts import after, first
from opticnerve.train.state_files import copy_into
from train import tiny

OPEN = {"connector": 1e-2, "llm": 5e-3}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_training_lowers_the_loss_and_leaves_what_is_frozen_as_it_was(parts: Path, tmp_path: Path) -> None:
    stage = tiny.stage(parts, open=OPEN, steps=20)
    recipe, listener = tiny.recipe(parts, stage, save_every=100), tiny.Listener()
    start = first(recipe.model, seed=0).model
    model = run(recipe, tmp_path / "out", progress=listener)
    assert model == tmp_path / "out" / "model"
    assert listener.steps[-1].loss < listener.steps[0].loss - 0.5
    end = after(tmp_path / "out" / "1-align").model
    for name, part in start.parts.items():
        pairs = list(zip(part.parameters(), end.parts[name].parameters(), strict=True))
        is_equal = [torch.equal(a, b) for a, b in pairs]
        assert all(is_equal) if name == "encoder" else not any(is_equal)


def test_the_report_comes_before_the_first_step_and_is_right(parts: Path, tmp_path: Path) -> None:
    listener = tiny.Listener()
    recipe = tiny.recipe(parts, tiny.stage(parts, micro_batch_size=2, open={"connector": 1e-2, "llm.layers.2": 1e-3}))
    run(recipe, tmp_path, progress=listener)
    (report,) = listener.starts
    model = first(recipe.model, seed=0).model
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in model.parts.items()}
    lines = [(line.name, line.parameters, line.trained, line.rate, line.precision) for line in report.parts]
    layers = layers_of(model.parts["llm"])
    assert layers is not None
    layer = sum(p.numel() for p in layers[2].parameters())
    assert lines == [
        ("encoder", sizes["encoder"], 0, 0.0, "float32"),
        ("connector", sizes["connector"], sizes["connector"], 1e-2, "float32"),
        ("llm", sizes["llm"], 0, 0.0, "float32"),
        ("llm.layers.2", layer, layer, 1e-3, "float32"),
    ]
    shown = (report.num_samples, report.num_steps, report.first_step, report.batch_size, report.micro_batch_size)
    assert shown == (24, 6, 0, 4, 2)
    assert (report.compute, report.num_processes, report.trained) == ("float32", 1, sizes["connector"] + layer)
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [each["event"] for each in entries][:2] == ["started", "step"]


def test_accumulation_gives_the_losses_and_updates_of_the_whole_batch(parts: Path, tmp_path: Path) -> None:
    found = []
    for micro in (4, 2, 1):
        listener = tiny.Listener()
        stage = tiny.stage(parts, micro_batch_size=micro, open={**OPEN, "encoder": 1e-3}, weight_decay=0.1)
        out = run(without_dropout(tiny.recipe(parts, stage), tmp_path), tmp_path / str(micro), progress=listener)
        numbers = [(step.loss, step.grad_norm) for step in listener.steps]
        found.append((torch.tensor(numbers), weights(out)))
    whole = found[0]
    for numbers, tensors in found[1:]:
        torch.testing.assert_close(numbers, whole[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(tensors, whole[1], rtol=1e-3, atol=2e-5)


def without_dropout(recipe: Recipe, folder: Path) -> Recipe:
    """The same recipe with an LLM whose numbers do not depend on how the batch is cut."""
    llm = folder / "llm"
    if not llm.exists():
        llm.mkdir()
        for path in Path(recipe.model.llm).iterdir():
            (llm / path.name).write_bytes(path.read_bytes())
        config = json.loads((llm / "config.json").read_text())
        (llm / "config.json").write_text(json.dumps({**config, "attention_dropout": 0.0}))
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"llm": str(llm)})})


def test_the_loss_of_a_step_is_the_mean_over_its_answer_tokens(parts: Path, tmp_path: Path) -> None:
    """Samples of the batch have different numbers of answer tokens: a mean of means would differ."""
    recipe = without_dropout(
        tiny.recipe(parts, tiny.stage(parts, steps=1, batch_size=24, micro_batch_size=1)), tmp_path
    )
    listener = tiny.Listener()
    run(recipe, tmp_path / "out", progress=listener)
    start = first(recipe.model, seed=0)
    feed = open_feed(recipe, recipe.stages[0], start.processor, log=tmp_path / "bad.jsonl")
    batch = feed.collate([feed.dataset[index] for index in range(24)])
    expected = start.model(**batch).loss
    assert listener.steps[0].loss == pytest.approx(expected.item(), rel=1e-5)
    expected.backward()
    norms = torch.stack([p.grad.norm() for p in start.model.parts["connector"].parameters() if p.grad is not None])
    assert listener.steps[0].grad_norm == pytest.approx(norms.norm().item(), rel=1e-4)


def test_stages_carry_the_weights_over_and_finished_ones_are_not_done_again(parts: Path, tmp_path: Path) -> None:
    stages = (tiny.stage(parts, steps=3), tiny.stage(parts, name="tune", open=OPEN, steps=3, precision="bf16"))
    listener = tiny.Listener()
    run(tiny.recipe(parts, *stages), tmp_path, progress=listener)
    assert [(step.stage, step.step) for step in listener.steps] == [
        (s, n) for s in ("align", "tune") for n in (1, 2, 3)
    ]
    assert [report.compute for report in listener.starts] == ["float32", "bfloat16"]
    one, two = weights(tmp_path / "1-align" / "model"), weights(tmp_path / "2-tune" / "model")
    connector = [name for name in one if torch.equal(one[name], two[name])]
    assert connector
    assert same(tmp_path / "model", tmp_path / "2-tune" / "model")
    again = tiny.Listener()
    run(tiny.recipe(parts, *stages), tmp_path, progress=again)
    assert not again.steps
    assert [line.split(":")[0] for line in again.lines] == ['stage "align" is done', 'stage "tune" is done']


def test_a_run_that_went_on_is_bit_identical(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two losses of memory: an error in the middle of writing a checkpoint, and a broken newest checkpoint."""
    recipe = tiny.recipe(parts, tiny.stage(parts, open=OPEN, steps=9, micro_batch_size=2))
    run(recipe, tmp_path / "straight")
    seal = checkpoints._seal
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_seal", fail_at("checkpoint-6", seal))
        with pytest.raises(CheckpointWriteError, match=r"checkpoint-6 cannot be written: No space left on device"):
            run(recipe, tmp_path / "broken")
    folder = tmp_path / "broken" / "1-align"
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-2", "checkpoint-4"]
    newest = folder / "checkpoint-4" / "optimizer.pt"
    newest.write_bytes(newest.read_bytes()[:-100])
    listener = tiny.Listener()
    run(recipe, tmp_path / "broken", progress=listener)
    assert [step.step for step in listener.steps] == [3, 4, 5, 6, 7, 8, 9]
    assert listener.starts[0].first_step == 2
    assert listener.lines[0].startswith(f"{folder}/checkpoint-4 is passed over: optimizer.pt has ")
    assert listener.lines[1] == f"going on from {folder}/checkpoint-2"
    assert tiny.losses(tmp_path / "broken") == tiny.losses(tmp_path / "straight")
    assert same(tmp_path / "broken" / "model", tmp_path / "straight" / "model")


def fail_at(name: str, seal: Callable[..., None]) -> Callable[..., None]:
    def failing(folder: Path, final: Path, facts: Any) -> None:
        if final.name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        seal(folder, final, facts)

    return failing


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_stop_saves_and_says_how_to_go_on(
    parts: Path, tmp_path: Path, number: signal.Signals
) -> None:
    class Asking(tiny.Listener):
        def stepped(self, report: Any) -> None:
            super().stepped(report)
            if report.step == 3:
                os.kill(os.getpid(), number)

    recipe = tiny.recipe(parts, tiny.stage(parts, open=OPEN), save_every=100)
    before = signal.getsignal(number)
    with pytest.raises(StoppedError) as caught:
        run(recipe, tmp_path / "out", progress=Asking())
    assert str(caught.value) == (
        f'stopped by {number.name} after step 4 of 6 of stage "align"; all of it is saved in {tmp_path}/out/1-align.'
        " Run the same command again to go on."
    )
    assert signal.getsignal(number) is before
    run(recipe, tmp_path / "out")
    run(recipe, tmp_path / "straight")
    assert tiny.losses(tmp_path / "out") == tiny.losses(tmp_path / "straight")


def test_another_recipe_for_the_same_folder_is_refused_with_what_differs(parts: Path, tmp_path: Path) -> None:
    run(tiny.recipe(parts, tiny.stage(parts, steps=1)), tmp_path)
    changed = tiny.recipe(parts, tiny.stage(parts, steps=1, open={"connector": 5e-3}, batch_size=8), seed=3)
    with pytest.raises(TrainingError) as caught:
        run(changed, tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} was begun with another recipe. What differs: stages.0.open.connector was 0.01, now 0.005;"
        " stages.0.batch_size was 4, now 8; seed was 0, now 3."
        " Go on with the recipe that stands in its recipe.yaml, or choose another folder."
    )


def test_what_does_not_change_the_numbers_may_change(parts: Path, tmp_path: Path) -> None:
    run(tiny.recipe(parts, tiny.stage(parts, steps=1)), tmp_path)
    free = {"log_every": 5, "keep_checkpoints": 3, "save_every": 7, "num_workers": 0}
    run(tiny.recipe(parts, tiny.stage(parts, steps=1, micro_batch_size=1), **free), tmp_path)
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text())["save_every"] == 7


def test_starting_anew_removes_the_run_and_nothing_else(parts: Path, tmp_path: Path) -> None:
    run(tiny.recipe(parts, tiny.stage(parts, steps=1)), tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    listener = tiny.Listener()
    run(tiny.recipe(parts, tiny.stage(parts, steps=2)), tmp_path, resume=False, progress=listener)
    assert [step.step for step in listener.steps] == [1, 2]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_two_runs_into_one_folder_are_refused(parts: Path, tmp_path: Path) -> None:
    recipe = tiny.recipe(parts, tiny.stage(parts, steps=1))

    class Second(tiny.Listener):
        def stepped(self, report: Any) -> None:
            with pytest.raises(
                TrainingError, match=r"another run is training into .*: wait for it, stop it, or choose"
            ):
                run(recipe, tmp_path)
            super().stepped(report)

    listener = Second()
    run(recipe, tmp_path, progress=listener)
    assert len(listener.steps) == 1


def test_a_folder_that_cannot_be_made_is_an_error(parts: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"file/out cannot be used for output: Not a directory"):
        run(tiny.recipe(parts), tmp_path / "file" / "out")


def test_a_broken_result_of_a_stage_is_not_built_upon(parts: Path, tmp_path: Path) -> None:
    recipe = tiny.recipe(parts, tiny.stage(parts, steps=1), tiny.stage(parts, name="two", steps=1))
    run(recipe, tmp_path)
    file = tmp_path / "1-align" / "model" / "model.safetensors"
    file.unlink()  # it is the run's own only in the last stage
    with pytest.raises(TrainingError, match=r"1-align/model is broken: model.safetensors is missing. Remove it; its"):
        run(recipe, tmp_path)


def test_a_log_that_cannot_be_written_is_an_error(parts: Path, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(TrainingError, match=r"log.jsonl: the log cannot be written: Is a directory"):
        run(tiny.recipe(parts), tmp_path)


def test_features_of_an_encoder_that_trains_are_not_kept(parts: Path, tmp_path: Path) -> None:
    stage = tiny.stage(parts, open={"encoder.layers.2": 1e-3, "connector": 1e-2}, cache_features=True)
    with pytest.raises(OpticNerveError, match=r"cache_features|features of an encoder"):
        run(tiny.recipe(parts, stage), tmp_path)


def test_weights_of_another_model_are_not_read(tmp_path: Path) -> None:
    own = {"a": torch.zeros(2), "b": torch.zeros(3)}
    for stored in ({"a": torch.zeros(2)}, {**own, "b": torch.zeros(4)}, {**own, "c": torch.zeros(1)}):
        with pytest.raises(TrainingError, match=r"file does not hold what this stage trains: [bc] differ. It"):
            copy_into(own, stored, source=tmp_path / "file")


def test_frozen_weights_that_change_are_found(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = engine.StageTrainer.training_step

    def meddling(self: Any, *args: Any, **options: Any) -> Any:
        with torch.no_grad():
            next(self.task.model.parts["encoder"].parameters()).mul_(1.0001)
        return step(self, *args, **options)

    monkeypatch.setattr(engine.StageTrainer, "training_step", meddling)
    with pytest.raises(TrainingError, match="frozen weights have changed: encoder"):
        run(tiny.recipe(parts, tiny.stage(parts, steps=1)), tmp_path)
    assert not (tmp_path / "1-align" / "model").exists()


def test_a_checkpoint_of_another_start_is_refused(parts: Path, tmp_path: Path) -> None:
    recipe = tiny.recipe(parts, tiny.stage(parts, open={"llm": 1e-3}, steps=4))
    with pytest.raises(StoppedError):
        run(recipe, tmp_path, progress=StopAt(2))
    other = recipe.model_copy(update={"seed": 1})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(other.model_dump(mode="json")))
    with pytest.raises(TrainingError, match="frozen weights have changed: connector"):
        run(other, tmp_path)


class StopAt(tiny.Listener):
    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def stepped(self, report: Any) -> None:
        super().stepped(report)
        if report.step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_loss_that_is_no_number_stops_the_run(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny.recipe(parts, tiny.stage(parts, open={"connector": 1e30}, max_grad_norm=0, warmup_ratio=0))
    with pytest.raises(
        TrainingError, match=r"the loss is nan at step \d of align: lower the learning rates or lengthen"
    ):
        run(recipe, tmp_path)


def test_processes_that_do_not_see_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(TrainingError, match=r"the launcher announces 4 processes .* but the engine sees 1: each would"):
        check_announced(1)
    monkeypatch.delenv("WORLD_SIZE")
    check_announced(1)


def test_adapters_train_instead_of_the_llm_and_become_plain_weights(parts: Path, tmp_path: Path) -> None:
    lora = {"rank": 2, "alpha": 4.0, "dropout": 0.1}
    stage = tiny.stage(parts, open={"connector": 1e-2, "llm": 1e-2}, lora=lora, steps=5)
    listener = tiny.Listener()
    recipe = tiny.recipe(parts, stage)
    run(recipe, tmp_path / "out", progress=listener)
    line = listener.starts[0].parts[2]
    assert (line.name, line.trained < line.parameters / 4, line.rate) == ("llm", True, 1e-2)
    start = first(recipe.model, seed=0).model.parts["llm"].state_dict()
    end = after(tmp_path / "out" / "1-align").model.parts["llm"].state_dict()
    assert set(start) == set(end)
    changed = {name.rsplit(".", 2)[-2] for name in start if not torch.equal(start[name], end[name])}
    assert changed == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    with pytest.raises(StoppedError):
        run(recipe, tmp_path / "stopped", progress=StopAt(2))
    run(recipe, tmp_path / "stopped")
    assert tiny.losses(tmp_path / "stopped") == tiny.losses(tmp_path / "out")
    assert same(tmp_path / "stopped" / "model", tmp_path / "out" / "model")


def test_adapters_for_layers_that_do_not_exist_are_an_error(parts: Path, tmp_path: Path) -> None:
    lora = {"rank": 2, "alpha": 4.0, "targets": ["nowhere"]}
    with pytest.raises(TrainingError, match=r"the adapters cannot be placed: .*nowhere.* not found"):
        run(tiny.recipe(parts, tiny.stage(parts, open={"llm": 1e-2}, lora=lora)), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"open": {"connector": 1e-2, "encoder": 1e-3, "llm": 1e-3}, "gradient_checkpointing": True},
        {"packing": True, "group_by_length": True},
        {"precision": "bf16"},
        {"optimizer": "muon"},
    ],
)
def test_options_of_a_stage_train_and_resume(parts: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    recipe = tiny.recipe(parts, tiny.stage(parts, **{"steps": 5, "open": OPEN, "max_tokens": 64, **changes}))
    straight = tiny.Listener()
    run(recipe, tmp_path / "straight", progress=straight)
    with pytest.raises(StoppedError):
        run(recipe, tmp_path / "stopped", progress=StopAt(2))
    run(recipe, tmp_path / "stopped")
    assert tiny.losses(tmp_path / "stopped") == tiny.losses(tmp_path / "straight")
    assert straight.steps[-1].loss < straight.steps[0].loss


def test_checkpointed_activations_and_packing_change_nothing_but_rounding(parts: Path, tmp_path: Path) -> None:
    found = []
    for number, changes in enumerate([{}, {"gradient_checkpointing": True}, {"packing": True}]):
        stage = tiny.stage(parts, steps=3, open=OPEN, max_tokens=64, **changes)
        listener = tiny.Listener()
        run(without_dropout(tiny.recipe(parts, stage), tmp_path), tmp_path / str(number), progress=listener)
        found.append([step.loss for step in listener.steps])
    assert found[1] == pytest.approx(found[0], rel=1e-5)
    assert found[2] == pytest.approx(found[0], rel=1e-5)


def test_a_stage_may_have_a_template_and_a_tiling_of_its_own(parts: Path, tmp_path: Path) -> None:
    own = first(tiny.recipe(parts).model, seed=0).processor
    one = tiny.stage(parts, steps=1, template="plain", tiling_options={"height_px": 56, "width_px": 56})
    listener = tiny.Listener()
    run(tiny.recipe(parts, one, tiny.stage(parts, name="two", steps=1)), tmp_path / "a", progress=listener)
    assert listener.starts[0].tokens_per_batch > listener.starts[1].tokens_per_batch
    for folder in (tmp_path / "a" / "1-align", tmp_path / "a" / "2-two"):
        saved = after(folder).processor
        assert saved.chat_template == own.chat_template
        assert saved.num_image_tokens(28, 28) == own.num_image_tokens(28, 28)
    run(tiny.recipe(parts, tiny.stage(parts, steps=1, template="plain")), tmp_path / "b")
    assert after(tmp_path / "b" / "1-align").processor.chat_template != own.chat_template


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"template": "plan"}, 'unknown chat template "plan". Did you mean plain?'),
        ({"tiling_options": {"high_px": 56}}, 'tiling "plain" has no option high_px'),
        (
            {"sharding": "fsdp2"},
            "fsdp2 shares weights out among several processes: it needs several, and neither lora",
        ),
    ],
)
def test_what_a_stage_cannot_have_is_explained(
    parts: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(OpticNerveError) as caught:
        run(tiny.recipe(parts, tiny.stage(parts, **changes)), tmp_path)
    assert message in str(caught.value)


def test_a_tiling_that_needs_weights_which_are_not_there_is_refused(parts: Path, tmp_path: Path) -> None:
    model = tiny.recipe(parts).model.model_dump()
    settings = {**model, "tiling": "anyres", "tiling_options": {"has_newline": False}}
    recipe = tiny.recipe(parts, tiny.stage(parts, tiling_options={"has_newline": True}), model=settings)
    with pytest.raises(OpticNerveError, match="these tiling_options end rows with a newline vector, which the model"):
        run(recipe, tmp_path)


def test_bad_samples_are_named_and_passed_over_up_to_a_share(parts: Path, tmp_path: Path) -> None:
    data = json.loads((parts / "data.json").read_text())
    data[5] = {**data[5], "image": "missing.png"}
    (tmp_path / "data.json").write_text(json.dumps(data))
    sources = [{"kind": "llava", "path": str(tmp_path / "data.json"), "images": str(parts / "images")}]
    stage, listener = tiny.stage(parts, data=sources), tiny.Listener()
    with pytest.raises(TooManyBadSamplesError, match="1 of 24 samples are bad, more than max_bad_share = 0.01 allows"):
        run(tiny.recipe(parts, stage), tmp_path / "out")
    assert not (tmp_path / "out" / "model").exists()
    run(tiny.recipe(parts, stage, max_bad_share=0.05), tmp_path / "out", progress=listener)
    (line,) = (tmp_path / "out" / "bad_samples.jsonl").read_text().splitlines()
    assert "data.json[5]" in json.loads(line)["id"]
    assert not listener.steps  # all steps were done
    assert listener.lines[-1].startswith("1 of 24 samples were bad and passed over; they are named in ")


def test_global_generators_are_left_as_they_were(parts: Path, tmp_path: Path) -> None:
    def states() -> str:
        numbers = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
        return hashlib.sha256(repr(numbers).encode()).hexdigest()

    before = states()
    run(tiny.recipe(parts, tiny.stage(parts, steps=1)), tmp_path)
    assert states() == before
