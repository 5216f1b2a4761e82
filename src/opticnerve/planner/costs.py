"""From a model, a device and a demand to a plan."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from opticnerve.planner.demand import Demand
from opticnerve.planner.device import Device
from opticnerve.planner.model import Look, VisionLanguageModel
from opticnerve.planner.outcome import STAGES, Cut, Plan, Timing
from opticnerve.planner.ranges import Range
from opticnerve.planner.verdict import judge

CUTS = (2, 4, 9, 16)
"""Factors by which the visual tokens are cut for the verdict."""
_USABLE = 0.9
"""Share of a device's memory that is left for weights, caches and activations by its driver and the allocator."""
_BLOCKS_PER_LAYER = 8
"""Blocks of a connector that take as long to start as one transformer layer: most are one kernel or two."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """A model, what it is asked for, and the device that does it."""

    model: VisionLanguageModel
    device: Device
    demand: Demand
    look: Look
    """Of every image."""

    @property
    def num_images(self) -> int:
        """Images of the whole batch."""
        return self.demand.batch * self.demand.images_per_prompt

    def prompt_tokens(self, *, visual: int) -> int:
        """Count the tokens of a prompt.

        Args:
            visual: visual tokens of one image.
        """
        demand = self.demand
        return demand.text_tokens + demand.images_per_prompt * (visual + self.look.num_separators)

    def time(self, *, visual: int) -> Timing:
        """Say how long the batch takes.

        Args:
            visual: visual tokens of one image, which may be fewer than the connector gives.
        """
        prompt = self.prompt_tokens(visual=visual)
        stages = {
            "preprocess": self._preprocess(),
            "encode": self._encode(),
            "connect": self._connect(),
            "prefill": self._generate(new=prompt, past=0),
        }
        step = self._generate(new=1, past=prompt)
        first = sum((stages[name] for name in STAGES), start=Range(low=0, high=0))
        return Timing(stages=stages, first_token_ms=first, tokens_per_s=step.inverse(1000))

    def _preprocess(self) -> Range:
        pixels = self.look.height_px * self.look.width_px
        decode = self.device.decode_ms.times(self.num_images * pixels / 1e6)
        return decode + self.device.resize_ms.times(self.num_images * self.look.tile_pixels / 1e6)

    def _encode(self) -> Range:
        encoder, size = self.model.encoder, self.demand.value_bytes
        features = self.look.num_features * self.model.vision_dim * size * self.num_images
        moved = encoder.num_params * self.demand.weight_bytes + 2 * encoder.num_layers * features
        flops = self.num_images * self.look.encoder_flops
        return self.device.time(flops=flops, moved_bytes=moved, layers=encoder.num_layers, dtype=self.demand.dtype)

    def _connect(self) -> Range:
        model, size = self.model, self.demand.value_bytes
        values = self.look.num_features * model.vision_dim + self.look.num_tokens * model.llm.dim
        moved = model.connector_params * self.demand.weight_bytes + 2 * values * size * self.num_images
        flops = self.num_images * self.look.connector_flops
        starts = len(model.spec.blocks) / _BLOCKS_PER_LAYER
        return self.device.time(flops=flops, moved_bytes=moved, layers=starts, dtype=self.demand.dtype)

    def _generate(self, *, new: int, past: int) -> Range:
        llm, demand = self.model.llm, self.demand
        tokens = demand.batch * new
        cache = demand.batch * llm.cached_bytes(new + past, value_bytes=demand.value_bytes)
        hidden = 2 * len(llm.layers) * tokens * llm.dim * demand.value_bytes
        weights = llm.touched_params(tokens) * demand.weight_bytes
        flops = demand.batch * llm.flops(new=new, past=past)
        return self.device.time(
            flops=flops, moved_bytes=weights + cache + hidden, layers=len(llm.layers), dtype=demand.dtype
        )

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights of all parts."""
        params = self.model.encoder.num_params + self.model.connector_params + self.model.llm.num_params
        return round(params * self.demand.weight_bytes)

    def activation_bytes(self, *, visual: int, batch: int) -> int:
        """Estimate what is alive at the widest moment: while tiles are encoded, connected, or prompts read.

        Args:
            visual: visual tokens of one image.
            batch: prompts at once.
        """
        size, images = self.demand.value_bytes, batch * self.demand.images_per_prompt
        look, llm = self.look, self.model.llm
        encoding = images * look.num_tiles * look.encoder_values * size
        connecting = images * look.num_tiles * look.connector_bytes * size // 2
        reading = llm.activation_values(batch * self.prompt_tokens(visual=visual)) * size
        return max(encoding, connecting, reading)

    def cache_bytes(self, *, visual: int) -> int:
        """Count the cache of one prompt and its answer.

        Args:
            visual: visual tokens of one image.
        """
        tokens = self.prompt_tokens(visual=visual) + self.demand.new_tokens
        return self.model.llm.cached_bytes(tokens, value_bytes=self.demand.value_bytes)

    def max_batch(self, *, visual: int) -> int:
        """Say how many prompts fit the memory at once.

        Args:
            visual: visual tokens of one image.
        """
        room = self.device.memory_bytes * _USABLE - self.weight_bytes
        each = self.cache_bytes(visual=visual) + self.activation_bytes(visual=visual, batch=1)
        return max(int(room // each), 0)


def make_plan(model: VisionLanguageModel, device: Device, demand: Demand, *, size: tuple[int, int]) -> Plan:
    """Say what a model costs for images of one size.

    Args:
        model: encoder, tiling, connector and LLM.
        device: where it runs.
        demand: what is asked of it.
        size: height and width of every image, in pixels.

    Raises:
        ImageError: the tiling refuses the size.
        GridError: the connector cannot take the tiles' grids.
        PlanError: the device does not compute in the demand's numbers.
    """
    look = model.look(*size)
    work = Workload(model=model, device=device, demand=demand, look=look)
    visual, llm, prompts = look.num_tokens, model.llm, demand.images_per_prompt
    prompt = work.prompt_tokens(visual=visual)
    plan = Plan(
        model=model.name,
        encoder=model.encoder.info.name,
        llm=llm.name,
        connector=model.spec.name,
        device=device.name,
        demand=demand,
        look=look,
        visual_tokens=prompts * visual,
        prompt_tokens=prompt,
        encoder_params=model.encoder.num_params,
        connector_params=model.connector_params,
        llm_params=llm.num_params,
        llm_active_params=llm.active_params,
        encoder_flops=prompts * look.encoder_flops,
        connector_flops=prompts * look.connector_flops,
        prefill_flops=llm.flops(new=prompt),
        decode_flops=llm.flops(new=1, past=prompt),
        weight_bytes=work.weight_bytes,
        activation_bytes=work.activation_bytes(visual=visual, batch=demand.batch),
        cache_bytes=work.cache_bytes(visual=visual),
        max_batch=work.max_batch(visual=visual),
        notes=model.notes,
        timing=work.time(visual=visual),
        cuts=(),
        verdict="",
    )
    plan = replace(plan, cuts=_cuts(work, plan))
    return replace(plan, verdict=judge(plan))


def _cuts(work: Workload, plan: Plan) -> Sequence[Cut]:
    return tuple(_cut(work, plan, factor) for factor in CUTS if work.look.num_tokens >= factor)


def _cut(work: Workload, plan: Plan, factor: int) -> Cut:
    visual = -(-work.look.num_tokens // factor)
    first = work.time(visual=visual).first_token_ms
    return Cut(
        factor=factor,
        prompt_tokens=work.prompt_tokens(visual=visual),
        first_token_ms=first,
        gain=plan.timing.first_token_ms.middle / first.middle,
        cache_bytes=work.cache_bytes(visual=visual),
        max_batch=work.max_batch(visual=visual),
    )
