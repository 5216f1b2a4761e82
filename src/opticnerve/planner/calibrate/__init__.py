"""What this machine computes and moves, measured; and how well times are predicted from it."""

from opticnerve.planner.calibrate.clock import Clock, Spread
from opticnerve.planner.calibrate.family import family_trials, num_trials
from opticnerve.planner.calibrate.machine import Machine, this_machine, threads
from opticnerve.planner.calibrate.probes import Measurement
from opticnerve.planner.calibrate.run import Calibration, make_device
from opticnerve.planner.calibrate.trials import Trial, median_error, predict

__all__ = [
    "Calibration",
    "Clock",
    "Machine",
    "Measurement",
    "Spread",
    "Trial",
    "family_trials",
    "make_device",
    "median_error",
    "num_trials",
    "predict",
    "this_machine",
    "threads",
]
