"""`opticnerve extract CHECKPOINT --out FOLDER`: the connector of a published model as a folder of its own."""

from typing import Annotated

from cyclopts import Parameter


def extract(
    checkpoint: str,
    /,
    *,
    out: str,
    layout: str | None = None,
    prefix: str | None = None,
    revision: str | None = None,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Write the connector of a checkpoint to a folder, which `opticnerve.checkpoints.load_connector` reads.

    Only the connector's own tensors are read. Weights keep the types in which they are stored.

    Args:
        checkpoint: Folder, safetensors file, index of shards, or name on the Hugging Face hub.
        out: Folder to make; it must not be there yet.
        layout: Name of the layout, where several fit; `opticnerve layouts` lists them.
        prefix: What stands before the layout's names, where several fit.
        revision: Branch, tag or commit on the hub.
        json: Print JSON instead of a line.
    """
    from pathlib import Path

    from opticnerve.checkpoints import load_connector, save_connector
    from opticnerve.cli.terminal import print_json, say
    from opticnerve.connectors.words import blocks_words
    from opticnerve.errors import CheckpointError

    if Path(out).expanduser().exists():
        raise CheckpointError(f"{out} is there already: name another folder with --out, or remove it")
    connector = load_connector(checkpoint, layout=layout, prefix=prefix, revision=revision)
    folder = save_connector(connector, out)
    params = sum(parameter.numel() for parameter in connector.parameters())
    if json:
        print_json({"folder": str(folder), "num_params": params, "connector": connector.spec.to_dict()})
    else:
        say(f"{folder}: {blocks_words(connector.spec.blocks)}; {params:,} parameters")
    return 0
