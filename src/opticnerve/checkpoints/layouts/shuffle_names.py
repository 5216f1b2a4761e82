"""Published names of connectors with a pixel shuffle before their projection."""

from opticnerve.checkpoints.entries import Entry, module
from opticnerve.checkpoints.layouts.sequential import named, paired, weighted
from opticnerve.connectors import ConnectorSpec
from opticnerve.connectors.blocks import GLU, Branches, Norm


def linears(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """Name an optional norm and two Linears, as LFM2-VL has them."""
    return named(spec, *["layer_norm"] * (len(weighted(spec)) > 2), "linear_1", "linear_2")


def packed_glu(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """Name an optional norm and a GLU whose first Linear is published as one: the value's rows, then the gate's."""
    entries: list[Entry] = []
    has_norm = any(isinstance(block, Norm) for block in spec.blocks)
    for (index, name, leaves), theirs in paired(weighted(spec), ["layernorm"] * has_norm):
        entries += module(f"blocks.{index}.{name}", theirs, *leaves)
    gated = [(index, block) for index, block in enumerate(spec.blocks) if isinstance(block, GLU)]
    for (index, block), theirs in paired(gated, ("linear_1",)):
        ours, leaves = f"blocks.{index}.glu", ("weight", "bias") if block.has_bias else ("weight",)
        entries += [Entry(theirs=f"{theirs}.{one}", ours=(f"{ours}.up.{one}", f"{ours}.gate.{one}")) for one in leaves]
        entries += module(f"{ours}.down", "linear_2", *leaves)
    return tuple(entries)


def nemotron(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """Name Nemotron's projector, and the norm before it where there is one."""
    modules = ("mlp1.0", "mlp1.1", "mlp1.3")
    return named(spec, *["vision_final_layernorm"] * (len(weighted(spec)) > len(modules)), *modules)


def projection(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """Name one Linear, and the norm after it where there is one."""
    return named(spec, "modality_projection", *["norm"] * (len(weighted(spec)) > 1))


def granite_docling(spec: ConnectorSpec, *, path: str) -> tuple[Entry, ...]:
    """Name what both paths share and what one has for itself; DeepStack's mergers are the branches after the first.

    Args:
        spec: the connector.
        path: "coarse" or "fine".
    """
    names = ["ln_in", f"{path}.projection", "ln_mid", "mlp_fc2", "ln_out"]
    stack = spec.blocks[0]
    if not isinstance(stack, Branches):
        return named(spec, *names)
    ours: list[tuple[str, tuple[str, ...]]] = []
    for number, blocks in enumerate(stack.branches):
        inner = weighted(ConnectorSpec(name=spec.name, blocks=blocks))
        ours += [(f"blocks.0.branches.{number}.{index}.{name}", leaves) for index, name, leaves in inner]
    for number in range(len(stack.branches) - 1):
        names += [f"{path}.deepstack_mergers.{number}.{name}" for name in ("layer_norm", "linear_1", "linear_2")]
    pairs = paired(ours, names)
    return tuple(entry for (name, leaves), theirs in pairs for entry in module(name, theirs, *leaves))


def llama4(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """Name Llama 4's adapter and the Linear after it."""
    adapter = "vision_model.vision_adapter.mlp"
    return _only_linears(spec, f"{adapter}.fc1", f"{adapter}.fc2", "multi_modal_projector.linear_1")


def muse(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """Name Muse's adapter and the Linear after it; the norm at the end has no weight."""
    return _only_linears(spec, "vision_adapter.fc1", "vision_adapter.fc2", "vision_projection")


def _only_linears(spec: ConnectorSpec, *modules: str) -> tuple[Entry, ...]:
    linears = [(index, leaves) for index, name, leaves in weighted(spec) if name == "linear"]
    pairs = paired(linears, modules)
    return tuple(entry for (index, leaves), name in pairs for entry in module(f"blocks.{index}.linear", name, *leaves))


def mistral3(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """Name Mistral 3's projector."""
    return named(spec, "norm", "patch_merger.merging_layer", "linear_1", "linear_2")


def mistral_large4(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """Name Mistral Large 4's projector, as Mistral's own files have it."""
    adapter = "vision_language_adapter"
    return named(spec, "pre_mm_projector_norm", "patch_merger.merging_layer", f"{adapter}.w_in", f"{adapter}.w_out")
