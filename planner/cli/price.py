"""The command price: flags and their file into a question, the answer into a document."""

from itertools import pairwise
from typing import Any

import configs

from .estimate import settings
from .frontier import sized, tiers_asked
from .values import InputError, check_usd, number

_STEPS = "200k"
_SHORTEST, _LONGEST = 1e3, 1e8  # tokens of context where a step may be


def price(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of `price`.

    Raises:
        InputError: a bad flag. configs.ConfigError: a bad name or file.
    """
    given = settings(asked, configs.PRICE_SETTINGS)
    steps = _steps(given.get("context_steps", _STEPS))
    storage = _storage(given.get("storage", ",".join(configs.USUAL_STORAGE)))
    check_usd(given)
    from ..estimate.question import Question
    from ..price.answer import Asked
    from ..price.answer import price as answer_of
    from ..report.price import verdict

    question = Question.of(given)
    steps = _beyond(steps, sum(question.lengths[::2]), "context_steps" in given)
    wanted = Asked(tiers_asked(given), given.get("margin", 0.0), steps, storage)
    answer = answer_of(question, wanted, sized(given))
    if answer["status"] != "infeasible":
        answer["message"] = verdict(answer)
    return answer


def _steps(text: str) -> tuple[float, ...]:
    """Return rising lengths of context in ``text``; "none" for no step."""
    if text.strip() == "none":
        return ()
    out = []
    for word in map(str.strip, text.split(",")):
        found = number(word)
        if found is None or not _SHORTEST <= found <= _LONGEST:
            raise InputError(
                f"--context-steps = '{configs.shown(word)}' must be {_SHORTEST:g} to {_LONGEST:g} tokens, such "
                "as 200k, comma-separated, or none"
            )
        out.append(found)
    if any(b <= a for a, b in pairwise(out)):
        raise InputError(f"--context-steps = '{configs.shown(text)}' must rise from one to the next")
    return tuple(out)


def _beyond(steps: tuple[float, ...], tokens: float, given: bool) -> tuple[float, ...]:
    """Return the ``steps`` that lie beyond the ``tokens`` of the card's own requests; all must where they are given."""
    if given and steps and steps[0] <= tokens:
        raise InputError(
            f"--context-steps = {steps[0]:,.0f} must be above the {tokens:,.0f} tokens of --input-tokens and "
            "--output-tokens, whose prices hold up to there"
        )
    return tuple(step for step in steps if step > tokens)


def _storage(text: str) -> tuple[str, ...]:
    """Return the kinds of storage in ``text``, each of them known; "none" for HBM alone."""
    if text.strip() == "none":
        return ()
    names = tuple(name.strip() for name in text.split(","))
    ids = [configs.load_storage(name).id for name in names]
    for name in ids:
        if ids.count(name) > 1:
            raise InputError(f"--storage = '{configs.shown(text)}' names {name} twice")
    return names
