"""What is compared: published connectors and encoders at their published sizes, with random weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import original_resamplers
import originals
import torch
import transformers
from torch import Tensor, nn

from opticnerve import Connector, ConnectorSpec, Grid, methods
from opticnerve.checkpoints import published_tensors
from opticnerve.connectors.rewrites import Mode, plan_rewrites
from opticnerve.encoders import blocks_from_raster, build_encoder
from opticnerve.encoders.normalisation import FAMILIES
from opticnerve.multiscale import S2, S2Encoder

MODES: tuple[Mode, ...] = ("inference", "train")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ways:
    """The same computation in the original's way and in ours, with the same weights."""

    original: nn.Module
    original_inputs: tuple[Tensor, ...]
    ours: Mapping[Mode, nn.Module]
    """Optimized for each mode that is measured."""
    ours_inputs: tuple[Tensor, ...]
    rewrites: Mapping[Mode, Sequence[str]]
    """Names of those that were taken."""

    @property
    def modes(self) -> tuple[Mode, ...]:
        """Those that are measured."""
        return tuple(self.ours)


class Case(Protocol):
    """A row of the table."""

    @property
    def name(self) -> str:
        """What `--only` calls it."""
        ...

    @property
    def title(self) -> str:
        """What it is, with its sizes."""
        ...

    @property
    def batch(self) -> int:
        """Images in a batch."""
        ...

    def build(self, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Ways:
        """Make both, and what goes in."""
        ...


@dataclass(frozen=True, kw_only=True)
class ConnectorCase:
    """A connector on features of one grid."""

    name: str
    title: str
    spec: ConnectorSpec
    grid: Grid
    vision_dim: int
    llm_dim: int
    original: Callable[["ConnectorCase"], nn.Module]
    layout: str | None
    """The original's names, as a key of LAYOUTS; None where they stand in the order of the connector's own."""
    batch: int = 1
    original_inputs: Callable[["ConnectorCase", Tensor], tuple[Tensor, ...]] = lambda _, features: (features,)
    """From features in raster order to what the original takes."""

    def build(self, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Ways:
        """Make both, and what goes in."""
        torch.manual_seed(0)
        connector = self.spec.build(vision_dim=self.vision_dim, llm_dim=self.llm_dim)
        randomise(connector)
        connector = connector.to(device, dtype).eval()
        original = self.original(self)
        original.load_state_dict(self._names(original, connector))
        features = torch.randn(self.batch, self.grid.size, self.vision_dim).to(device, dtype)
        return Ways(
            original=original.to(device, dtype).eval(),
            original_inputs=self.original_inputs(self, features),
            ours={mode: connector.optimized(mode=mode, grid=self.grid).on_grid(self.grid) for mode in MODES},
            ours_inputs=(features,),
            rewrites={mode: self._rewrites(mode) for mode in MODES},
        )

    def _names(self, original: nn.Module, connector: Connector) -> dict[str, Tensor]:
        if self.layout is not None:
            return published_tensors(connector, layout=self.layout)
        return dict(zip(original.state_dict(), connector.state_dict().values(), strict=True))

    def _rewrites(self, mode: Mode) -> list[str]:
        plan = plan_rewrites(self.spec, self.grid, vision_dim=self.vision_dim, llm_dim=self.llm_dim, mode=mode)
        return [one.rewrite.name for one in plan if one.rewrite is not None]


def randomise(module: nn.Module) -> None:
    """Move norms and biases away from 1 and 0, so that nothing is left out unseen.

    Args:
        module: changed in place.
    """
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))


