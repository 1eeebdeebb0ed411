"""The command assign: tasks and offers into the cheapest mix, its document, and a table of who gets what."""

from typing import Any

import configs

from .files import check_writable, write
from .values import over_file


def assign(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of `assign`, once its table is written.

    Raises:
        InputError: a bad flag. configs.ConfigError: a bad table or catalogue.
    """
    given = {k: v for k, v in asked.items() if k in configs.ASSIGN_SETTINGS}
    known = configs.load_asked(asked["scenario"], configs.ASSIGN_SETTINGS) if "scenario" in asked else {}
    given = over_file(given, known, ())
    if "out" in given:
        check_writable("--out", given["out"])
    from ..assign.answer import assign as answer_of
    from ..assign.question import Question
    from ..report.assign import verdict

    question = Question.of(given)
    answer, chosen = answer_of(question)
    answer["message"] = verdict(answer)
    if "out" in given:
        from ..assign.rows import table

        write("--out", given["out"], table(question, chosen))
        answer["files"] = [given["out"]]
    return answer
