"""What a published checkpoint holds, without reading a tensor of it."""

from dataclasses import dataclass, replace
from pathlib import Path

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.files import StoredTensor
from opticnerve.checkpoints.find import find
from opticnerve.checkpoints.layout import Layout, Views
from opticnerve.checkpoints.layouts import LAYOUTS
from opticnerve.checkpoints.opening import open_checkpoint
from opticnerve.connectors import ConnectorSpec
from opticnerve.grid import Grid


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """The connector of a checkpoint, as its settings and headers say."""

    source: str
    layout: Layout
    same: tuple[str, ...]
    """Other layouts that read the same connector out of it."""
    parts: tuple[str, ...]
    """Layouts of further connectors of the same model, which are read when they are named."""
    prefix: str
    """What stands before the layout's names."""
    spec: ConnectorSpec
    """Blocks, their widths resolved."""
    vision_dim: int
    llm_dim: int
    num_params: int
    """Learned numbers of the connector."""
    views: Views
    """How the model looks at images."""
    tensors: tuple[StoredTensor, ...]
    """Those of the connector: name, shape, data type, file."""

    def num_tokens(self, height_px: int, width_px: int) -> int | None:
        """Count the visual tokens of an image, separators included; None where the model's tiling is not ours.

        Args:
            height_px: of the image.
            width_px: of the image.

        Raises:
            GridError: the connector cannot take what the tiling makes of the image.
            ImageError: the model refuses such an image.
        """
        views = self.views
        tiling = views.build_tiling()
        if tiling is None or not views.patch_px:
            return None
        plan = tiling.plan(height_px, width_px)
        grids = [replace(grid, prefix=views.num_prefix) for grid in plan.token_grids(views.patch_px)]
        return plan.num_tokens([self.spec.out_grid(grid) for grid in grids])

    @property
    def tokens_per_tile(self) -> int | None:
        """Visual tokens of one tile; None where there is no fixed size."""
        views = self.views
        if not views.tile_px or not views.patch_px:
            return None
        side = views.tile_px // views.patch_px
        return self.spec.num_tokens(Grid(side, side, prefix=views.num_prefix))


def inspect_checkpoint(
    source: str | Path, *, layout: str | None = None, prefix: str | None = None, revision: str | None = None
) -> Inspection:
    """Find the connector in a checkpoint; only headers and settings are read.

    Args:
        source: folder, safetensors file, index of shards, or name on the Hugging Face hub.
        layout: a key of `LAYOUTS`, where several fit.
        prefix: what stands before the layout's names, where several fit.
        revision: branch, tag or commit on the hub.

    Raises:
        UnknownNameError: no such layout.
        CheckpointError: nothing can be read there, or no connector is known to fit.
    """
    checkpoint = open_checkpoint(source, revision=revision)
    match = find(checkpoint, layout=layout, prefix=prefix)
    reading, spec = match.reading, match.spec
    return Inspection(
        source=checkpoint.source,
        layout=match.layout,
        same=match.same,
        parts=_parts(match.layout),
        prefix=match.prefix,
        spec=spec,
        vision_dim=reading.vision_dim,
        llm_dim=reading.llm_dim,
        num_params=spec.num_params(vision_dim=reading.vision_dim, llm_dim=reading.llm_dim),
        views=with_limits(reading.views, checkpoint.processor),
        tensors=tuple(checkpoint.tensors[name] for name in match.names),
    )


def with_limits(views: Views, processor: Config) -> Views:
    """Take the smallest and the largest area of an image from the processor's own settings, where it has them.

    Args:
        views: as config.json says.
        processor: the content of preprocessor_config.json.
    """
    if views.tiling != "qwen":
        return views
    sides = {"min_pixels": "size.shortest_edge", "max_pixels": "size.longest_edge"}
    limits: dict[str, int] = {}
    for name, side in sides.items():
        places = (f"{start}{path}" for start in ("", "image_processor.") for path in (name, side))
        if value := next((found for place in places if (found := processor.get(place, None))), None):
            limits[name] = int(value)
    return replace(views, tiling_options={**views.tiling_options, **limits})


def _parts(layout: Layout) -> tuple[str, ...]:
    kinds = set(layout.model_types)
    return tuple(one.name for one in LAYOUTS.values() if one.is_part and kinds & set(one.model_types) and one != layout)
