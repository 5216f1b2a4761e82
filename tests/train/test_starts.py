from pathlib import Path
from typing import Any

import pytest
import torch

from opticnerve.errors import OpticNerveError
from opticnerve.train.run import run
from opticnerve.train.starts import after, first
from train import tiny


def test_a_stage_may_have_options_of_the_method_of_its_own(parts: Path, tmp_path: Path) -> None:
    model = {**tiny.recipe(parts).model.model_dump(), "method": "every_kth", "method_options": {"reduction": 4}}
    stages = [tiny.stage(parts, steps=3, method_options={"reduction": 1}), tiny.stage(parts, name="two", steps=3)]
    listener = tiny.Listener()
    run(tiny.recipe(parts, *stages, model=model), tmp_path, progress=listener)
    assert listener.starts[0].tokens_per_batch > listener.starts[1].tokens_per_batch
    own = first(tiny.recipe(parts, model=model).model, seed=0)
    learned = []
    for name in ("1-align", "2-two"):
        saved = after(tmp_path / name)
        assert saved.model.config.spec == own.model.config.spec
        assert saved.processor.num_image_tokens(28, 28) == own.processor.num_image_tokens(28, 28)
        learned.append(saved.model.parts["connector"].state_dict())
    for name, weights in own.model.parts["connector"].state_dict().items():
        assert not torch.equal(weights, learned[0][name])  # what was learned with other options stays
        assert not torch.equal(learned[0][name], learned[1][name])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"hidden": [8]},
            'stage "align", method_options: these options of "every_kth" need other weights than the connector has',
        ),
        ({"reductoin": 1}, 'unknown option of every_kth "reductoin". Did you mean reduction?'),
    ],
)
def test_options_of_the_method_that_a_stage_cannot_have_are_explained(
    parts: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    model = {**tiny.recipe(parts).model.model_dump(), "method": "every_kth"}
    with pytest.raises(OpticNerveError) as caught:
        run(tiny.recipe(parts, tiny.stage(parts, method_options=changes), model=model), tmp_path)
    assert message in str(caught.value)


def test_a_stage_with_options_of_its_own_starts_from_the_weights_of_the_one_before(parts: Path, tmp_path: Path) -> None:
    model = {**tiny.recipe(parts).model.model_dump(), "method": "every_kth"}
    still = {"open": {"connector": 0.0, "llm": 1e-2}, "method_options": {"reduction": 1}}
    stages = [tiny.stage(parts, steps=3), tiny.stage(parts, name="two", steps=1, **still)]
    run(tiny.recipe(parts, *stages, model=model), tmp_path)
    before, now = (after(tmp_path / name).model.parts["connector"].state_dict() for name in ("1-align", "2-two"))
    assert all(torch.equal(weights, now[name]) for name, weights in before.items())
