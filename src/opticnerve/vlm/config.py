"""The config of a vision-language model: everything that its parts are built from, but the weights."""

from typing import Any, ClassVar, no_type_check

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from opticnerve.connectors import ConnectorSpec
from opticnerve.encoders import EncoderInfo
from opticnerve.errors import SpecError
from opticnerve.tiling import tiling_from_dict
from opticnerve.views import Sight


@no_type_check  # `strict` checks the fields already, and its constructor takes more than its signature says
@strict
class OpticNerveConfig(PreTrainedConfig):
    """Plain data, written as `config.json`; no folder or hub name is needed to build the model from it."""

    model_type: ClassVar[str] = "opticnerve"
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="llama")
    }

    text_config: dict[str, Any] | PreTrainedConfig | None = None
    """transformers' config of the LLM."""
    encoder: dict[str, Any] | None = None
    """What `describe_encoder` wrote."""
    tiling: dict[str, Any] | None = None
    """What `Tiling.to_dict` wrote."""
    scales: list[int | float] | None = None
    """S2: multiples of the encoder's size at which each tile is seen; None is [1]."""
    connector: dict[str, Any] | None = None
    """What `ConnectorSpec.to_dict` wrote."""
    image_token_id: int = 0
    """Token that stands where a visual token goes; its own embedding is never looked at."""
    tie_word_embeddings: bool = False
    """Of the whole; the LLM's own config says whether its embeddings are tied."""

    @property
    def sight(self) -> Sight:
        """How images are seen."""
        encoder, tiling = self._part("encoder", self.encoder), self._part("tiling", self.tiling)
        info = EncoderInfo.from_dict(encoder["info"])
        return Sight(info=info, tiling=tiling_from_dict(tiling), scales=tuple(self.scales or (1,)))

    @property
    def spec(self) -> ConnectorSpec:
        """The connector as plain data."""
        return ConnectorSpec.from_dict(self._part("connector", self.connector))

    def _part(self, name: str, data: dict[str, Any] | None) -> dict[str, Any]:
        if data is None:
            raise SpecError(
                f'the config of a vision-language model lacks its "{name}": make one with `opticnerve.vlm.assemble`, '
                f"or read one that was saved"
            )
        return data
