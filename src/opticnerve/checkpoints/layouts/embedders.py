"""Families of transformers that pool and project with bare norms, and those without an encoder."""

import math

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.layout import Layout, Reading, Shapes, Views
from opticnerve.checkpoints.layouts import embedder_names as names
from opticnerve.checkpoints.layouts import sequential
from opticnerve.checkpoints.layouts.read import fixed_view, side
from opticnerve.connectors import ConnectorSpec
from opticnerve.connectors.blocks import (
    LLM,
    Activation,
    AdaptivePool,
    BlockSpec,
    Branches,
    FrameWaves,
    Linear,
    Norm,
    PatchPositions,
    Pool,
    Scale,
    Standardise,
)
from opticnerve.errors import CheckpointError

_BUDGET = "native shape, at most 70, 140, 280, 560 or 1120 tokens"


def _gemma3(config: Config, shapes: Shapes) -> Reading:
    """Read Gemma 3's projector; T5Gemma 2 has the settings of its encoder one level deeper."""
    del shapes
    at = "encoder." if config.get("encoder", None) is not None else ""
    vision = f"{at}vision_config"
    patches = int(config.get(f"{vision}.image_size")) // int(config.get(f"{vision}.patch_size"))
    tokens = int(config.get(f"{at}mm_tokens_per_image"))
    if math.isqrt(tokens) ** 2 != tokens:
        raise CheckpointError(
            f"mm_tokens_per_image must be the square of a whole number, as Gemma 3 has it, got {tokens}"
        )
    factor = patches // math.isqrt(tokens)
    blocks = (
        Pool(factor=factor, odd="drop" if factor and patches % factor else "error"),
        Norm(norm="rms_one_plus", eps=float(config.get(f"{vision}.layer_norm_eps"))),
        Linear(dim=LLM, has_bias=False),
    )
    return Reading(
        spec=ConnectorSpec(name="gemma3", blocks=blocks),
        vision_dim=int(config.get(f"{vision}.hidden_size")),
        llm_dim=int(config.get(f"{at}text_config.hidden_size")),
        views=fixed_view(config, vision=vision),
    )


def _gemma3n(config: Config, shapes: Shapes) -> Reading:
    """Read the soft branch of Gemma 3n's embedder; the hard one embeds text tokens, and stays with the LLM."""
    del shapes
    dim = int(config.get("vision_config.hidden_size"))
    eps = float(config.get("vision_config.rms_norm_eps"))
    blocks = (
        Scale(factor=dim**0.5),
        Norm(norm="rms", eps=eps),
        Linear(dim=LLM, has_bias=False),
        Norm(norm="rms_no_scale", eps=eps),
    )
    return Reading(
        spec=ConnectorSpec(name="gemma3n", blocks=blocks),
        vision_dim=dim,
        llm_dim=int(config.get("text_config.hidden_size")),
        views=Views(policy="one view of a fixed size"),
    )


def _gemma4(config: Config, shapes: Shapes) -> Reading:
    """Read Gemma 4's pooler and embedder. Their pooler finds its cells by the positions of padded patches."""
    del shapes
    dim = int(config.get("vision_config.hidden_size"))
    rooted = dim**0.5
    is_standardised = bool(config.get("vision_config.standardize", False))
    blocks = (
        Pool(factor=int(config.get("vision_config.pooling_kernel_size"))),
        Standardise(scale=rooted) if is_standardised else Scale(factor=rooted),
        Norm(norm="rms_no_scale", eps=float(config.get("vision_config.rms_norm_eps"))),
        Linear(dim=LLM, has_bias=False),
    )
    return Reading(
        spec=ConnectorSpec(name="gemma4", blocks=blocks),
        vision_dim=dim,
        llm_dim=int(config.get("text_config.hidden_size")),
        views=Views(policy=_BUDGET, patch_px=int(config.get("vision_config.patch_size"))),
    )


