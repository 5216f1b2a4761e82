"""This library's own files: a connector that was saved, and the connector of a saved model."""

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.layout import Layout, Reading, Shapes, Views
from opticnerve.connectors import ConnectorSpec, method
from opticnerve.encoders import EncoderInfo
from opticnerve.tiling import tiling_from_dict
from opticnerve.views import Sight

CONNECTOR_MODEL_TYPE = "opticnerve_connector"
"""model_type in the connector.json of a saved connector."""


def _read_connector(config: Config, shapes: Shapes) -> Reading:
    del shapes
    spec = ConnectorSpec.from_dict(config.get("connector"))
    return Reading(spec=spec, vision_dim=int(config.get("vision_dim")), llm_dim=int(config.get("llm_dim")))


def _read_model(config: Config, shapes: Shapes) -> Reading:
    del shapes
    sight = Sight(
        info=EncoderInfo.from_dict(config.get("encoder")["info"]),
        tiling=tiling_from_dict(config.get("tiling")),
        scales=tuple(config.get("scales", None) or (1,)),
    )
    options = sight.tiling.to_dict()
    name = str(options.pop("name"))
    return Reading(
        spec=ConnectorSpec.from_dict(config.get("connector")),
        vision_dim=sight.dim,
        llm_dim=int(config.get("text_config.hidden_size")),
        views=Views(
            policy=name,
            patch_px=sight.info.patch_px,
            num_prefix=sight.info.num_prefix,
            tiling=name,
            tiling_options=options,
            scales=sight.scales,
        ),
    )


def _example() -> Reading:
    return Reading(spec=method("pixel_shuffle"), vision_dim=1024, llm_dim=2048)


TABLE: tuple[Layout, ...] = (
    Layout(
        name="opticnerve",
        title="models of this library",
        home="opticnerve",
        method="any",
        read=_read_model,
        entries=None,
        at=("multi_modal_projector.connector.",),
        model_types=("opticnerve",),
        example=_example,
        tested="saved and read back",
    ),
    Layout(
        name="opticnerve_connector",
        title="connectors that this library saved",
        home="opticnerve",
        method="any",
        read=_read_connector,
        entries=None,
        model_types=(CONNECTOR_MODEL_TYPE,),
        example=_example,
        tested="saved and read back",
    ),
)
