"""What a choice of resolution, tiling, connector and LLM costs, before anything is built; and what fits a budget.

plan("2000x1500", encoder="google/siglip2-so400m-patch14-384", llm="Qwen/Qwen3-4B", device="h100").timing.first_token_ms
"""

from opticnerve.planner.budget import Budget, read_budgets
from opticnerve.planner.choice import Choice
from opticnerve.planner.costs import make_plan
from opticnerve.planner.demand import Demand, read_size
from opticnerve.planner.device import Device
from opticnerve.planner.device_files import find_device
from opticnerve.planner.forward import plan
from opticnerve.planner.llm import LLM
from opticnerve.planner.llm_config import read_llm
from opticnerve.planner.lookup import find_encoder, find_llm
from opticnerve.planner.model import Look, Separators, VisionLanguageModel
from opticnerve.planner.outcome import Cut, Plan, Timing
from opticnerve.planner.planned import Planned
from opticnerve.planner.ranges import Range
from opticnerve.planner.recipe import recipe_text, write_recipes
from opticnerve.planner.search import search
from opticnerve.planner.sizes import SizePlans, Sizes, plan_sizes, read_sizes
from opticnerve.planner.sweep import Sweep, sweep
from opticnerve.planner.vlm import find_model

__all__ = [
    "LLM",
    "Budget",
    "Choice",
    "Cut",
    "Demand",
    "Device",
    "Look",
    "Plan",
    "Planned",
    "Range",
    "Separators",
    "SizePlans",
    "Sizes",
    "Sweep",
    "Timing",
    "VisionLanguageModel",
    "find_device",
    "find_encoder",
    "find_llm",
    "find_model",
    "make_plan",
    "plan",
    "plan_sizes",
    "read_budgets",
    "read_llm",
    "read_size",
    "read_sizes",
    "recipe_text",
    "search",
    "sweep",
    "write_recipes",
]
