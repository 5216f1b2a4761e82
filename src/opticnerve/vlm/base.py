"""What transformers needs to know of our models, whichever of them it loads."""

from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel
from typing_extensions import override

from opticnerve.errors import CheckpointError
from opticnerve.vlm.config import OpticNerveConfig


class OpticNervePreTrainedModel(PreTrainedModel):
    """Base of both models."""

    config: OpticNerveConfig
    config_class = OpticNerveConfig
    base_model_prefix = "model"
    input_modalities = ["image", "text"]  # noqa: RUF012 transformers' own way
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012

    @override
    def _init_weights(self, module: nn.Module) -> None:
        """Leave the connector and the bundled encoder as their constructors made them; others know how to start."""

    @classmethod
    @override
    def is_custom_code(cls) -> bool:
        """Be loaded as transformers' own: in other models, modules cannot set up the buffers of their children."""
        return False

    @classmethod
    @override
    def from_pretrained(cls, *args: Any, **options: Any) -> Any:
        """Load a saved model; see `PreTrainedModel.from_pretrained`.

        Raises:
            CheckpointError: the files lack some of the weights: they are never made up.
        """
        wants_info = options.pop("output_loading_info", False)
        model, info = cast("tuple[Any, Any]", super().from_pretrained(*args, output_loading_info=True, **options))
        mismatched: list[str] = [key for key, *_ in info["mismatched_keys"]]
        wrong = sorted([*info["missing_keys"], *mismatched])
        if wrong:
            raise CheckpointError(
                f'"{args[0] if args else "?"}" lacks {len(wrong)} of the weights of its model, or has them in another '
                f'shape, first "{wrong[0]}": the files are not complete, or config.json belongs to another model'
            )
        return (model, info) if wants_info else model
