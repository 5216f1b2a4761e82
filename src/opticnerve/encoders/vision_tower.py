"""The encoder over transformers' vision towers."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from typing_extensions import override

from opticnerve.encoders.base import Encoder, EncoderInfo
from opticnerve.encoders.feeds import Feed
from opticnerve.encoders.towers import TowerPlan
from opticnerve.encoders.trim import trim
from opticnerve.errors import EncoderError, first_line
from opticnerve.grid import Grid


@dataclass(frozen=True, kw_only=True, slots=True)
class Shapes:
    """What one forward pass on the meta device tells of a tower."""

    dim: int
    """Channels of a hidden state."""
    num_prefix: int
    """Tokens before the patches."""
    is_any_size: bool
    """Another size than the native one runs, and has as many features as its grid says."""


class VisionTower(Encoder):
    """A vision tower of transformers, cut to the levels that are wanted.

    Args:
        info: what is known of it.
        plan: what it was built from.
        model: the tower, already trimmed.
        levels: numbers of the hidden states to join on the channels; empty for the finished output.
        num_prefix: tokens that the tower puts before the patches, kept or not.
    """

    def __init__(
        self, info: EncoderInfo, *, plan: TowerPlan, model: nn.Module, levels: tuple[int, ...], num_prefix: int
    ) -> None:
        super().__init__(info)
        self.model = model
        self.levels = levels
        self._plan = plan
        self._feed = plan.feed()
        self._num_dropped = num_prefix - info.num_prefix
        self._known_flops: dict[tuple[int, int], int] = {}

    @property
    def plan(self) -> TowerPlan:
        """What it was built from, with all of its layers."""
        return self._plan

    @property
    def num_tower_prefix(self) -> int:
        """Tokens that the tower puts before the patches, kept or not."""
        return self._num_dropped + self.info.num_prefix

    @override
    def forward(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch positions dim"]:
        grid = self.grid(pixels.shape[-2], pixels.shape[-1])
        return run_tower(self.model, pixels, grid, feed=self._feed, levels=self.levels)[:, self._num_dropped :]

    @override
    def flops(self, height_px: int, width_px: int) -> int:
        grid = self.grid(height_px, width_px)
        if (height_px, width_px) not in self._known_flops:
            skeleton = self._plan.skeleton(num_layers=self._plan.num_layers)
            trim(skeleton, self._plan, levels=self.levels)
            with FlopCounterMode(display=False) as counter:
                _dry_run(skeleton, self._plan, grid, batch=1, levels=self.levels)
            self._known_flops[height_px, width_px] = int(counter.get_total_flops())
        return self._known_flops[height_px, width_px]


def run_tower(model: nn.Module, pixels: Tensor, grid: Grid, *, feed: Feed, levels: tuple[int, ...]) -> Tensor:
    """Run a tower and join the levels.

    Args:
        model: the tower.
        pixels: (batch, 3, height, width), normalised.
        grid: patches of each image.
        feed: both ends of the tower.
        levels: numbers of the hidden states; empty for the finished output.

    Returns:
        (batch, prefix tokens and patches, dim * levels).
    """
    inputs = feed.inputs(pixels.to(next(model.parameters()).dtype), grid)
    if not levels:
        return feed.raster(model(**inputs).last_hidden_state, grid, batch=pixels.shape[0])
    states = model(**inputs, output_hidden_states=list(levels)).hidden_states
    return torch.cat([feed.raster(states[level], grid, batch=pixels.shape[0]) for level in levels], dim=-1)


def probe(plan: TowerPlan, *, name: str) -> Shapes:
    """Run one layer of a tower on the meta device, at the native size and at a larger one that is not square.

    Args:
        plan: the tower.
        name: the encoder, as it stands in the message.

    Raises:
        EncoderError: it does not return one feature for every patch.
    """
    skeleton = plan.skeleton(num_layers=1)
    trim(skeleton, plan, levels=())
    native, step = plan.native_px, plan.step_px
    try:
        num_prefix, dim = _count_prefix(skeleton, plan, native, native)
    except Exception as error:
        raise EncoderError(
            f'"{name}" ({plan.cls.__name__}) does not run on a batch of {native} x {native} px images as a tower that '
            f"returns one feature for every patch: {first_line(error)}"
        ) from error
    if num_prefix < 0:
        raise EncoderError(
            f'"{name}" ({plan.cls.__name__}) returns {-num_prefix} features fewer than there are patches at {native} x '
            f"{native} px: it is not an encoder with one feature for every patch"
        )
    try:
        is_any_size = _count_prefix(skeleton, plan, native + step, native + 2 * step) == (num_prefix, dim)
    except (RuntimeError, ValueError):
        is_any_size = False
    return Shapes(dim=dim, num_prefix=num_prefix, is_any_size=is_any_size)


def _count_prefix(skeleton: nn.Module, plan: TowerPlan, height_px: int, width_px: int) -> tuple[int, int]:
    grid = Grid(height_px // plan.patch_px, width_px // plan.patch_px)
    batch, positions, dim = _dry_run(skeleton, plan, grid, batch=2, levels=())
    if batch != 2:
        raise ValueError(f"2 images became {batch} rows of features")
    return positions - grid.num_patches, dim


def _dry_run(
    skeleton: nn.Module, plan: TowerPlan, grid: Grid, *, batch: int, levels: tuple[int, ...]
) -> tuple[int, int, int]:
    # Towers that make a mask look at its values, unless its tensors are fake.
    fake = FakeTensorMode(allow_non_fake_inputs=True) if plan.has_mask else nullcontext()
    with fake, torch.no_grad():
        pixels = torch.empty(batch, 3, grid.rows * plan.patch_px, grid.cols * plan.patch_px, device="meta")
        features = run_tower(skeleton, pixels, grid, feed=plan.feed(), levels=levels)
    return cast(tuple[int, int, int], tuple(features.shape))
