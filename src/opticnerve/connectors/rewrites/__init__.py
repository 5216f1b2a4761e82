"""Equal, cheaper ways to compute connectors."""

from opticnerve.connectors.rewrites.base import Cost, InOrder, Placed, Rewrite, Step
from opticnerve.connectors.rewrites.program import REWRITES, Applied, Mode, optimize, plan_rewrites

__all__ = [
    "REWRITES",
    "Applied",
    "Cost",
    "InOrder",
    "Mode",
    "Placed",
    "Rewrite",
    "Step",
    "optimize",
    "plan_rewrites",
]
