"""Parts of a model by name: what is open, and at which learning rate.

A name is a part ("connector", "llm", "encoder", "objective") or a range of its layers, ends included
("llm.layers.16-31", "encoder.layers.3"). The most precise name wins; what no name covers is frozen, and so is what is
open at rate 0.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor, nn

from opticnerve.errors import UnknownNameError
from opticnerve.train.errors import TrainingError

_RANGE = re.compile(r"(?P<part>\w+)\.layers\.(?P<first>\d+)(?:-(?P<last>\d+))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """What one name of `Stage.open` trains."""

    name: str
    """As the recipe has it."""
    rate: float
    """Peak learning rate."""
    parameters: tuple[tuple[str, nn.Parameter], ...]
    """Its parameters with their names in the part."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """What trains, and what does not."""

    parts: Mapping[str, nn.Module]
    """The model's parts and the objective."""
    groups: tuple[Group, ...]
    """In the order of the parts, whatever the recipe's; every open parameter is in exactly one."""
    modes: tuple[tuple[nn.Module, bool], ...]
    """Modules that train or not, the coarse before the fine: a frozen one is in evaluation mode."""

    def closed(self, part: str) -> Iterator[tuple[str, Tensor]]:
        """Give the tensors of a part that must not change: frozen parameters, and the buffers of a part that is whole.

        Args:
            part: its name.

        Yields:
            Names in the part and tensors.
        """
        module = self.parts[part]
        is_whole = not any(parameter.requires_grad for parameter in module.parameters())
        yield from ((name, p) for name, p in module.named_parameters() if not p.requires_grad)
        if is_whole:
            yield from module.named_buffers()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Target:
    """A name of `Stage.open`, understood."""

    name: str
    rate: float
    part: str
    modules: tuple[nn.Module, ...]
    num_layers: int
    """Layers of a range; 0 for a whole part."""


def select(
    parts: Mapping[str, nn.Module], open_rates: Mapping[str, float], *, only: Mapping[str, str] = MappingProxyType({})
) -> Selection:
    """Open what a stage names, and freeze the rest.

    Args:
        parts: the model's parts and the objective; `requires_grad` of their parameters is set.
        open_rates: names and peak learning rates.
        only: for a part, what the names of its parameters must hold to be opened: "lora_" for adapters.

    Raises:
        UnknownNameError: there is no such part.
        TrainingError: there is no such layer, two ranges cross, a name trains nothing, or nothing is open.
    """
    targets = [_target(parts, name, rate) for name, rate in open_rates.items()]
    _check_overlap(targets)
    for module in parts.values():
        module.requires_grad_(False)
    taken: set[int] = set()
    groups: dict[str, Group] = {}
    for target in sorted(targets, key=_precision):
        found = [
            (name, parameter)
            for name, parameter in _untaken(parts[target.part], target.modules, taken)
            if only.get(target.part, "") in name
        ]
        if not found:
            raise TrainingError(f'"{target.name}" is named as open, but it has no parameters that no finer name takes.')
        groups[target.name] = Group(name=target.name, rate=target.rate, parameters=tuple(found))
    order = list(parts)
    in_order = sorted(targets, key=lambda target: (order.index(target.part), target.name))
    opened = tuple(groups[target.name] for target in in_order if target.rate > 0)
    for group in opened:
        for _, parameter in group.parameters:
            parameter.requires_grad_(True)
    if not opened:
        raise TrainingError(
            f"nothing is open, so nothing would train. Name at least one of: {', '.join(sorted(parts))}."
        )
    return Selection(parts=dict(parts), groups=opened, modes=_modes(parts, targets))


def layers_of(part: nn.Module) -> nn.ModuleList | None:
    """Find the layers of a language model or a vision tower.

    Args:
        part: either.

    Returns:
        The list of modules that holds the most parameters; None where there is no list.
    """
    lists = [module for module in part.modules() if isinstance(module, nn.ModuleList) and len(module)]
    return max(lists, key=lambda each: sum(p.numel() for p in each.parameters()), default=None)


def _target(parts: Mapping[str, nn.Module], name: str, rate: float) -> _Target:
    if rate < 0:
        raise TrainingError(f'the learning rate of "{name}" is {rate}: it must be 0, which freezes, or more.')
    if name in parts:
        return _Target(name=name, rate=rate, part=name, modules=(parts[name],), num_layers=0)
    match = _RANGE.fullmatch(name)
    if match is None or match["part"] not in parts:
        raise UnknownNameError("part of the model", name, _known(parts))
    layers = layers_of(parts[match["part"]])
    if layers is None:
        raise TrainingError(f'"{name}" names layers, but the {match["part"]} has no list of layers.')
    first, last = int(match["first"]), int(match["last"] or match["first"])
    if first > last or last >= len(layers):
        raise TrainingError(f'"{name}": the {match["part"]} has layers 0-{len(layers) - 1}, first before last.')
    modules = tuple(layers[first : last + 1])
    return _Target(name=name, rate=rate, part=match["part"], modules=modules, num_layers=len(modules))


def _known(parts: Mapping[str, nn.Module]) -> list[str]:
    """List the parts, and those of their layers."""
    layers = {name: layers_of(part) for name, part in parts.items()}
    ranges = [f"{name}.layers.0-{len(found) - 1}" for name, found in layers.items() if found is not None]
    return [*parts, *ranges]


def _precision(target: _Target) -> tuple[bool, int]:
    """Sort key: fewer layers first, whole parts last."""
    return target.num_layers == 0, target.num_layers


def _check_overlap(targets: list[_Target]) -> None:
    ranges = [(target, {id(module) for module in target.modules}) for target in targets if target.num_layers]
    for index, (one, own) in enumerate(ranges):
        for other, others in ranges[:index]:
            common = own & others
            if common and (own == others or common not in (own, others)):
                raise TrainingError(
                    f'"{other.name}" and "{one.name}" share layers, and neither is the finer one: make them nested or'
                    " apart."
                )


def _untaken(part: nn.Module, modules: tuple[nn.Module, ...], taken: set[int]) -> list[tuple[str, nn.Parameter]]:
    inside = {id(parameter) for module in modules for parameter in module.parameters()} - taken
    taken |= inside
    return [(name, parameter) for name, parameter in part.named_parameters() if id(parameter) in inside]


def _modes(parts: Mapping[str, nn.Module], targets: list[_Target]) -> tuple[tuple[nn.Module, bool], ...]:
    modes: list[tuple[nn.Module, bool]] = [(module, False) for module in parts.values()]
    for target in sorted(targets, key=_precision, reverse=True):
        modes.extend((module, target.rate > 0) for module in target.modules)
    return tuple(modes)
