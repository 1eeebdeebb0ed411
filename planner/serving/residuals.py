"""Residuals of the search's form as plain numbers: what times take beyond roofline and overheads, by lane of a search.

A residual is exp(log) (N / 1e10)^params_exponent (B / 64)^batch_exponent experts^experts_exponent seconds, see
`planner.serving.replica`.
"""

from collections.abc import Mapping
from math import log
from typing import Any

TIMES = ("step", "prefill", "first")
PARTS = ("log", "params_exponent", "batch_exponent", "experts_exponent")
REFERENCE = (1e10, 64.0)  # parameters and batch at which a residual is exp(log)
# Half the window round a plan, as logarithms of size, batch and experts, in which residuals are matched. Tiles and
# waves make single points jump by some per cent, which a plan should not chase; curvature moves the value by 0.3 % at
# most.
WINDOW = (0.2, 0.3, 0.2)
NONE = {name: {**dict.fromkeys(PARTS, 0.0), "log": -60.0} for name in TIMES}


def log_residual(residual: Mapping[str, Any], log_N: Any, log_B: Any, log_E: Any = 0.0) -> Any:
    """Return ln of a residual's seconds at a size, a batch and a number of experts."""
    size, batch = log_N - log(REFERENCE[0]), log_B - log(REFERENCE[1])
    plain = residual["log"] + residual["params_exponent"] * size + residual["batch_exponent"] * batch
    return plain + residual["experts_exponent"] * log_E
