"""The small models that ship with the package, one for each method, over the bundled encoder."""

from opticnerve.family.export import export
from opticnerve.family.members import Member, load, members
from opticnerve.family.open_model import open_model

__all__ = ["Member", "export", "load", "members", "open_model"]
