"""The reference's S2 arguments as our specification, and the tiny encoder that its cases were recorded with."""

from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from opticnerve.grid import Grid
from opticnerve.multiscale import S2, s2_features, s2_maps


class TinyEncoder(nn.Module):
    """Conv2d(3, C, patch, stride=patch), exact GELU, Linear, positions, and prefix tokens made of the patches' mean."""

    def __init__(self, weights: dict[str, Tensor], *, patch: int, num_prefix: int, bchw: bool) -> None:
        super().__init__()
        self.weights = weights
        self.patch = patch
        self.num_prefix = num_prefix
        self.bchw = bchw

    def grid(self, height_px: int, width_px: int) -> Grid:
        return Grid(height_px // self.patch, width_px // self.patch, prefix=self.num_prefix)

    def forward(self, pixels: Tensor) -> Tensor:
        weights = self.weights
        maps = functional.gelu(
            functional.conv2d(pixels, weights["patch_embed.weight"], weights["patch_embed.bias"], stride=self.patch)
        )
        rows = maps.shape[-2]
        tokens = rearrange(maps, "b c h w -> b (h w) c")
        tokens = functional.linear(tokens, weights["proj.weight"], weights["proj.bias"])
        if "pos_embed" in weights:
            tokens = tokens + weights["pos_embed"]
        if self.num_prefix:
            prefix = tokens.mean(1, keepdim=True) * weights["cls_gain"] + weights["cls"]
            tokens = torch.cat([prefix, tokens], dim=1)
        return rearrange(tokens, "b (h w) c -> b c h w", h=rows) if self.bchw else tokens


def spec_of(kwargs: dict[str, Any], *, batch: int) -> S2:
    """Translate the arguments of `s2wrapper.forward`."""
    sizes = kwargs.get("img_sizes")
    return S2(
        scales=tuple(sizes or kwargs["scales"]),
        unit="px" if sizes else "image",
        max_tile_px=kwargs.get("max_split_size") or "image",
        resize_to=kwargs.get("resize_output_to_idx", 0),
        views_per_call=batch if kwargs.get("split_forward") else "all",
    )


def run(model: TinyEncoder, images: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """Do what `s2wrapper.forward(model, images, **kwargs)` does."""
    assert kwargs.get("num_prefix_token", 0) == model.num_prefix
    spec = spec_of(kwargs, batch=images.shape[0])
    if kwargs.get("output_shape", "bnc") == "bchw":
        return s2_maps(spec, model, images)
    features = s2_features(spec, model, images, grid=model.grid)
    assert features.shape[1] == spec.out_grid(images.shape[-2], images.shape[-1], grid=model.grid).size
    return features
