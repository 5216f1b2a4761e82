"""The vision-language model that is trained, and that answers."""

import inspect
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast

from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import GenerationMixin
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.llava.modeling_llava import LlavaCausalLMOutputWithPast
from transformers.utils import generic
from typing_extensions import override

from opticnerve.vlm.base import OpticNervePreTrainedModel
from opticnerve.vlm.config import OpticNerveConfig
from opticnerve.vlm.images import Images, Pixels, pooled
from opticnerve.vlm.model import OpticNerveModel


class OpticNerveForConditionalGeneration(OpticNervePreTrainedModel, GenerationMixin):
    """Images and text in, text out: any encoder, tiling, connector and causal language model.

    Saves, loads, generates and trains as transformers' own models do.

    Args:
        config: what `assemble` made, or what was saved.
    """

    def __init__(self, config: OpticNerveConfig) -> None:
        super().__init__(config)
        self.model = OpticNerveModel(config)
        self.post_init()

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        """The parts "encoder", "connector" and "llm"; every parameter is in one of them, and in one only."""
        return self.model.parts

    @property
    def lm_head(self) -> Any:
        """The LLM's head."""
        return self.get_output_embeddings()

    @override
    def get_input_embeddings(self) -> Any:
        return self.model.get_input_embeddings()

    @override
    def set_input_embeddings(self, value: nn.Module) -> None:
        self.model.set_input_embeddings(value)

    @override
    def get_output_embeddings(self) -> Any:
        return self.model.llm.get_output_embeddings()

    @override
    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.model.llm.set_output_embeddings(new_embeddings)

    def image_features(
        self, pixel_values: Pixels, image_sizes: Int[Tensor, "images 2"]
    ) -> Float[Tensor, "total_positions vision_dim"]:
        """Run the encoder on all images; see `OpticNerveModel.image_features`."""
        return self.model.image_features(pixel_values, image_sizes)

    def visual_tokens(
        self, packed_features: Float[Tensor, "total_positions vision_dim"], image_sizes: Int[Tensor, "images 2"]
    ) -> tuple[Float[Tensor, "_ llm_dim"], ...]:
        """Turn features into the visual tokens of each image; see `OpticNerveModel.visual_tokens`."""
        return self.model.visual_tokens(packed_features, image_sizes)

    def get_image_features(
        self, pixel_values: Pixels, image_sizes: Int[Tensor, "images 2"], **options: Any
    ) -> BaseModelOutputWithPooling:
        """Turn images into visual tokens; see `OpticNerveModel.get_image_features`."""
        return self.model.get_image_features(pixel_values, image_sizes, **options)

    @cast("Any", generic).can_return_tuple
    @override
    def forward(
        self,
        input_ids: Int[Tensor, "batch length"] | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any | None = None,
        inputs_embeds: Float[Tensor, "batch length llm_dim"] | None = None,
        labels: Int[Tensor, "batch length"] | None = None,
        pixel_values: Pixels | None = None,
        image_sizes: Int[Tensor, "images 2"] | None = None,
        image_features: Float[Tensor, "total_positions vision_dim"] | None = None,
        mm_encoder_outputs: Mapping[str, Any] | None = None,
        logits_to_keep: int | Tensor = 0,
        **options: Any,
    ) -> LlavaCausalLMOutputWithPast:
        """Run encoder, connector and LLM.

        Args:
            input_ids: prompts, with as many placeholders as visual tokens.
            attention_mask: 1 where there is a token, 0 where there is padding; or what else the LLM takes.
            position_ids: of each token, for rows that hold several samples.
            past_key_values: the LLM's cache.
            inputs_embeds: prompts that are embedded already, in place of `input_ids`; without images.
            labels: the next token to learn, -100 where there is none; aligned with `input_ids`.
            pixel_values: tiles of all images, uint8; see `Pixels`.
            image_sizes: height and width of each image, in pixels.
            image_features: what `image_features` gave for these images, in place of `pixel_values`.
            mm_encoder_outputs: {"image": visual tokens of each image}, in place of `pixel_values`.
            logits_to_keep: how many of the last positions get logits, or which; 0 is all.
            options: what else the LLM takes; `num_items_in_batch` divides the loss.

        Returns:
            loss (where there are labels), logits, past_key_values, and the LLM's other outputs.

        Raises:
            ShapeError: the images do not fit the prompts; nothing has gone through the LLM then.
        """
        images = Images(
            pixel_values=pixel_values,
            image_sizes=image_sizes,
            image_features=image_features,
            mm_encoder_outputs=mm_encoder_outputs,
        )
        is_prefill = past_key_values is None or (input_ids is not None and input_ids.shape[1] > 1)
        read, tokens = self.model.read(
            input_ids=input_ids, inputs_embeds=inputs_embeds, images=images, is_prefill=is_prefill
        )
        optional = {"position_ids": position_ids, "labels": labels, "past_key_values": past_key_values}
        given = {name: value for name, value in optional.items() if value is not None}
        if isinstance(logits_to_keep, Tensor) or logits_to_keep:
            given["logits_to_keep"] = logits_to_keep
        llm = self.model.llm
        options["return_dict"] = True
        out = llm(attention_mask=attention_mask, **read, **_accepted(llm, {**options, **given}))
        return LlavaCausalLMOutputWithPast(
            loss=out.loss,
            logits=out.logits,
            past_key_values=out.get("past_key_values"),
            hidden_states=out.get("hidden_states"),
            attentions=out.get("attentions"),
            image_hidden_states=cast("Any", tuple(tokens) or None),
        )

    @override
    def _prepare_multimodal_encoder_kwargs_for_generation(self, model_kwargs: dict[str, Any]) -> Any:
        """Make visual tokens of cached features before generation begins; of pixels, transformers does it."""
        if model_kwargs.get("image_features") is None:
            return cast("Any", super())._prepare_multimodal_encoder_kwargs_for_generation(model_kwargs)
        images = Images(**{field.name: model_kwargs.pop(field.name, None) for field in fields(Images)})
        return {**model_kwargs, "mm_encoder_outputs": {"image": pooled(self.model.image_tokens(images))}}


def _accepted(llm: nn.Module, options: dict[str, Any]) -> dict[str, Any]:
    """Leave out what an LLM's `forward` has no name for, and no room."""
    parameters = inspect.signature(llm.forward).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return options
    return {name: value for name, value in options.items() if name in parameters}
