"""The command frontier: flags and their file into a question, the answer into a document and a page."""

from typing import Any

import configs

from ..scenario import DEFAULTS
from .estimate import settings
from .files import check_writable, write
from .values import InputError

FAST_SPEEDUP = 2.5  # Anthropic's fast mode: "up to 2.5x higher output tokens per second", for 6 x the price (2026)
FAST_SHARE = 0.1  # no figure is public: an assumption that only the mix depends on
_SIZES = ("chips", "tp", "pp", "dp", "ep")


def frontier(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of `frontier`, once its page is written.

    Raises:
        InputError: a bad flag. configs.ConfigError: a bad name or file.
    """
    given = settings(asked, configs.FRONTIER_SETTINGS)
    if "html" in asked:
        path = check_writable("--html", asked["html"])
        if path.suffix not in (".html", ".htm"):
            raise InputError(f"--html = '{configs.shown(asked['html'])}' must end in .html")
    from ..estimate.question import Question
    from ..frontier.answer import frontier as answer_of
    from ..report.frontier import verdict

    answer = answer_of(Question.of(given), tiers_asked(given), sized(given))
    if answer["status"] != "infeasible":
        answer["message"] = verdict(answer)
        if "html" in asked:
            from ..report.frontier_page import page

            write("--html", asked["html"], page(answer))
            answer["files"] = [asked["html"]]
    return answer


def sized(given: dict[str, Any]) -> bool:
    """Say whether the replica's chips or layout are given."""
    return any(name in given for name in _SIZES)


def tiers_asked(given: dict[str, Any]) -> Any:
    """Return what tiers are asked for, defaults filled in."""
    from ..frontier.tiers import Asked

    return Asked(
        fast_speedup=given.get("fast_speedup", FAST_SPEEDUP),
        peak_to_mean=given.get("peak_to_mean", DEFAULTS["peak_to_mean"]),
        fast_share=given.get("fast_share", FAST_SHARE),
        batch_share=given.get("batch_share"),
    )
