"""One budget for all: how many visual tokens each entrant has to give, and whether it does."""

from opticnerve.arena.cells import groups
from opticnerve.arena.config import ArenaConfig, Entrant
from opticnerve.connectors import method
from opticnerve.encoders import EncoderInfo, sketch_encoder
from opticnerve.errors import OpticNerveError, SpecError
from opticnerve.views import Sight, fitting_layers, fitting_method, fitting_tiling


def planned_tokens(config: ArenaConfig, reduction: int, info: EncoderInfo) -> int:
    """Count the visual tokens of an image that a reduction allows.

    Args:
        config: the arena; its first view says how many features there are.
        reduction: features for each token; what is left over gets one more.
        info: of the encoder.
    """
    sight = _sight(config, Entrant(method="mlp"), info)
    (grid,) = sight.grids(sight.plan(*info.native_px))
    return -(-grid.num_patches // reduction)


def check_budgets(config: ArenaConfig, *, height_px: int, width_px: int, only: tuple[str, ...] = ()) -> dict[str, int]:
    """Count every entrant's visual tokens before anything is trained, and compare them with the budget.

    Args:
        config: the arena.
        height_px: height of an image of the test.
        width_px: its width.
        only: names of contenders; empty for all.

    Returns:
        The visual tokens of each contender at each reduction.

    Raises:
        SpecError: an entrant gives another number, or cannot be made.
        UnknownNameError: a contender is not there.
    """
    tokens: dict[str, int] = {}
    infos: dict[int, EncoderInfo] = {}
    for contender, reduction in groups(config, only):
        entrant = contender.at[reduction]
        try:
            levels = method(entrant.method, **entrant.method_options).num_levels
            if levels not in infos:
                infos[levels] = sketch_encoder(config.encoder, layers=fitting_layers(levels)).info
            info = infos[levels]
            budget = planned_tokens(config, reduction, info)
            given = _tokens(config, entrant, info, height_px, width_px)
        except OpticNerveError as error:
            raise SpecError(f'contender "{contender.name}" at {reduction}x: {error}') from error
        if given != budget:
            raise SpecError(
                f'contender "{contender.name}" at {reduction}x gives {given} visual tokens for an image of {height_px}'
                f" x {width_px} px, and the budget is {budget}: change its options or its view"
            )
        tokens[f"{contender.name}-{reduction}x"] = given
    return tokens


def _tokens(config: ArenaConfig, entrant: Entrant, info: EncoderInfo, height_px: int, width_px: int) -> int:
    sight = _sight(config, entrant, info)
    spec = fitting_method(entrant.method, sight, entrant.method_options)
    plan = sight.plan(height_px, width_px)
    return plan.num_tokens([spec.out_grid(grid) for grid in sight.grids(plan)])


def _sight(config: ArenaConfig, entrant: Entrant, info: EncoderInfo) -> Sight:
    view = config.view(entrant)
    tiling = fitting_tiling(view.tiling, info, view.tiling_options, scales=view.scales)
    return Sight(info=info, tiling=tiling, scales=view.scales)
