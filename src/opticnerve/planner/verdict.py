"""Whether fewer visual tokens are worth it, in words."""

from opticnerve.planner.outcome import Cut, Plan

WORTH_TIME = 1.2
"""Gain in time to first token from which a cut is called worth it."""
WORTH_BATCH = 1.5
"""Gain in prompts that fit at once from which a cut is called worth it."""


def judge(plan: Plan) -> str:
    """Say what cutting visual tokens gains, and whether it is worth it.

    Args:
        plan: with its cuts.
    """
    if not plan.cuts:
        return "There are too few visual tokens to cut."
    best = next((cut for cut in plan.cuts if _is_enough(plan, cut)), plan.cuts[-1])
    where = _slowest(plan)
    gain = f"{best.factor}x fewer visual tokens: time to first token divided by {best.gain:.2f}"
    room = f"{best.max_batch} instead of {plan.max_batch} prompts fit at once"
    if best.max_batch == plan.max_batch:
        room = "no more prompts fit at once"
    if best.gain >= WORTH_TIME:
        return f"Worth it: {gain}; {room}. {_rest(plan, best)}"
    if plan.max_batch and best.max_batch >= WORTH_BATCH * plan.max_batch:
        return f"Worth it for throughput, not for latency: {gain}, since {where}; but {room}."
    return f"Do not bother: {gain}, since {where}; {room}."


def _is_enough(plan: Plan, cut: Cut) -> bool:
    """Tell whether a cut has most of what the largest one gains."""
    return cut.gain >= WORTH_TIME and cut.gain - 1 >= 0.6 * (plan.cuts[-1].gain - 1)


def _rest(plan: Plan, best: Cut) -> str:
    last = plan.cuts[-1]
    if last is best:
        return "Even more may pay."
    if last.gain < 1.25 * best.gain:
        return f"{last.factor}x gains little more: {last.gain:.2f}."
    return f"{last.factor}x divides it by {last.gain:.2f}."


def _slowest(plan: Plan) -> str:
    stages = plan.timing.stages
    total = sum(stage.middle for stage in stages.values())
    name = max(stages, key=lambda name: stages[name].middle)
    words = {
        "preprocess": "decoding and cutting images",
        "encode": "the encoder",
        "connect": "the connector",
        "prefill": "starting the LLM's layers and reading its weights",
    }
    return f"{words[name]} takes {stages[name].middle / total:.0%} of the time"
