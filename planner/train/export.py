"""Settings of training software that realise a layout."""

from typing import Any

from .question import Question
from .space import Way

FRAMEWORKS = ("megatron", "maxtext", "torchtitan")


def block(framework: str, question: Question, way: Way, answer: dict[str, Any]) -> dict[str, Any]:
    raise NotImplementedError
