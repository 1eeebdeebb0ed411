"""What training buys: loss from parameters and tokens, and back."""

from .chinchilla import ChinchillaLaw as ChinchillaLaw
from .validity import range_warnings as range_warnings
