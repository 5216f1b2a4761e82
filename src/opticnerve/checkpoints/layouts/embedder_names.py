"""Names of the tensors of the families in `embedders`."""

from opticnerve.checkpoints.entries import Entry
from opticnerve.checkpoints.layouts import sequential
from opticnerve.connectors import ConnectorSpec
from opticnerve.connectors.blocks import BlockSpec, FrameWaves, PatchPositions, Standardise


def _own(spec: ConnectorSpec, kind: type[BlockSpec], **names: str) -> tuple[Entry, ...]:
    """Name tensors that every block of a kind holds by itself, ours to theirs."""
    found = [index for index, block in enumerate(spec.blocks) if isinstance(block, kind)]
    return tuple(
        Entry(theirs=theirs, ours=(f"blocks.{index}.{ours}",)) for index in found for ours, theirs in names.items()
    )


def gemma3n(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """Gemma 3n's soft branch; its last norm holds no weights."""
    return sequential.named(spec, "soft_embedding_norm", "embedding_projection")


def gemma4(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """Gemma 4's embedder, and the fixed numbers of its encoder where it has them."""
    fixed = _own(spec, Standardise, mean="vision_tower.std_bias", inverse_spread="vision_tower.std_scale")
    return fixed + sequential.named(spec, "embed_vision.embedding_projection")


def gemma4_unified(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """Gemma 4 12B's embedder, as it is saved; in memory, everything is in `embed_vision`."""
    before = (f"vision_embedder.{name}" for name in ("patch_ln1", "patch_dense", "patch_ln2", "pos_norm"))
    positions = _own(spec, PatchPositions, table="vision_embedder.pos_embedding")
    return positions + sequential.named(spec, *before, "embed_vision.embedding_projection")


def phi4(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """Phi-4 multimodal's projection."""
    return sequential.named(spec, "img_projection_up", "img_projection_down")


def fuyu(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """Fuyu's Linear, which stands in the model itself."""
    return sequential.named(spec, "vision_embed_tokens")


def neomme(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """NeoMME's patch stem."""
    return sequential.named(spec, "norm", "up_proj", "down_proj")


def florence2(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """Florence-2's projector, its fixed table of frames included."""
    learned = {"rows": "row_embeddings", "cols": "column_embeddings"}
    learned = {ours: f"image_position_embed.{theirs}.weight" for ours, theirs in learned.items()}
    fixed = _own(spec, FrameWaves, table="visual_temporal_embed.pos_idx_to_embed")
    return _own(spec, PatchPositions, **learned) + fixed + sequential.named(spec, "image_projection", "image_proj_norm")
