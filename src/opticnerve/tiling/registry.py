"""All tilings by name."""

from collections.abc import Mapping
from types import MappingProxyType

from opticnerve.errors import SpecError, UnknownNameError
from opticnerve.tiling.anyres import AnyResTiling
from opticnerve.tiling.dynamic_s2 import DynamicS2Tiling
from opticnerve.tiling.idefics3 import Idefics3Tiling
from opticnerve.tiling.internvl import InternVLTiling
from opticnerve.tiling.minicpm import MiniCPMTiling
from opticnerve.tiling.pixtral import PixtralTiling
from opticnerve.tiling.plain import PlainTiling
from opticnerve.tiling.qwen import QwenTiling
from opticnerve.tiling.spec import Tiling
from opticnerve.tiling.tokenpacker_hd import TokenPackerHDTiling

TILINGS: Mapping[str, type[Tiling]] = MappingProxyType(
    {
        "anyres": AnyResTiling,
        "dynamic_s2": DynamicS2Tiling,
        "idefics3": Idefics3Tiling,
        "internvl": InternVLTiling,
        "minicpm": MiniCPMTiling,
        "pixtral": PixtralTiling,
        "plain": PlainTiling,
        "qwen": QwenTiling,
        "tokenpacker_hd": TokenPackerHDTiling,
    }
)
"""Every tiling of the library. One's own needs no entry here: a subclass of `Tiling` works everywhere."""


def tiling(name: str, **options: object) -> Tiling:
    """Build a tiling by name.

    Args:
        name: a key of `TILINGS`.
        **options: its options; what is left out has its default.

    Raises:
        UnknownNameError: no tiling has the name; the message lists them.
        SpecError: an option is unknown, or has a value that cannot be.
    """
    if name not in TILINGS:
        raise UnknownNameError("tiling", name, TILINGS)
    return TILINGS[name].from_dict(options)


def tiling_from_dict(data: Mapping[str, object]) -> Tiling:
    """Build the tiling that `Tiling.to_dict` wrote.

    Args:
        data: the name and the options, as plain values.

    Raises:
        SpecError: there is no name, or an option cannot be.
        UnknownNameError: no tiling has the name.
    """
    name = data.get("name")
    if not isinstance(name, str):
        raise SpecError(f'a tiling needs a "name", one of {", ".join(sorted(TILINGS))}; got {name!r}')
    return tiling(name, **{key: value for key, value in data.items() if key != "name"})
