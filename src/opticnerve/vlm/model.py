"""The parts of a vision-language model in one transformers model: encoder, connector and language model."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.modeling_outputs import BaseModelOutputWithPooling
from typing_extensions import override

from opticnerve.encoders import build_encoder
from opticnerve.errors import ShapeError
from opticnerve.tiling import TilePlan
from opticnerve.views import encode_views, eye
from opticnerve.vlm.base import OpticNervePreTrainedModel
from opticnerve.vlm.config import OpticNerveConfig
from opticnerve.vlm.images import Images, Pixels, pooled
from opticnerve.vlm.placeholders import check_placeholders, splice
from opticnerve.vlm.projector import Projector


class OpticNerveModel(OpticNervePreTrainedModel):
    """Encoder, connector and language model, without a loss.

    Attributes:
        vision_tower: the encoder.
        multi_modal_projector: the connector, and the vector that ends a row where the tiling has one.
        llm: the LLM with its head; also known as `language_model`, as in transformers' own models, which rename weights
            called "model.language_model.model..." while they load and save: that cannot be their name.
        views_per_call: most tiles that go through the encoder at once.

    Args:
        config: what `assemble` made, or what was saved.
    """

    views_per_call: int = 32

    def __init__(self, config: OpticNerveConfig) -> None:
        super().__init__(config)
        self.sight = config.sight
        self.vision_tower = build_encoder(config.encoder or {}, attention=_attention(config))
        self.llm = cast(Any, AutoModelForCausalLM).from_config(config.text_config)
        llm_dim = self.get_input_embeddings().embedding_dim
        self.multi_modal_projector = Projector(self.sight, config.spec, llm_dim=llm_dim)
        self.post_init()

    @property
    def language_model(self) -> nn.Module:
        """The LLM with its head."""
        return self.llm

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        """The three parts by name; every parameter is in one of them, and in one only."""
        return {
            "encoder": self.vision_tower,
            "connector": self.multi_modal_projector,
            "llm": self.llm,
        }

    @override
    def get_input_embeddings(self) -> Any:
        return self.llm.get_input_embeddings()

    @override
    def set_input_embeddings(self, value: nn.Module) -> None:
        self.llm.set_input_embeddings(value)

    def image_features(
        self, pixel_values: Pixels, image_sizes: Int[Tensor, "images 2"]
    ) -> Float[Tensor, "total_positions vision_dim"]:
        """Run the encoder on all images. Gradients flow to it where it is open.

        Args:
            pixel_values: tiles of all images; see `Pixels`.
            image_sizes: height and width of each image, in pixels.

        Returns:
            What the connector takes, packed: image after image, tile after tile, positions row by row.

        Raises:
            ShapeError: the tiles are not those of images of these sizes, or not of bytes.
        """
        views = [pixel_values] if isinstance(pixel_values, Tensor) else list(pixel_values)
        for tiles in views:
            if tiles.dtype != torch.uint8:
                raise ShapeError(
                    f"pixel_values are bytes from 0 to 255 (the model normalises them itself), got {tiles.dtype}: pass "
                    f"what the processor returns"
                )
        device = self._device()
        encoder = eye(self.vision_tower, self.sight, views_per_call=self.views_per_call)
        moved = [tiles.to(device) for tiles in views]
        return encode_views(encoder, moved, self.plans(image_sizes), views_per_call=self.views_per_call)

    def visual_tokens(
        self,
        packed_features: Float[Tensor, "total_positions vision_dim"],
        image_sizes: Int[Tensor, "images 2"],
    ) -> tuple[Float[Tensor, "_ llm_dim"], ...]:
        """Turn features into the visual tokens of each image.

        Args:
            packed_features: what `image_features` gives, or gave: of any floating type.
            image_sizes: height and width of each image, in pixels.

        Raises:
            ShapeError: the features are not those of images of these sizes.
        """
        return self.multi_modal_projector(packed_features.to(self._device()), self.plans(image_sizes))

    def plans(self, image_sizes: Int[Tensor, "images 2"]) -> list[TilePlan]:
        """Plan images again from their sizes.

        Args:
            image_sizes: height and width of each image, in pixels.

        Raises:
            ImageError: the tiling refuses an image.
        """
        sizes = [(height, width) for height, width in cast("list[list[int]]", image_sizes.tolist())]
        known = {size: self.sight.plan(*size) for size in dict.fromkeys(sizes)}
        return [known[size] for size in sizes]

    def get_image_features(
        self, pixel_values: Pixels, image_sizes: Int[Tensor, "images 2"], **_: Any
    ) -> BaseModelOutputWithPooling:
        """Turn images into visual tokens, as transformers' generation asks for them.

        Args:
            pixel_values: tiles of all images; see `Pixels`.
            image_sizes: height and width of each image, in pixels.

        Returns:
            An output whose `pooler_output` is the list of (tokens, llm_dim), one for each image.
        """
        return pooled(self.visual_tokens(self.image_features(pixel_values, image_sizes), image_sizes))

    def read(
        self,
        *,
        input_ids: Int[Tensor, "batch length"] | None,
        inputs_embeds: Float[Tensor, "batch length llm_dim"] | None,
        images: Images,
        is_prefill: bool,
    ) -> tuple[dict[str, Tensor], Sequence[Tensor]]:
        """Turn prompts and images into what the LLM takes.

        Args:
            input_ids: prompts with placeholders; or None with `inputs_embeds`.
            inputs_embeds: prompts that are embedded already, without images.
            images: of the batch.
            is_prefill: whether this is the beginning of a prompt, where images may stand.

        Returns:
            Either `input_ids` or `inputs_embeds` by name, and the visual tokens of each image.

        Raises:
            ShapeError: the images do not fit the prompts, or are given in two ways.
        """
        tokens = self.image_tokens(images)
        if input_ids is None or inputs_embeds is not None:
            if tokens or input_ids is not None or inputs_embeds is None:
                raise ShapeError(
                    "pass input_ids, or inputs_embeds without images: visual tokens go where input_ids has placeholders"
                )
            return {"inputs_embeds": inputs_embeds}, ()
        image_token_id = self.config.image_token_id
        if tokens or is_prefill:
            check_placeholders(input_ids, [len(part) for part in tokens], image_token_id=image_token_id)
        if not tokens:  # the LLM looks its tokens up itself, as it does on its own
            return {"input_ids": input_ids}, ()
        embedding = self.get_input_embeddings()
        embeds = splice(input_ids, tokens, embedding=embedding, image_token_id=image_token_id)
        return {"inputs_embeds": embeds}, tokens

    @override
    def forward(self, **inputs: Any) -> Any:
        """Run the LLM's decoder, without its head; see `OpticNerveForConditionalGeneration.forward`."""
        names = [field.name for field in fields(Images)]
        images = Images(**{name: inputs.pop(name, None) for name in names})
        read, _ = self.read(
            input_ids=inputs.pop("input_ids", None),
            inputs_embeds=inputs.pop("inputs_embeds", None),
            images=images,
            is_prefill=inputs.get("past_key_values") is None,
        )
        return self.llm.base_model(**read, **inputs)

    def image_tokens(self, images: Images) -> Sequence[Float[Tensor, "_ llm_dim"]]:
        """Turn images into visual tokens, from where they are.

        Args:
            images: of a batch.

        Raises:
            ShapeError: tiles or features are not those of images of these sizes.
        """
        if images.made is not None:
            return images.made
        if images.are_none:
            return ()
        sizes = cast("Tensor", images.image_sizes)
        features = images.image_features
        if features is None:
            features = self.image_features(cast("Pixels", images.pixel_values), sizes)
        return self.visual_tokens(features, sizes)

    def _device(self) -> torch.device:
        return self.get_input_embeddings().weight.device


def _attention(config: OpticNerveConfig) -> Literal["auto", "eager"]:
    return "eager" if cast("Any", config)._attn_implementation == "eager" else "auto"
