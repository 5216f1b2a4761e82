"""Layout of TokenPacker, without the prefix model.mm_projector."""

from opticnerve.checkpoints.entries import Entry, module
from opticnerve.checkpoints.layouts.sequential import named
from opticnerve.connectors import ConnectorSpec


def token_packer(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """TokenPacker's mm_projector; its attention keeps query, key and value maps in one tensor."""
    ours = "blocks.0"
    entries = list(module(f"{ours}.point", "q_proj_1", "weight"))
    for name, letter in (("point", "q"), ("key", "k"), ("value", "v")):
        entries += module(f"{ours}.{name}_norm", f"ln_{letter}_1")
    for name, letter in (("key", "k"), ("value", "v")):
        entries += module(f"{ours}.{name}_mlp.up", f"{letter}_proj_1.0")
        entries += module(f"{ours}.{name}_mlp.down", f"{letter}_proj_1.2")
    for leaf in ("weight", "bias"):
        stacked = tuple(f"{ours}.attention.{name}.{leaf}" for name in ("query", "key", "value"))
        entries.append(Entry(theirs=f"clip_attn.in_proj_{leaf}", ours=stacked))
    return (*entries, *module(f"{ours}.attention.out", "clip_attn.out_proj"), *named(spec, "mlp.0", "mlp.2"))
