"""From a golden config to a connector: resamplers and Q-Former."""
from parity.sequential_cases import Adapter

ADAPTERS: dict[str, Adapter] = {}
