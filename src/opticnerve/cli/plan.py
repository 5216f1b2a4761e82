"""`opticnerve plan`: what a choice costs before it is built, and what fits a budget."""

from typing import Annotated

from cyclopts import Parameter

from opticnerve.cli.plan_flags import DemandFlags, ModelFlags

_FLAT = Parameter(name="*")
_MODEL, _DEMAND = ModelFlags(), DemandFlags()


def plan(
    *,
    images: str = "1344x896",
    model: Annotated[ModelFlags, _FLAT] = _MODEL,
    demand: Annotated[DemandFlags, _FLAT] = _DEMAND,
    budget: tuple[str, ...] = (),
    compare: bool = False,
    out: str = "",
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Say what a vision-language model costs before it is built: tokens, operations, memory, time to first token.

    Nothing is downloaded for models of the catalogue, and no weights are read for any.

    Args:
        images: Size of an image as WIDTHxHEIGHT in pixels, or a folder of images, whose headers are read.
        model: Which model.
        demand: What is asked of it, and where it runs.
        budget: Find what fits instead: tokens=1024, ttft=300ms, kv=2GiB or batch=32; several may be given.
        compare: Compare methods, reductions and tilings around the encoder and the LLM instead.
        out: Folder for the plots of --compare, or for the recipes of --budget.
        json: Print JSON instead of text.
    """
    from opticnerve.cli.plan_report import report
    from opticnerve.errors import PlanError

    if budget and compare:
        raise PlanError("--budget and --compare are two questions: ask one of them")
    if (budget or compare) and model.model:
        raise PlanError("--budget and --compare vary the parts of a model: give --encoder and --llm, not --model")
    if budget:
        from opticnerve.cli.plan_budget import find_fitting

        return find_fitting(images, model, demand, budgets=budget, out=out, json=json)
    if compare:
        from opticnerve.cli.plan_compare import compare_choices

        return compare_choices(images, model, demand, out=out, json=json)
    if out:
        raise PlanError("--out is for the plots of --compare and the recipes of --budget: give one of them as well")
    return report(images, model, demand, json=json)