@dataclass(frozen=True, kw_only=True)
class EncoderCase:
    """SigLIP at one scale or several; published recipes freeze it, so that it is run forward only."""

    name: str
    title: str
    scales: tuple[int, ...] = ()
    """Of S2; none for the second last layer of the encoder alone."""
    batch: int = 1
    config: Mapping[str, int] | None = None
    """Sizes other than those of SigLIP B/16 at 224 px."""

    def build(self, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Ways:
        """Make both, and what goes in."""
        torch.manual_seed(0)
        sizes = {"image_size": 224, "patch_size": 16, **(self.config or {})}
        config = transformers.SiglipVisionConfig(**sizes, vision_use_head=not self.scales)
        tower = transformers.SiglipVisionModel(config)
        randomise(tower)
        encoder = build_encoder(describe(config, levels=() if self.scales else (config.num_hidden_layers - 1,)))
        # the tower's head and its layers after the chosen one are not there
        weights = tower.state_dict()
        encoder.model.load_state_dict({name: weights[name] for name in encoder.model.state_dict()})
        ours = S2Encoder(encoder, spec=S2(scales=self.scales)) if self.scales else encoder
        original = originals.S2Wrapper(tower, scales=self.scales) if self.scales else originals.SecondLastLayer(tower)
        pixels = (torch.randn(self.batch, 3, config.image_size, config.image_size).to(device, dtype),)
        return Ways(
            original=original.to(device, dtype).eval(),
            original_inputs=pixels,
            ours={"inference": ours.to(device, dtype).eval()},
            ours_inputs=pixels,
            rewrites={"inference": []},
        )


def describe(config: transformers.SiglipVisionConfig, *, levels: tuple[int, ...]) -> dict[str, Any]:
    """Describe a SigLIP encoder as `describe_encoder` does.

    Args:
        config: its sizes.
        levels: numbers of the hidden states that are wanted; none for the finished output.
    """
    side = config.image_size
    return {
        "kind": "transformers",
        "levels": list(levels),
        "num_tower_prefix": 0,
        "module": "transformers.models.siglip.modeling_siglip",
        "cls": "SiglipVisionModel",
        "config": config.to_dict(),
        "info": {
            "name": "siglip",
            "dim": config.hidden_size,
            "patch_px": config.patch_size,
            "native_px": [side, side],
            "step_px": config.patch_size,
            "is_any_size": True,
            "num_prefix": 0,
            "normalisation": FAMILIES["siglip_vision_model"].to_dict(),
        },
    }


def _with_cls(case: ConnectorCase, features: Tensor) -> tuple[Tensor, ...]:
    return (torch.cat([features.new_zeros(case.batch, 1, case.vision_dim), features], dim=1),)


def _in_blocks(case: ConnectorCase, features: Tensor) -> tuple[Tensor, ...]:
    return (blocks_from_raster(features, case.grid, factor=2).flatten(0, 1).contiguous(),)


def _with_sizes(case: ConnectorCase, features: Tensor) -> tuple[Tensor, ...]:
    return features, torch.tensor([[case.grid.rows, case.grid.cols]] * case.batch)


def _frame_by_frame(case: ConnectorCase, features: Tensor) -> tuple[Tensor, ...]:
    return (features.reshape(case.batch * case.grid.frames, -1, case.vision_dim),)


def _qwen_vl(case: ConnectorCase) -> nn.Module:
    return original_resamplers.QwenVL(num_queries=256, vision_dim=case.vision_dim, dim=case.llm_dim)


def _minicpm(case: ConnectorCase) -> nn.Module:
    queries = case.spec.num_tokens(case.grid)
    return original_resamplers.MiniCPM(num_queries=queries, vision_dim=case.vision_dim, dim=case.llm_dim)


LLAVA_ONEVISION = ConnectorCase(
    name="llava_onevision",
    title="LLaVA-OneVision frame, MLP then bilinear 27 x 27 -> 14 x 14, 1152 -> 3584",
    spec=methods.pool(mode="bilinear"),
    grid=Grid(27, 27),
    vision_dim=1152,
    llm_dim=3584,
    original=lambda case: originals.LlavaOneVision(vision_dim=case.vision_dim, llm_dim=case.llm_dim),
    layout=None,
)
PLLAVA = ConnectorCase(
    name="pllava",
    title="PLLaVA, 4 of its 16 frames, MLP then adaptive 24 x 24 -> 12 x 12, 1024 -> 4096",
    spec=methods.pool(mode="adaptive", out_grid=(12, 12), out_frames=4),
    grid=Grid(24, 24, frames=4),
    vision_dim=1024,
    llm_dim=4096,
    original=lambda case: originals.PLLaVA(
        vision_dim=case.vision_dim, llm_dim=case.llm_dim, pooling_shape=(case.grid.frames, 12, 12)
    ),
    layout="pllava",
    original_inputs=_frame_by_frame,
)
LDPV2 = ConnectorCase(
    name="ldpv2",
    title="LDPv2, MobileVLM V2 1.7B, 24 x 24 -> 12 x 12, 1024 -> 2048",
    spec=methods.ldpv2(),
    grid=Grid(24, 24),
    vision_dim=1024,
    llm_dim=2048,
    original=lambda case: originals.LDPv2(vision_dim=case.vision_dim, llm_dim=case.llm_dim),
    layout="mobilevlm_v2",
)
QWEN_VL = ConnectorCase(
    name="qwen_vl",
    title="Qwen-VL resampler, 256 queries of 1024 keys, 1664 -> 4096",
    spec=methods.qwen_vl_resampler(),
    grid=Grid(32, 32),
    vision_dim=1664,
    llm_dim=4096,
    original=_qwen_vl,
    layout="qwen_vl",
)
MINICPM = ConnectorCase(
    name="minicpm_64",
    title="MiniCPM-V 2.6 resampler, 64 queries of 1024 keys, 1152 -> 3584",
    spec=methods.minicpm_resampler(num_queries=64),
    grid=Grid(32, 32),
    vision_dim=1152,
    llm_dim=3584,
    original=_minicpm,
    layout="minicpm_v",
    original_inputs=_with_sizes,
)
BLIP2 = ConnectorCase(
    name="blip2_257",
    title="BLIP-2 Q-Former, 32 queries of 257 keys, 1408 -> 2560",
    spec=methods.qformer(),
    grid=Grid(16, 16, prefix=1),
    vision_dim=1408,
    llm_dim=2560,
    original=lambda case: original_resamplers.Blip2(vision_dim=case.vision_dim, llm_dim=case.llm_dim),
    layout="blip2_opt",
)
QWEN2_VL = ConnectorCase(
    name="qwen2_vl",
    title="Qwen2-VL 7B merger, merge 2 x 2 and MLP, 32 x 32 patches, 1280 -> 3584",
    spec=methods.concat_mlp(),
    grid=Grid(32, 32),
    vision_dim=1280,
    llm_dim=3584,
    original=lambda case: originals.Qwen2VLMerger(vision_dim=case.vision_dim, llm_dim=case.llm_dim),
    layout="qwen2_vl",
    original_inputs=_in_blocks,
)
INTERNVL = ConnectorCase(
    name="internvl_1024",
    title="InternVL2 8B, pixel shuffle and MLP, 32 x 32 patches, 1024 -> 4096",
    spec=methods.pixel_shuffle(),
    grid=Grid(32, 32),
    vision_dim=1024,
    llm_dim=4096,
    original=lambda case: originals.InternVL(vision_dim=case.vision_dim, llm_dim=case.llm_dim),
    layout="internvl_chat",
    original_inputs=_with_cls,
)

CONNECTORS: tuple[ConnectorCase, ...] = (
    LLAVA_ONEVISION,
    PLLAVA,
    LDPV2,
    replace(LDPV2, name="ldpv2_8", title=f"{LDPV2.title}, batch 8", batch=8),
    QWEN_VL,
    MINICPM,
    replace(
        MINICPM,
        name="minicpm_96",
        title="MiniCPM-Llama3-V 2.5 resampler, 96 queries of 1024 keys, 1152 -> 4096",
        spec=methods.minicpm_resampler(num_queries=96),
        llm_dim=4096,
    ),
    BLIP2,
    replace(
        BLIP2,
        name="blip2_729",
        title="Q-Former as BLIP-2's, 32 queries of 729 keys, 1152 -> 2560",
        grid=Grid(27, 27),
        vision_dim=1152,
    ),
    QWEN2_VL,
    INTERNVL,
    replace(
        INTERNVL,
        name="internvl_3200",
        title="InternVL2 26B, pixel shuffle and MLP, 32 x 32 patches, 3200 -> 6144",
        vision_dim=3200,
        llm_dim=6144,
    ),
)
"""With connectors, forward is measured in inference mode, and forward + backward in training mode."""

ENCODERS: tuple[EncoderCase, ...] = (
    EncoderCase(name="s2_2", title="S2 at 1x and 2x, SigLIP B/16 at 224 px", scales=(1, 2)),
    EncoderCase(name="s2_3", title="S2 at 1x, 2x and 3x, SigLIP B/16 at 224 px", scales=(1, 2, 3)),
    EncoderCase(name="encoder", title="Second last layer of SigLIP B/16 at 224 px"),
)

CASES: tuple[Case, ...] = (*CONNECTORS, *ENCODERS)
