"""Kernels timed on the devices present: what to run, how to run it, how long it takes."""

from .clock import Measurement as Measurement
from .clock import OutOfMemoryError as OutOfMemoryError
from .clock import measure as measure
from .grid import FAMILIES as FAMILIES
from .grid import Limits as Limits
from .grid import held_out as held_out
from .grid import shapes as shapes
from .works import PRECISIONS as PRECISIONS
from .works import Work as Work
from .works import stream as stream
from .works import supports as supports
from .works import work as work
