"""Families of transformers whose visual tokens are drawn from a codebook: Ovis2's visual words, and VQ codes."""

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.entries import Entry
from opticnerve.checkpoints.layout import Layout, Reading, Shapes, Views
from opticnerve.checkpoints.layouts.read import side
from opticnerve.checkpoints.layouts.sequential import named
from opticnerve.connectors import ConnectorSpec
from opticnerve.connectors.blocks import BlockSpec, Codebook, Downsample, Linear, Merge, NearestCode, Norm
from opticnerve.errors import CheckpointError


def _ovis2(config: Config, shapes: Shapes) -> Reading:
    """Ovis2's visual tokenizer and its embedding table; the table's last rows stand for marks around an image.

    transformers 5.23 pads a batch of grids that hidden_stride does not divide on the batch axis too, and crashes. Here
    they are padded with zeros at the bottom and right, as in Ovis's own code.
    """
    del shapes
    stride = int(config.get("vision_config.hidden_stride"))
    extra = int(config.get("vision_config.num_visual_indicator_tokens"))
    choices: dict[str, Codebook] = {
        "softmax": Codebook(num_extra=extra),
        "st_argmax": Codebook(choice="argmax", num_extra=extra),
    }
    choice = str(config.get("vision_config.tokenize_function"))
    if choice not in choices:
        raise CheckpointError(
            f'Ovis2 with tokenize_function "{choice}" draws visual words at random, which no block does; known: '
            f"{', '.join(choices)}"
        )
    codebook = choices[choice]
    merge = (Merge(rows=stride, cols=stride, odd="pad"),) if stride > 1 else ()
    num_words = int(config.get("vision_config.vocab_size")) - codebook.num_extra
    blocks = (*merge, Linear(dim=num_words, has_bias=False), Norm(norm="layer", eps=1e-5), codebook)
    tile = side(config.get("vision_config.image_size"))
    return Reading(
        spec=ConnectorSpec(name="ovis2", blocks=blocks),
        vision_dim=int(config.get("vision_config.hidden_size")),
        llm_dim=int(config.get("hidden_size")),
        views=Views(
            policy=f"tiles of {tile} px and a view of the whole image",
            patch_px=side(config.get("vision_config.patch_size")),
            tile_px=tile,
        ),
    )


def _ovis2_entries(spec: ConnectorSpec) -> tuple[Entry, ...]:
    table = f"blocks.{len(spec.blocks) - 1}.table"
    return (
        *named(spec, "vision_tower.head_linear", "vision_tower.head_norm"),
        Entry(theirs="visual_embeddings_table.weight", ours=(table,)),
    )


def _chameleon(config: Config, shapes: Shapes) -> Reading:
    """Chameleon's quantiser, from the features of its VQGAN's encoder to the nearest codes."""
    del shapes
    tile = int(config.get("vq_config.resolution"))
    shrinks = len(config.get("vq_config.channel_multiplier")) - 1
    return Reading(
        spec=ConnectorSpec(name="nearest_code", blocks=_quantiser(config, is_normalised=False)),
        vision_dim=int(config.get("vq_config.latent_channels")),
        llm_dim=int(config.get("hidden_size")),
        views=Views(policy=f"fixed {tile} px", patch_px=2**shrinks, tile_px=tile, is_one_view=True),
    )


def _glm_image(config: Config, shapes: Shapes) -> Reading:
    """GLM-Image's quantiser, from the features of its ViT to the nearest codes, compared on the unit sphere."""
    del shapes
    return Reading(
        spec=ConnectorSpec(name="nearest_code", blocks=_quantiser(config, is_normalised=True)),
        vision_dim=int(config.get("vq_config.latent_channels")),
        llm_dim=int(config.get("text_config.hidden_size")),
        views=Views(policy="native size", patch_px=side(config.get("vision_config.patch_size"))),
    )


def _quantiser(config: Config, *, is_normalised: bool) -> tuple[BlockSpec, ...]:
    """List a 1 x 1 convolution and the codes.

    The connector ends at the code vectors. What the LLM reads are its own embeddings of the codes' numbers
    (`NearestCodeBlock.numbers`), a part of its vocabulary, which stays with the LLM.
    """
    return (
        Downsample(factor=1, dim=int(config.get("vq_config.embed_dim"))),
        NearestCode(num_codes=int(config.get("vq_config.num_embeddings")), is_normalised=is_normalised),
    )


def _emu3(config: Config, shapes: Shapes) -> Reading:
    """Emu3's codes; the features are what comes out of its `quant_conv`, a convolution over time of the encoder's.

    As in Chameleon, the LLM's own embeddings of the codes' numbers follow, with one for the end of each row.
    """
    del shapes
    shrinks = len(config.get("vq_config.channel_multiplier")) - 1
    return Reading(
        spec=ConnectorSpec(
            name="nearest_code", blocks=(NearestCode(num_codes=int(config.get("vq_config.codebook_size"))),)
        ),
        vision_dim=int(config.get("vq_config.embed_dim")),
        llm_dim=int(config.get("text_config.hidden_size")),
        views=Views(policy="native size", patch_px=2**shrinks),
    )


def _code_entries(spec: ConnectorSpec) -> tuple[Entry, ...]:
    last = len(spec.blocks) - 1
    codes = Entry(theirs="quantize.embedding.weight", ours=(f"blocks.{last}.codes",))
    return (*named(spec, *["quant_conv"] * last), codes)


TABLE: tuple[Layout, ...] = (
    Layout(
        name="ovis2",
        title="Ovis2",
        home="transformers",
        method="concat + Linear + softmax over visual words",
        read=_ovis2,
        entries=_ovis2_entries,
        marks=("visual_embeddings_table.weight", "vision_tower.head_linear.weight"),
        at=("model.",),
        owns=("visual_embeddings_table.", "vision_tower.head_"),
        model_types=("ovis2",),
    ),
    Layout(
        name="chameleon",
        title="Chameleon",
        home="transformers",
        method="nearest code",
        read=_chameleon,
        entries=_code_entries,
        marks=("quantize.embedding.weight", "quant_conv.weight"),
        at=("vqmodel.",),
        owns=("quantize.", "quant_conv."),
        model_types=("chameleon",),
    ),
    Layout(
        name="glm_image",
        title="GLM-Image",
        home="transformers",
        method="nearest code on the unit sphere",
        read=_glm_image,
        entries=_code_entries,
        marks=("quantize.embedding.weight", "quant_conv.weight"),
        at=("vqmodel.",),
        owns=("quantize.", "quant_conv."),
        model_types=("glm_image",),
    ),
    Layout(
        name="emu3",
        title="Emu3",
        home="transformers",
        method="nearest code",
        read=_emu3,
        entries=_code_entries,
        marks=("quantize.embedding.weight",),
        at=("vqmodel.",),
        owns=("quantize.",),
        model_types=("emu3",),
    ),
)
