"""What `opticnerve plan` prints of a plan."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opticnerve.cli.plan_flags import DemandFlags, ModelFlags
    from opticnerve.planner import Plan, Range

_BAR = 30
"""Characters of the longest bar."""


def report(images: str, model: "ModelFlags", demand: "DemandFlags", *, json: bool) -> int:
    """Plan for a size, or for the sizes of a folder, and print it.

    Args:
        images: size or folder.
        model: which model.
        demand: what is asked of it.
        json: print JSON instead of text.
    """
    from opticnerve.cli.terminal import complain, print_json, say
    from opticnerve.planner import find_device, plan_sizes, read_sizes

    sizes = read_sizes(images)
    plans = plan_sizes(model.build(), find_device(demand.device), demand.demand(), sizes)
    if json:
        print_json(plans.to_dict())
        return 0
    for line in plans.skipped:
        complain(f"skipped {line}")
    if len(plans.named) > 1:
        say(plans.summary)
        for name, one in plans.named.items():
            say(f"\n{name}:")
            print_plan(one, is_whole=name == "p95")
    else:
        print_plan(next(iter(plans.named.values())), is_whole=True)
    return 0


def print_plan(plan: "Plan", *, is_whole: bool) -> None:
    """Print a plan: counts, parts, memory, time and verdict.

    Args:
        plan: what to print.
        is_whole: with parts, memory and cuts; otherwise counts and time alone.
    """
    from opticnerve.cli.terminal import say

    say(_image_line(plan))
    say(_prompt_line(plan))
    for note in plan.notes:
        say(f"note: {note}")
    if is_whole:
        say("")
        _print_parts(plan)
        say(_memory_line(plan) + "\n")
    _print_time(plan)
    if is_whole and plan.cuts:
        _print_cuts(plan)
    if is_whole:
        say(plan.verdict)


def _image_line(plan: "Plan") -> str:
    look = plan.look
    separators = f", and {look.num_separators} tokens of text around them" if look.num_separators else ""
    return (
        f"image {look.width_px} x {look.height_px} px (width x height): {look.num_tiles} "
        f"tile{'s' if look.num_tiles > 1 else ''}, {look.num_features:,} features -> {look.num_tokens:,} visual tokens "
        f"({look.num_features / look.num_tokens:.3g} : 1){separators}"
    )


def _prompt_line(plan: "Plan") -> str:
    demand = plan.demand
    return (
        f"prompt: {plan.prompt_tokens:,} tokens, {plan.visual_tokens:,} of them visual ({demand.images_per_prompt} "
        f"image{'s' if demand.images_per_prompt > 1 else ''}, {demand.text_tokens} tokens of text)"
    )


def _print_parts(plan: "Plan") -> None:
    from opticnerve.cli.terminal import giga, print_table, short_count

    active = f" ({short_count(plan.llm_active_params)} active)" if plan.llm_active_params < plan.llm_params else ""
    rows = [
        ["encoder", plan.encoder, short_count(plan.encoder_params), giga(plan.encoder_flops)],
        ["connector", plan.connector, short_count(plan.connector_params), giga(plan.connector_flops)],
        ["LLM, prompt", plan.llm + active, short_count(plan.llm_params), giga(plan.prefill_flops)],
        ["LLM, a token", "", "", giga(plan.decode_flops)],
    ]
    print_table("One prompt", ["part", "", "parameters", "GFLOP"], rows, num_words=2)


def _memory_line(plan: "Plan") -> str:
    fits = f"{plan.max_batch} prompts fit at once" if plan.max_batch else "not one prompt fits"
    return (
        f"memory in {plan.demand.dtype}: weights {size_words(plan.weight_bytes)}, cache of a prompt and its answer "
        f"{size_words(plan.cache_bytes)}, activations about {size_words(plan.activation_bytes)}; on {plan.device} "
        f"{fits}"
    )


def _print_time(plan: "Plan") -> None:
    from opticnerve.cli.terminal import say

    timing, batch = plan.timing, plan.demand.batch
    of = f"{batch} prompts" if batch > 1 else "1 prompt"
    say(f"time to first token on {plan.device}, {of}: {range_words(timing.first_token_ms)}")
    widest = max(stage.middle for stage in timing.stages.values())
    for name, stage in timing.stages.items():
        bar = "█" * round(_BAR * stage.middle / widest) if widest else ""
        say(f"  {name:10} {range_words(stage):>16}  {bar}")
    rate = timing.tokens_per_s
    say(f"then {rate.low:.3g} to {rate.high:.3g} tokens/s for each prompt\n")


def _print_cuts(plan: "Plan") -> None:
    from opticnerve.cli.terminal import print_table

    rows = [
        [
            f"{cut.factor}x fewer",
            f"{cut.prompt_tokens:,}",
            range_words(cut.first_token_ms),
            f"{cut.gain:.2f}",
            size_words(cut.cache_bytes),
            f"{cut.max_batch:,}",
        ]
        for cut in plan.cuts
    ]
    now = ["as planned", f"{plan.prompt_tokens:,}", range_words(plan.timing.first_token_ms), "1"]
    now += [size_words(plan.cache_bytes), f"{plan.max_batch:,}"]
    columns = ["visual tokens", "prompt", "first token", "gain", "cache", "prompts\nthat fit"]
    print_table("If there were fewer", columns, [now, *rows])


def range_words(span: "Range") -> str:
    """Write a range of milliseconds.

    Args:
        span: milliseconds.
    """
    if span.high < 2_000:
        return f"{_number(span.low)}-{_number(span.high)} ms"
    return f"{_number(span.low / 1000)}-{_number(span.high / 1000)} s"


def size_words(size: float) -> str:
    """Write a number of bytes with three digits and a unit.

    Args:
        size: bytes.
    """
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size:.0f} B"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
