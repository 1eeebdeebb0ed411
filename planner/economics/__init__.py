"""Demand, promises and the bill."""

from .bill import Bill as Bill
from .bill import Fleet as Fleet
from .demand import Demand as Demand
from .demand import Slo as Slo
