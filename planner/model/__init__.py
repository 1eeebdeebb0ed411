"""Transformer shapes: smooth in N for planning, whole numbers for building."""

from .buildable import HEAD_DIM as HEAD_DIM
from .buildable import VOCABULARY as VOCABULARY
from .buildable import BuildableShape as BuildableShape
from .transformer import ShapeLaw as ShapeLaw
from .transformer import Transformer as Transformer
