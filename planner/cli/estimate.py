"""The command estimate: flags and their file into a question, the answer into a document and a picture."""

from collections.abc import Mapping
from typing import Any

import configs

from .files import check_writable, write
from .values import InputError, check_model_and_chip, flag_of, over_file

_WHOLE = ("chips", "tp", "pp", "dp", "ep", "draft_tokens")
# Flags of which one in the command line replaces every one in the file.
_EITHER = (("model", "params"), ("batch", "concurrency", "request_rate"), ("co2_g_per_kwh", "grid"))


def estimate(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of `estimate`, once its picture is written.

    Raises:
        InputError: a bad flag. configs.ConfigError: a bad name or file.
    """
    given = settings(asked)
    if "plot" in asked:
        from ..report.residuals import check_plot

        check_writable("--plot", asked["plot"])
        check_plot(asked["plot"])
    from ..estimate.answer import estimate as answer_of
    from ..estimate.question import Question
    from ..report.verdict import verdict

    answer = answer_of(Question.of(given))
    if answer["status"] != "infeasible":
        answer["message"] = verdict(answer)
    if "plot" in asked and answer["status"] != "infeasible":
        from ..report.roofline import draw

        write("--plot", asked["plot"], draw(answer, asked["plot"]))
        answer["files"] = [asked["plot"]]
    return answer


def settings(asked: dict[str, Any], specs: Mapping[str, Any] = configs.ESTIMATE_SETTINGS) -> dict[str, Any]:
    """Return the settings of a question about a served model: flags over those of ``--scenario``, names known.

    Raises:
        InputError: a flag is missing, or is a fraction. configs.ConfigError: a name or file that is not known.
    """
    given = {k: v for k, v in asked.items() if k in specs}
    known = configs.load_served(asked["scenario"], specs) if "scenario" in asked else {}
    out = over_file(given, known, _EITHER)
    for name in _WHOLE:
        if name in out and out[name] != round(out[name]):
            unit = "tokens" if name == "draft_tokens" else "chips"
            raise InputError(f"{flag_of(name)} = {out[name]:g} must be a whole number of {unit}")
    check_model_and_chip(out, "llama-3.3-70b")
    # Names are looked up here as well, so that a mistyped one is told before jax is loaded.
    loads = {
        "chip": configs.load_chip,
        "engine": configs.load_engine,
        "model": configs.load_model,
        "grid": configs.grid_co2_g_per_kwh,
    }
    for name, load in loads.items():
        if name in out:
            load(out[name])
    if asked.get("disaggregated"):
        out["disaggregated"] = True
    return out
