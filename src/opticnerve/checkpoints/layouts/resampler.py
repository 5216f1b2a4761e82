"""Layouts of Qwen-VL's and MiniCPM-V's resamplers, without the prefix of the whole model."""

from opticnerve.checkpoints.entries import Entry, module
from opticnerve.connectors import ConnectorSpec
from opticnerve.connectors.blocks import Linear, Norm, Resampler


def qwen_vl(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """Qwen-VL's transformer.visual: the cross-attention is attn_pool, the last norm and matrix stand outside."""
    return _resampler(spec, inside="attn_pool.")


def minicpm_v(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """The resampler of OmniLMM and of every MiniCPM-V; pos_embed is stored up to 2.0."""
    return _resampler(spec, inside="")


def _resampler(spec: ConnectorSpec, *, inside: str) -> tuple[Entry, ...]:
    """List the tensors.

    Args:
        spec: the connector.
        inside: the prefix of what belongs to the cross-attention and to what comes before it.
    """
    entries: list[Entry] = []
    is_before = True
    for index, block in enumerate(spec.blocks):
        ours = f"blocks.{index}"
        match block:
            case Linear() if is_before:
                entries += module(f"{ours}.linear", f"{inside}kv_proj", "weight")
            case Linear():
                entries.append(Entry(theirs="proj", ours=(f"{ours}.linear.weight",), is_transposed=True))
            case Norm():
                entries += module(f"{ours}.norm", f"{inside}ln_kv" if is_before else "ln_post")
            case Resampler():
                is_before = False
                entries += _attention(block, ours=ours, inside=inside)
            case _:
                pass
    return tuple(entries)


def _attention(block: Resampler, *, ours: str, inside: str) -> list[Entry]:
    entries = [
        Entry(theirs=f"{inside}query", ours=(f"{ours}.queries",)),
        *module(f"{ours}.query_norm", f"{inside}ln_q"),
    ]
    if block.has_table:
        entries.append(Entry(theirs=f"{inside}pos_embed", ours=(f"{ours}.table",)))
    for leaf in ("weight", "bias"):
        stacked = tuple(f"{ours}.attention.{name}.{leaf}" for name in ("query", "key", "value"))
        entries.append(Entry(theirs=f"{inside}attn.in_proj_{leaf}", ours=stacked))
    return [*entries, *module(f"{ours}.attention.out", f"{inside}attn.out_proj")]
