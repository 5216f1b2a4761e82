"""The methods by name, for configs, the command line and reports. A user's own connector needs no entry here."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from opticnerve.connectors import methods
from opticnerve.connectors.spec import ConnectorSpec
from opticnerve.errors import UnknownNameError

Method = Callable[..., ConnectorSpec]
"""A function with the paper's defaults that returns a connector spec."""

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "linear": methods.linear,
        "mlp": methods.mlp,
        "concat_mlp": methods.concat_mlp,
        "concat_strip": methods.concat_strip,
        "pool": methods.pool,
        "pixel_shuffle": methods.pixel_shuffle,
        "ldp": methods.ldp,
        "ldpv2": methods.ldpv2,
        "perceiver": methods.perceiver,
        "qwen_vl_resampler": methods.qwen_vl_resampler,
        "minicpm_resampler": methods.minicpm_resampler,
        "qformer": methods.qformer,
        "c_abstractor": methods.c_abstractor,
        "d_abstractor": methods.d_abstractor,
        "token_packer": methods.token_packer,
        "tome": methods.tome,
        "divprune": methods.divprune,
        "farthest_point": methods.farthest_point,
        "prumerge": methods.prumerge,
        "random_patches": methods.random_patches,
        "every_kth": methods.every_kth,
    }
)


def method(name: str, **options: Any) -> ConnectorSpec:  # noqa: ANN401
    """Return a method's connector by name.

    Args:
        name: a key of `METHODS`.
        options: the method's own options; strings are read as the types that they stand for.

    Raises:
        UnknownNameError: no such method, or the method has no such option.
        SpecError: an option has a value that does not fit.
    """
    if name not in METHODS:
        raise UnknownNameError("method", name, METHODS)
    return METHODS[name](**options)


def read_spec(data: Mapping[str, Any]) -> ConnectorSpec:
    """Read a connector from a config: {"method": "pool", "factor": 4}, or its blocks as `ConnectorSpec.to_dict` gives.

    Raises:
        UnknownNameError: no such method, option or block.
        SpecError: something is missing or does not fit.
    """
    if "method" in data:
        options = {key: value for key, value in data.items() if key != "method"}
        return method(str(data["method"]), **options)
    return ConnectorSpec.from_dict(dict(data))
