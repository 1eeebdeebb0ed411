"""The command fit: flags and a table of runs into a law, its file, a document and a picture."""

from pathlib import Path
from typing import Any

import configs

from ..laws.asked import Asked
from ..laws.table import read
from .files import check_writable, write
from .progress import progress
from .values import InputError, over_file

_DEFAULT_OUT = "fitted-law.toml"
_EITHER = (("tokens", "flops"),)


def fit(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of `fit`, once its files are written.

    Raises:
        InputError: a bad flag. configs.ConfigError: a bad table.
    """
    given = {k: v for k, v in asked.items() if k in configs.FIT_SETTINGS}
    given = over_file(
        given, configs.load_asked(asked["scenario"], configs.FIT_SETTINGS) if "scenario" in asked else {}, _EITHER
    )
    question = Asked.of(given)
    out = check_writable("--out", given.get("out", _DEFAULT_OUT))
    if out.suffix != ".toml" or not out.stem:
        raise InputError(f"--out = '{configs.shown(str(out))}' must end in .toml")
    if "plot" in asked:
        from ..report.residuals import check_plot

        check_writable("--plot", asked["plot"])
        check_plot(asked["plot"])
    table = read(question)
    from ..laws.answer import document
    from ..laws.fitted import fit_table
    from ..report.fit import verdict

    with progress("resampling", question.draws) as tick:
        fitted = fit_table(question, table, lambda done: tick(done=done))
    answer = document(fitted)
    if answer["status"] == "fitted":
        _save(fitted, out, answer)
        if "plot" in asked:
            from ..report.fitted import draw

            write("--plot", asked["plot"], draw(fitted, asked["plot"]))
            answer["files"].append(asked["plot"])
    answer["message"] = verdict(answer) if answer["status"] == "fitted" else f"No law: {fitted.law.trouble}"
    return answer


def _save(fitted: Any, out: Path, answer: dict[str, Any]) -> None:
    """Write the law where it can be one; say why not where it cannot."""
    from ..laws.law_file import save

    try:
        names = save(fitted, out, answer["not_identified"], lambda name, content: write("--out", name, content))
    except configs.ConfigError as error:
        answer["warnings"].append(f"no law file is written: {error}.")
        return
    answer["law_file"], answer["draws_file"] = names[0], names[1] if len(names) > 1 else None
    answer["files"] += names
