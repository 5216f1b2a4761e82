"""The planner in one call: names and sizes in, a plan out."""

from collections.abc import Mapping

from opticnerve.encoders import Layers
from opticnerve.planner.choice import Choice
from opticnerve.planner.costs import make_plan
from opticnerve.planner.demand import Demand, read_size
from opticnerve.planner.device import Device, DType
from opticnerve.planner.device_files import find_device
from opticnerve.planner.outcome import Plan
from opticnerve.planner.vlm import find_model


def plan(  # noqa: PLR0913 - one keyword for each thing that a plan depends on
    image: str | tuple[int, int],
    *,
    model: str = "",
    encoder: str = "bundled",
    llm: str = "Qwen/Qwen3-4B",
    method: str = "pixel_shuffle",
    method_options: Mapping[str, object] | None = None,
    tiling: str = "internvl",
    tiling_options: Mapping[str, object] | None = None,
    scales: tuple[float, ...] = (1,),
    layers: Layers | None = None,
    device: str | Device = "h100",
    batch: int = 1,
    images_per_prompt: int = 1,
    text_tokens: int = 100,
    new_tokens: int = 200,
    dtype: DType = "bf16",
) -> Plan:
    """Say what a vision-language model costs before it is built: tokens, operations, memory, time to first token.

    Args:
        image: "2000x1500" (width x height), or height and width, in pixels.
        model: a whole published model instead of parts: a name of the catalogue, a folder, or a name on the hub.
        encoder: "bundled", a name of the catalogue or the hub, or a folder with a config.json.
        llm: a name of the catalogue or the hub, or a folder with a config.json.
        method: of the connector.
        method_options: of the connector.
        tiling: name of the tiling.
        tiling_options: what is left out fits the encoder.
        scales: S2: multiples of the encoder's size at which each tile is seen.
        layers: of the encoder; None takes as many as the connector reads.
        device: name of a device, file of `opticnerve calibrate`, or a `Device`.
        batch: prompts at once.
        images_per_prompt: images of the same size in each prompt.
        text_tokens: tokens of text in a prompt.
        new_tokens: tokens of an answer.
        dtype: numbers of weights, cache and activations.

    Raises:
        PlanError: a name is nowhere, settings lack something, or the device does not compute in these numbers.
        ImageError: the tiling refuses the size.
        GridError: the connector cannot take the tiles' grids.
    """
    choice = Choice(
        encoder=encoder,
        llm=llm,
        method=method,
        method_options=method_options or {},
        tiling=tiling,
        tiling_options=tiling_options or {},
        scales=scales,
        layers="fitting" if layers is None else layers,
    )
    demand = Demand(
        images_per_prompt=images_per_prompt, text_tokens=text_tokens, new_tokens=new_tokens, batch=batch, dtype=dtype
    )
    return make_plan(
        find_model(model) if model else choice.build(),
        find_device(device) if isinstance(device, str) else device,
        demand,
        size=read_size(image) if isinstance(image, str) else image,
    )
