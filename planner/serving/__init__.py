"""Serving: step times, capacity and latency of one replica."""

from .replica import OperatingPoint as OperatingPoint
from .replica import Pass as Pass
from .replica import Precision as Precision
from .replica import Replica as Replica
from .replica import Requests as Requests
