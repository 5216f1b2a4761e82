"""Families of transformers that put neighbours side by side and project them, as Qwen2-VL's patch merger does."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from opticnerve.checkpoints.config import Config
from opticnerve.checkpoints.entries import Entry
from opticnerve.checkpoints.layout import Layout, Reading
from opticnerve.checkpoints.layouts import merger_readers as read
from opticnerve.checkpoints.layouts.sequential import named
from opticnerve.connectors import ConnectorSpec
from opticnerve.connectors.blocks import Branches

Entries = Callable[[ConnectorSpec], tuple[Entry, ...]]

_MLP = ("ln_q", "mlp.0", "mlp.2")
_FC = ("norm", "linear_fc1", "linear_fc2")
_ERNIE = (
    *(f"{part}_linear.{index}" for part in ("spatial", "temporal") for index in (0, 2, 3)),
    "mlp",
    "after_norm",
)
_HYPERCLOVAX = (*(f"vision_model.merger.{name}" for name in _MLP), "vision_projector")
_LFM3 = ("layer_norm", "linear_1", "linear_2")
_PADDLE = ("pre_norm", "linear_1", "linear_2")
_KIMI = ("pre_norm", "proj.0", "proj.2")
_KIMI_SAVED = ("model.mm_projector.pre_norm", "mm_projector.proj.0", "mm_projector.proj.2")
_MINIMAX = tuple(f"{part}.linear_{index}" for part in ("multi_modal_projector", "patch_merge_mlp") for index in (1, 2))


def _named(*names: str) -> Entries:
    """Name the blocks that hold weights one by one, first to last."""
    return lambda spec: named(spec, *names)


def _stacked(names: tuple[str, ...], *, others: str) -> Entries:
    """Name the mergers of DeepStack: "merger" for the last layer, and a list for the others."""

    def entries(spec: ConnectorSpec) -> tuple[Entry, ...]:
        first = spec.blocks[0]
        if not isinstance(first, Branches):
            return named(spec, *(f"merger.{name}" for name in names))
        found: list[Entry] = []
        for index, branch in enumerate(first.branches):
            theirs = f"{others}.{index - 1}" if index else "merger"
            for entry in named(ConnectorSpec(name=spec.name, blocks=branch), *names):
                ours = tuple(name.replace("blocks.", f"blocks.0.branches.{index}.", 1) for name in entry.ours)
                found.append(Entry(theirs=f"{theirs}.{entry.theirs}", ours=ours))
        return tuple(found)

    return entries


def _layout(
    name: str,
    title: str,
    reader: Callable[..., Reading],
    names: tuple[str, ...],
    *at: str,
    method: str = "concat + MLP",
) -> Layout:
    """Make the row of a family.

    Args:
        name: of the family.
        title: of its models.
        reader: from the config to the blocks.
        names: of the modules that hold weights, first to last.
        at: the modules that these are in.
        method: in a few words.
    """
    return Layout(
        name=name,
        title=title,
        home="transformers",
        method=method,
        read=partial(reader, name=name),
        entries=_named(*names),
        marks=tuple(f"{one}.weight" for one in names),
        at=at,
        model_types=(name,),
    )


def _stack(name: str, title: str, names: tuple[str, ...], *at: str) -> Layout:
    """Make the row of a family with DeepStack."""
    others = "merger_list" if names == _MLP else "deepstack_merger_list"
    main = tuple(f"merger.{one}" for one in names)
    row = _layout(name, title, read.deepstack, main, *at, method="concat + MLP, with DeepStack")
    return replace(row, entries=_stacked(names, others=others), owns=("merger.", f"{others}."))


_qwen2 = partial(read.qwen, dim="embed_dim", llm="hidden_size")
_qwen2_5 = partial(read.qwen, norm="rms")
_dots3 = partial(read.qwen, dim="adapter_in_dim", llm="adapter_out_dim", side="adapter_merge_size")

TABLE: tuple[Layout, ...] = (
    _layout("qwen2_vl", "Qwen2-VL", _qwen2, _MLP, "visual.merger."),
    _layout("colqwen2", "ColQwen2", _qwen2, _MLP, "vlm.visual.merger.", "visual.merger."),
    _layout("qwen2_5_vl", "Qwen2.5-VL", _qwen2_5, _MLP, "visual.merger."),
    replace(
        _layout("qwen2_5_omni", "Qwen2.5-Omni", _qwen2_5, _MLP, "thinker.visual.merger.", "visual.merger."),
        model_types=("qwen2_5_omni", "qwen2_5_omni_thinker"),
    ),
    _layout("exaone4_5", "EXAONE 4.5", _qwen2_5, _MLP, "model.visual.merger.", "visual.merger."),
    _layout("dots3_note", "dots 3 Note", _dots3, _MLP, "vision_encoder.adapter.", "vision_tower.merger."),
    replace(
        _layout("hyperclovax_vision_v2", "HyperCLOVA X SEED Vision V2", read.hyperclovax, _HYPERCLOVAX, "model."),
        method="concat + MLP + Linear",
        owns=("vision_model.merger.", "vision_projector."),
    ),
    _stack("qwen3_vl", "Qwen3-VL", _FC, "model.visual.", "visual."),
    replace(
        _layout(
            "qwen3_vl_merger",
            "Qwen3-VL, without DeepStack",
            read.qwen,
            _FC,
            "model.visual.merger.",
            "visual.merger.",
            "merger.",
        ),
        marks=(),
        model_types=(),
        example=lambda: read.qwen(Config.default("qwen3_vl"), {}, name="qwen3_vl_merger"),
    ),
    _stack("qwen3_vl_moe", "Qwen3-VL-MoE", _FC, "model.visual.", "visual."),
    replace(
        _stack("qwen3_omni_moe", "Qwen3-Omni", _MLP, "thinker.visual.", "visual."),
        model_types=("qwen3_omni_moe", "qwen3_omni_moe_thinker"),
    ),
    _stack("cohere_compass", "Cohere Compass", _FC, "model.visual.", "visual."),
    _stack("cosmos3_omni", "Cosmos 3 Omni", _FC),
    _layout("qwen3_5", "Qwen3.5", read.qwen, _FC, "model.visual.merger.", "visual.merger."),
    _layout("qwen3_5_moe", "Qwen3.5-MoE", read.qwen, _FC, "model.visual.merger.", "visual.merger."),
    _layout("qwen4_exp", "Qwen4 Exp", read.qwen, _FC, "model.visual.merger.", "visual.merger."),
    _layout("cosmos3_edge", "Cosmos 3 Edge", read.projector, _FC, "model.projector.", "projector."),
    _layout(
        "lfm3_vl",
        "LFM3-VL",
        partial(read.projector, tiling="qwen"),
        _LFM3,
        "model.multi_modal_projector.",
        "multi_modal_projector.",
    ),
    _layout("paddleocr_vl", "PaddleOCR-VL", partial(read.projector, eps=1e-5), _PADDLE, "mlp_AR.", "projector."),
    _layout("kimi_k25", "Kimi K2.5", read.kimi, _KIMI, "mm_projector.", method="mean over frames + concat + MLP"),
    replace(
        _layout("kimi_k25_saved", "Kimi K2.5, as transformers 5.23 saves it", read.kimi, _KIMI_SAVED),
        method="mean over frames + concat + MLP",
        model_types=("kimi_k25",),
        owns=("mm_projector.", "model.mm_projector."),
    ),
    replace(
        _layout("minimax_m3_vl", "MiniMax-M3", read.minimax, _MINIMAX, method="MLP + concat + MLP"),
        owns=("multi_modal_projector.", "patch_merge_mlp."),
    ),
    _layout(
        "ernie4_5_vl_moe",
        "ERNIE 4.5 VL",
        read.ernie,
        _ERNIE,
        "model.resampler_model.",
        "resampler_model.",
        method="concat + MLP, twice",
    ),
    replace(
        _layout("inkling2", "Inkling 2", read.inkling, ("proj_in", "proj_out"), "model.visual.", "visual."),
        owns=("proj_in.", "proj_out."),
    ),
)
