"""Published models as their settings: what the planner knows without a connection."""

from opticnerve.planner.catalogue.rows import Row, devices, encoders, llms, vlms

__all__ = ["Row", "devices", "encoders", "llms", "vlms"]
