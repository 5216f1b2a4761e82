"""Feeds: how pixels enter a family of vision towers, and how its hidden states leave in raster order."""

from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import torch
from einops import rearrange, repeat
from torch import Tensor
from typing_extensions import override

from opticnerve.encoders.block_order import raster_from_blocks
from opticnerve.grid import Grid


@runtime_checkable
class Feed(Protocol):
    """Both ends of a vision tower."""

    def inputs(self, pixels: Tensor, grid: Grid) -> dict[str, Any]:
        """Name the tower's arguments for a batch of images of one size.

        Args:
            pixels: (batch, 3, height, width), normalised.
            grid: patches of each image.
        """
        ...

    def raster(self, hidden: Tensor, grid: Grid, *, batch: int) -> Tensor:
        """Bring hidden states to (batch, positions, dim), row by row.

        Args:
            hidden: as the tower returns them.
            grid: patches of each image.
            batch: number of images.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFeed(Feed):
    """Whole images: CLIP, SigLIP, DINO, InternViT, ViT and most others."""

    native_px: tuple[int, int]
    """Height and width of the position table."""
    has_switch: bool
    """The tower interpolates its position table only when asked to; the others do it whenever the size asks for it."""

    @override
    def inputs(self, pixels: Tensor, grid: Grid) -> dict[str, Any]:
        if self.has_switch and (pixels.shape[-2], pixels.shape[-1]) != self.native_px:
            return {"pixel_values": pixels, "interpolate_pos_encoding": True}
        return {"pixel_values": pixels}

    @override
    def raster(self, hidden: Tensor, grid: Grid, *, batch: int) -> Tensor:
        return hidden


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchFeed(Feed):
    """Images cut into patches beforehand, with the grid beside them: SigLIP 2 NaFlex.

    Source: `convert_image_to_patches` (transformers, siglip2): channels last within a patch. All images of a batch have
    one size, so that nothing is padded and no mask is needed.
    """

    patch_px: int
    """Side of a patch."""

    @override
    def inputs(self, pixels: Tensor, grid: Grid) -> dict[str, Any]:
        patches = rearrange(pixels, "b c (r p) (k q) -> b (r k) (p q c)", p=self.patch_px, q=self.patch_px)
        shapes = torch.tensor([[grid.rows, grid.cols]] * pixels.shape[0])
        return {"pixel_values": patches, "pixel_attention_mask": None, "spatial_shapes": shapes}

    @override
    def raster(self, hidden: Tensor, grid: Grid, *, batch: int) -> Tensor:
        return hidden


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockFeed(Feed):
    """Patches of all images in one row, block by block: Qwen2-VL, Qwen2.5-VL and Qwen3-VL.

    Source: `Qwen2VLImageProcessor._preprocess` (transformers). A still image is repeated to fill the temporal patch.
    """

    patch_px: int
    """Side of a patch."""
    factor: int
    """Patches a side of one merge block."""
    num_frames: int
    """Frames that one temporal patch takes."""
    window_px: int
    """Side of an attention window, by which Qwen2.5-VL sorts its hidden states; 0 where there are no windows."""
    table_patches: int
    """Side of Qwen3-VL's table of positions; 0 where there is none."""

    @override
    def inputs(self, pixels: Tensor, grid: Grid) -> dict[str, Any]:
        from transformers import vision_utils

        pattern = "b c (r row p) (k col q) -> (b r k row col) (c t p q)"
        sides = {"p": self.patch_px, "q": self.patch_px, "row": self.factor, "col": self.factor}
        # On the meta device nothing has values, but the tower must read the shapes.
        place = torch.device("cpu") if pixels.device.type == "meta" else pixels.device
        shapes = self._shapes(grid, batch=pixels.shape[0], device=place)
        named = {
            "hidden_states": repeat(pixels, pattern, t=self.num_frames, **sides),
            "grid_thw": shapes,
            "position_ids": vision_utils.get_vision_position_ids(shapes, self.factor).to(pixels.device),
        }
        if self.table_patches:
            indices, weights = vision_utils.get_vision_interpolation_indices_and_weights(
                shapes, self.table_patches, mode="bilinear", align_corners=True, spatial_merge_size=self.factor
            )
            named |= {"interp_indices": indices.to(pixels.device), "interp_weights": weights.to(pixels.device)}
        return named

    @override
    def raster(self, hidden: Tensor, grid: Grid, *, batch: int) -> Tensor:
        if self.window_px:
            from transformers import vision_utils

            shapes = self._shapes(grid, batch=batch, device=torch.device("cpu"))
            order, _ = cast(Any, vision_utils).get_vision_window_index(
                shapes, self.factor, self.window_px, self.patch_px
            )
            groups = rearrange(hidden, "(group unit) d -> group unit d", unit=self.factor**2)
            hidden = rearrange(groups[order.argsort().to(hidden.device)], "group unit d -> (group unit) d")
        blocks = rearrange(hidden, "(b n) d -> b n d", b=batch)
        return raster_from_blocks(blocks, grid, factor=self.factor)

    def _shapes(self, grid: Grid, *, batch: int, device: torch.device) -> Tensor:
        return torch.tensor([[1, grid.rows, grid.cols]] * batch, device=device)
