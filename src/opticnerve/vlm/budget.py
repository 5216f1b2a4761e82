"""A model that is asked for another number of visual tokens."""

from opticnerve.connectors import ConnectorSpec
from opticnerve.vlm.causal import OpticNerveForConditionalGeneration
from opticnerve.vlm.processor import OpticNerveProcessor


def set_budget(model: OpticNerveForConditionalGeneration, processor: OpticNerveProcessor, spec: ConnectorSpec) -> None:
    """Let a model connect as another spec says, with the weights that it has; its processor counts tokens by it too.

    ```python
    spec = with_budget(model.config.spec, num_tokens=16, grid=Grid(16, 16))
    set_budget(model, processor, spec)
    ```

    What is saved afterwards has the new budget.

    Args:
        model: changed in place.
        processor: the model's; changed in place.
        spec: with options that leave the weights as they are: see `opticnerve.connectors.with_budget`.

    Raises:
        SpecError: the spec needs other weights.
    """
    projector = model.model.multi_modal_projector
    projector.connector = projector.with_spec(spec)
    model.config.connector = spec.to_dict()
    processor.image_processor.spec = spec
