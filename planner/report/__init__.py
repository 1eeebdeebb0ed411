"""Answers for people and for scripts."""

from .document import document as document
from .tables import show as show