def _gemma4_unified(config: Config, shapes: Shapes) -> Reading:
    """Read Gemma 4's embedder without an encoder; the features are the pixels of a patch, (row, column, colour)."""
    del shapes
    patch = int(config.get("vision_config.patch_size")) * int(config.get("vision_config.pooling_kernel_size"))
    blocks = (
        Norm(norm="layer"),
        Linear(dim=int(config.get("vision_config.mm_embed_dim"))),
        Norm(norm="layer"),
        PatchPositions(size=int(config.get("vision_config.mm_posemb_size"))),
        Norm(norm="layer"),
        Norm(norm="rms_no_scale", eps=float(config.get("vision_config.rms_norm_eps"))),
        Linear(dim=LLM, has_bias=False),
    )
    return Reading(
        spec=ConnectorSpec(name="gemma4_unified", blocks=blocks),
        vision_dim=3 * patch**2,
        llm_dim=int(config.get("text_config.hidden_size")),
        views=Views(policy=_BUDGET, patch_px=patch),
    )


def _phi4(config: Config, shapes: Shapes) -> Reading:
    """Read Phi-4's compression and projection; its newline and separator are laid between the tokens before the MLP."""
    del shapes
    tile, patch = side(config.get("vision_config.image_size")), side(config.get("vision_config.patch_size"))
    blocks = (
        Pool(factor=2, odd="reflect" if tile // patch % 2 else "error"),
        Linear(dim=LLM),
        Activation(),
        Linear(dim=LLM),
    )
    return Reading(
        spec=ConnectorSpec(name="phi4_multimodal", blocks=blocks),
        vision_dim=int(config.get("vision_config.hidden_size")),
        llm_dim=int(config.get("hidden_size")),
        views=Views(policy=f"tiles of {tile} px and a global view", patch_px=patch, tile_px=tile),
    )


def _fuyu(config: Config, shapes: Shapes) -> Reading:
    """Read Fuyu's Linear; the features are the pixels of a patch, (row, column, colour)."""
    del shapes
    patch = int(config.get("patch_size"))
    return Reading(
        spec=ConnectorSpec(name="fuyu", blocks=(Linear(dim=LLM),)),
        vision_dim=int(config.get("num_channels")) * patch**2,
        llm_dim=int(config.get("text_config.hidden_size")),
        views=Views(policy="native size, at most 1080 x 1920 px", patch_px=patch),
    )


def _neomme(config: Config, shapes: Shapes) -> Reading:
    """Read NeoMME's patch stem; the features are the pixels of a patch, (row, column, colour)."""
    del shapes
    patch = int(config.get("patch_size"))
    blocks = (Norm(norm="layer"), Linear(dim=LLM * 2, has_bias=False), Activation(), Linear(dim=LLM))
    return Reading(
        spec=ConnectorSpec(name="neomme", blocks=blocks),
        vision_dim=3 * patch**2,
        llm_dim=int(config.get("hidden_size")),
        views=Views(policy="native size, padded to whole patches", patch_px=patch),
    )


def _florence2(config: Config, shapes: Shapes) -> Reading:
    """Read Florence-2's projector: the mean of all patches is the first token. Still images only."""
    del shapes
    mean: tuple[BlockSpec, ...] = (AdaptivePool(rows=1, cols=1),)
    blocks = (
        PatchPositions(size=int(config.get("vision_config.max_position_embeddings")), join="channels"),
        FrameWaves(max_frames=int(config.get("vision_config.max_temporal_embeddings"))),
        Branches(branches=(mean, ()), join="tokens"),
        Linear(dim=LLM, has_bias=False),
        Norm(norm="layer"),
    )
    return Reading(
        spec=ConnectorSpec(name="florence2", blocks=blocks),
        vision_dim=int(config.get("vision_config.embed_dim")[-1]),
        llm_dim=int(config.get("vision_config.projection_dim")),
        views=Views(
            policy="one view of a fixed size", patch_px=math.prod(map(int, config.get("vision_config.patch_stride")))
        ),
    )


def _like_gemma3(name: str, title: str, *more_types: str, llm_dim: int) -> Layout:
    """Make a layout of Gemma 3's projector; SigLIP's default image is too small for it, so a release is the example."""

    def example() -> Reading:
        vision = {"hidden_size": 1152, "image_size": 896, "patch_size": 14, "layer_norm_eps": 1e-6}
        config = {"vision_config": vision, "text_config": {"hidden_size": llm_dim}, "mm_tokens_per_image": 256}
        return _gemma3(Config(config, source=title), {})

    return Layout(
        name=name,
        title=title,
        home="transformers",
        method="pool + norm + Linear",
        read=_gemma3,
        entries=sequential.gemma3,
        marks=("mm_input_projection_weight", "mm_soft_emb_norm.weight"),
        at=("multi_modal_projector.",),
        model_types=(name, *more_types),
        example=example,
    )


def _default(name: str, *, vision: str) -> Config:
    """Return a default config with images; the families of Gemma 4 have none by default."""
    parts = {"vision_config": Config.default(vision).values, "text_config": Config.default(f"{name}_text").values}
    return Config(parts, source=f"the default {name}")


def _like_gemma4(name: str, title: str, *at: str) -> Layout:
    return Layout(
        name=name,
        title=title,
        home="transformers",
        method="pool + norm + Linear",
        read=_gemma4,
        entries=names.gemma4,
        marks=("embed_vision.embedding_projection.weight",),
        lacks=("embed_vision.soft_embedding_norm.weight", "vision_embedder.patch_dense.weight"),
        at=at,
        owns=("embed_vision.", "vision_tower.std_"),
        model_types=(name,),
        example=lambda: _gemma4(_default(name, vision="gemma4_vision"), {}),
    )


TABLE: tuple[Layout, ...] = (
    _like_gemma3("gemma3", "Gemma 3", llm_dim=2560),
    _like_gemma3("shieldgemma2", "ShieldGemma 2", llm_dim=2560),
    _like_gemma3("t5gemma2", "T5Gemma 2", "t5gemma2_encoder", llm_dim=640),
    Layout(
        name="gemma3n",
        title="Gemma 3n",
        home="transformers",
        method="norm + Linear + norm",
        read=_gemma3n,
        entries=names.gemma3n,
        marks=("soft_embedding_norm.weight", "embedding_projection.weight"),
        at=("embed_vision.",),
        owns=("soft_embedding_norm.", "embedding_projection.", "embedding_post_projection_norm."),
        model_types=("gemma3n",),
    ),
    _like_gemma4("gemma4", "Gemma 4", "model."),
    _like_gemma4("diffusion_gemma", "DiffusionGemma", "model.encoder.", "encoder."),
    _like_gemma4("embedding_gemma2", "EmbeddingGemma 2"),
    Layout(
        name="gemma4_unified",
        title="Gemma 4 12B",
        home="transformers",
        method="pixels: norms + Linears, positions of rows and columns",
        read=_gemma4_unified,
        entries=names.gemma4_unified,
        marks=("vision_embedder.patch_dense.weight", "embed_vision.embedding_projection.weight"),
        at=("model.",),
        owns=("vision_embedder.", "embed_vision."),
        model_types=("gemma4_unified",),
        example=lambda: _gemma4_unified(_default("gemma4_unified", vision="gemma4_unified_vision"), {}),
    ),
    Layout(
        name="phi4_multimodal",
        title="Phi-4 multimodal",
        home="transformers",
        method="pool + MLP",
        read=_phi4,
        entries=names.phi4,
        marks=("img_projection_up.weight", "img_projection_down.weight"),
        at=("image_embed.",),
        owns=("img_projection_",),
        model_types=("phi4_multimodal",),
    ),
    Layout(
        name="fuyu",
        title="Fuyu",
        home="transformers",
        method="pixels: Linear",
        read=_fuyu,
        entries=names.fuyu,
        marks=("vision_embed_tokens.weight", "vision_embed_tokens.bias"),
        owns=("vision_embed_tokens.",),
        model_types=("fuyu",),
    ),
    Layout(
        name="neomme",
        title="NeoMME",
        home="transformers",
        method="pixels: norm + MLP",
        read=_neomme,
        entries=names.neomme,
        marks=("norm.weight", "up_proj.weight", "down_proj.weight"),
        at=("patch_embeddings.",),
        model_types=("neomme",),
    ),
    Layout(
        name="florence2",
        title="Florence-2",
        home="transformers",
        method="positions + mean token + Linear",
        read=_florence2,
        entries=names.florence2,
        marks=("image_projection.weight", "image_position_embed.row_embeddings.weight"),
        at=("multi_modal_projector.",),
        model_types=("florence2",),
    ),
)
