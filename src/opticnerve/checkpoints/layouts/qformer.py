"""Layouts of Q-Formers: BLIP-2 in LAVIS, BLIP-2 and InstructBLIP in LAVIS and in transformers."""

from dataclasses import dataclass

from opticnerve.checkpoints.entries import Entry, ignored, module
from opticnerve.connectors import ConnectorSpec
from opticnerve.connectors.blocks import Linear, Norm, QFormer, TextQFormer


@dataclass(frozen=True, kw_only=True)
class Names:
    """What the two code bases call the same modules."""

    encoder: str
    norm: str
    attention: str
    vision_norm: str
    projection: str
    embeddings: str = ""


def blip_2(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """BLIP-2 in transformers; the norm in front, where there is one, is the vision model's."""
    return _qformer(spec, _BLIP_2)


def instructblip(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """InstructBLIP and InstructBLIP-Video in transformers."""
    return _qformer(spec, _INSTRUCTBLIP)


def blip2_opt(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """BLIP-2 with OPT in LAVIS."""
    return _qformer(spec, _lavis("opt_proj"))


def blip2_t5(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """BLIP-2 and InstructBLIP with Flan-T5 in LAVIS."""
    return _qformer(spec, _lavis("t5_proj"))


def instructblip_llm(spec: ConnectorSpec) -> tuple[Entry, ...]:
    """InstructBLIP with Vicuna in LAVIS."""
    return _qformer(spec, _lavis("llm_proj"))


_BLIP_2 = Names(
    encoder="qformer.encoder",
    norm="qformer.layernorm",
    attention="attention",
    vision_norm="vision_model.post_layernorm",
    projection="language_projection",
)
_INSTRUCTBLIP = Names(
    encoder="qformer.encoder",
    norm="qformer.embeddings.layernorm",
    attention="attention",
    vision_norm="vision_model.post_layernorm",
    projection="language_projection",
    embeddings="qformer.embeddings",
)


def _lavis(projection: str) -> Names:
    return Names(
        encoder="Qformer.bert.encoder",
        norm="Qformer.bert.embeddings.LayerNorm",
        attention="self",
        vision_norm="ln_vision",
        projection=projection,
        embeddings="Qformer.bert.embeddings",
    )


def _qformer(spec: ConnectorSpec, names: Names) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    for index, block in enumerate(spec.blocks):
        ours = f"blocks.{index}"
        match block:
            case Norm():
                entries += module(f"{ours}.norm", names.vision_norm)
            case Linear():
                entries += module(f"{ours}.linear", names.projection)
            case QFormer():
                entries += _core(block, ours=ours, names=names)
            case _:
                pass
    return tuple(entries)


def _core(block: QFormer, *, ours: str, names: Names) -> list[Entry]:
    shape = (1, block.num_queries, block.hidden_dim)
    entries = [
        Entry(theirs="query_tokens", ours=(f"{ours}.queries",), shape=shape),
        *module(f"{ours}.norm", names.norm),
    ]
    if names.embeddings:
        entries += ignored(names.embeddings, "position_ids", reason="counts 0, 1, 2, ...")
    reads_text = isinstance(block, TextQFormer)
    for number in range(block.num_layers):
        mine, theirs = f"{ours}.layers.{number}", f"{names.encoder}.layer.{number}"
        layer = f"{mine}.layer" if reads_text else mine
        entries += _attention(f"{layer}.talk", f"{theirs}.attention", names)
        if block.looks(number):
            entries += _attention(f"{layer}.look", f"{theirs}.crossattention", names)
        entries += _feed_forward(f"{layer}.think", theirs, suffix="_query")
    return [*entries, *_words(block, ours=ours, names=names)] if reads_text else entries


def _words(block: TextQFormer, *, ours: str, names: Names) -> list[Entry]:
    """List what an instruction needs: two tables, and feed-forward networks but for the last layer."""
    tables = {"words.weight": "word_embeddings.weight", "positions": "position_embeddings.weight"}
    entries = [
        Entry(theirs=f"{names.embeddings}.{theirs}", ours=(f"{ours}.{table}",)) for table, theirs in tables.items()
    ]
    last = block.num_layers - 1
    for number in range(last):
        entries += _feed_forward(f"{ours}.layers.{number}.text_think", f"{names.encoder}.layer.{number}", suffix="")
    for name in ("intermediate.dense", "output.dense", "output.LayerNorm"):
        entries += ignored(f"{names.encoder}.layer.{last}.{name}", reason="the words of the last layer go nowhere")
    return entries


def _attention(ours: str, theirs: str, names: Names) -> list[Entry]:
    inner = {name: f"{names.attention}.{name}" for name in ("query", "key", "value")} | {"out": "output.dense"}
    entries = [
        entry for name, other in inner.items() for entry in module(f"{ours}.attention.{name}", f"{theirs}.{other}")
    ]
    return [*entries, *module(f"{ours}.norm", f"{theirs}.output.LayerNorm")]


def _feed_forward(ours: str, theirs: str, *, suffix: str) -> tuple[Entry, ...]:
    return (
        *module(f"{ours}.feed_forward.up", f"{theirs}.intermediate{suffix}.dense"),
        *module(f"{ours}.feed_forward.down", f"{theirs}.output{suffix}.dense"),
        *module(f"{ours}.norm", f"{theirs}.output{suffix}.LayerNorm"),
    )
