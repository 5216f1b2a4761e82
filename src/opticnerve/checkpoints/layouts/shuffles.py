"""Families of transformers with a pixel shuffle (space-to-depth) before their projection."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol, runtime_checkable

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.entries import Entry
from opticnerve.checkpoints.layout import Layout, Reading, Shapes
from opticnerve.checkpoints.layouts import shuffle_names as names
from opticnerve.checkpoints.layouts import shuffle_reads as reads
from opticnerve.checkpoints.layouts.sequential import idefics3, internvl, internvl_hf
from opticnerve.connectors import ConnectorSpec

Entries = Callable[[ConnectorSpec], tuple[Entry, ...]]


@runtime_checkable
class Read(Protocol):
    """A reader that several families share."""

    def __call__(self, config: Config, shapes: Shapes, *, name: str) -> Reading:
        """Read the connector of the family of that name."""
        ...


def _row(name: str, title: str, *, method: str, read: Read, entries: Entries, marks: str, at: str) -> Layout:
    """Describe a family whose connector is one module; `marks` are modules that have a weight."""
    return Layout(
        name=name,
        title=title,
        home="transformers",
        method=method,
        read=partial(read, name=name),
        entries=entries,
        marks=tuple(f"{mark}.weight" for mark in marks.split()),
        at=(f"{at}.",),
        model_types=(name,),
    )


_NORMED = "layer_norm linear_1 linear_2"
_shuffle_mlp = partial(_row, method="pixel shuffle + MLP", at="multi_modal_projector")
_shuffle_linear = partial(_row, method="pixel shuffle + linear", at="connector")
_shuffle_glu = partial(_row, method="pixel shuffle + GLU", at="multi_modal_projector")
_bert = partial(_shuffle_linear, read=reads.modernvbert, entries=names.projection, marks="modality_projection")
_concat = partial(
    _row,
    method="concat + MLP",
    read=reads.mistral3,
    entries=names.mistral3,
    marks="patch_merger.merging_layer norm linear_1 linear_2",
)


def _spread(name: str, title: str, *, method: str, read: Read, entries: Entries, marks: str, owns: str) -> Layout:
    """Describe a family whose connector lies in several modules of the model: names begin at their parent."""
    row = _row(name, title, method=method, read=read, entries=entries, marks=marks, at="")
    return replace(row, at=(), owns=tuple(f"{one}." for one in owns.split()))


_muse_row = partial(
    _spread,
    method="pixel shuffle + MLP",
    read=reads.muse,
    entries=names.muse,
    marks="vision_adapter.fc1 vision_adapter.fc2 vision_projection",
    owns="vision_adapter vision_projection",
)


def _granite(name: str, path: str) -> Layout:
    row = _row(
        name,
        f"Granite Docling, {path} path",
        method="pixel shuffle + MLP, DeepStack",
        read=reads.granite_docling,
        entries=partial(names.granite_docling, path=path),
        marks=f"{path}.projection ln_in mlp_fc2",
        at="connector",
    )
    owns = ("ln_in.", "ln_mid.", "ln_out.", "mlp_fc2.", f"{path}.")
    return replace(row, owns=owns, model_types=("granite_docling",), is_part=path == "fine")


TABLE: tuple[Layout, ...] = (
    _shuffle_mlp("internvl", "InternVL 2.5 to 3.5 (-hf)", read=reads.internvl, entries=internvl_hf, marks=_NORMED),
    _spread(
        "qianfan_ocr",
        "Qianfan-OCR",
        method="pixel shuffle + MLP",
        read=reads.internvl,
        entries=internvl,
        marks="mlp1.0 mlp1.1 mlp1.3",
        owns="mlp1",
    ),
    _shuffle_mlp("lfm2_vl", "LFM2-VL", read=reads.lfm2_vl, entries=names.linears, marks="linear_1 linear_2"),
    _shuffle_glu(
        "aya_vision", "Aya Vision", read=reads.aya_vision, entries=names.packed_glu, marks="layernorm linear_1 linear_2"
    ),
    replace(
        _shuffle_glu(
            "cohere2_vision",
            "Command A Vision",
            read=reads.cohere2_vision,
            entries=names.packed_glu,
            marks="linear_1 linear_2",
        ),
        lacks=("layernorm.weight", "layer_norm.weight"),
    ),
    _spread(
        "nemotron_h_omni",
        "Nemotron 3 Nano Omni",
        method="pixel shuffle + MLP",
        read=reads.nemotron_h_omni,
        entries=names.nemotron,
        marks="mlp1.0 mlp1.1 mlp1.3",
        owns="mlp1 vision_final_layernorm",
    ),
    _shuffle_linear("idefics3", "Idefics3", read=reads.idefics3, entries=idefics3, marks="modality_projection.proj"),
    _shuffle_linear(
        "smolvlm", "SmolVLM, SmolVLM2", read=reads.idefics3, entries=idefics3, marks="modality_projection.proj"
    ),
    replace(_bert("modernvbert", "ModernVBERT"), lacks=("norm.weight",)),
    replace(_bert("colmodernvbert", "ColModernVBERT"), lacks=("norm.weight",)),
    replace(_bert("ultravbert", "UltraVBERT"), marks=("modality_projection.weight", "norm.weight")),
    _granite("granite_docling", "coarse"),
    _granite("granite_docling_fine", "fine"),
    _spread(
        "llama4",
        "Llama 4",
        method="pixel shuffle + MLP",
        read=reads.llama4,
        entries=names.llama4,
        marks="vision_model.vision_adapter.mlp.fc1 vision_model.vision_adapter.mlp.fc2 multi_modal_projector.linear_1",
        owns="vision_model.vision_adapter multi_modal_projector",
    ),
    _muse_row("muse_spark", "Muse Spark"),
    _muse_row("muse_glimmer", "Muse Glimmer"),
    _concat("mistral3", "Mistral Small 3.1 and later", at="multi_modal_projector"),
    _spread(
        "mistral_large4",
        "Mistral Large 4",
        method="concat + MLP",
        read=reads.mistral3,
        entries=names.mistral_large4,
        marks="patch_merger.merging_layer pre_mm_projector_norm vision_language_adapter.w_in",
        owns="patch_merger pre_mm_projector_norm vision_language_adapter",
    ),
    _concat("lighton_ocr", "LightOnOCR", at="vision_projection"),
)
