"""What hardware takes: seconds, bytes and joules of chips, links and operations."""

from .chip import Chip as Chip
from .chip import Scalar as Scalar
from .chip import Slice as Slice
from .energy import Energy as Energy
from .energy import Joules as Joules
from .roofline import Operation as Operation
from .roofline import Part as Part
from .roofline import Sum as Sum
from .roofline import scaled as scaled
from .roofline import total as total
