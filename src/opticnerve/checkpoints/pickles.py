"""Pickles are never read; this is what to do with them."""

from pathlib import Path

from opticnerve.errors import CheckpointError

SUFFIXES = (".bin", ".pt", ".pth", ".ckpt")
"""Ends of the names of pickles."""
_HOW_TO_CONVERT = (
    'python -c "import torch; from safetensors.torch import save_file; '
    "d = torch.load('{name}', weights_only=True, map_location='cpu'); "
    "d = next((d[k] for k in ('model', 'state_dict', 'model_state_dict', 'module') if k in d), d); "
    "save_file({{k: v.contiguous().clone() for k, v in d.items() if torch.is_tensor(v)}}, '{stem}.safetensors')\""
)


def how_to_convert(name: str, *, stem: str) -> str:
    """Write the line that turns a pickle into a safetensors file.

    Args:
        name: of the pickle.
        stem: of the new file.
    """
    return _HOW_TO_CONVERT.format(name=name, stem=stem)


def refuse_pickle(name: str) -> CheckpointError:
    """Say why a file is not read, and what to do."""
    how = how_to_convert(name, stem=Path(name).stem)
    return CheckpointError(f"{name} is a pickle, which can run code when it is read: convert it once with  {how}")
