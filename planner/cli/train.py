"""The command train: flags and their file into a question, the answer into a document."""

from typing import Any

import configs

from ..train.asked import Asked
from .values import InputError, check_model_and_chip, flag_of, over_file

_WHOLE = ("chips", "sequence_tokens", "tp", "pp", "vp", "cp", "ep", "micro_batch")
_EITHER = (("model", "params"), ("chips", "days"))  # one in the command line replaces both in the file
_SWITCHES = ("reversible", "overlap")


def train(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of `train`.

    Raises:
        InputError: a bad flag. configs.ConfigError: a bad name or file.
    """
    given = settings(asked)
    from ..report.train import verdict
    from ..train.answer import train as answer_of
    from ..train.question import Question

    answer = answer_of(Question.of(given), given.get("export"))
    if answer["status"] != "infeasible":
        answer["message"] = verdict(answer)
    return answer


def settings(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a run: flags over those of ``--scenario``, names known, wholes whole.

    Raises:
        InputError: a flag is missing, or is a fraction. configs.ConfigError: a name or file that is not known.
    """
    given = {k: v for k, v in asked.items() if k in configs.TRAIN_SETTINGS}
    known = configs.load_asked(asked["scenario"], configs.TRAIN_SETTINGS) if "scenario" in asked else {}
    out = over_file(given, known, _EITHER) | {name: True for name in _SWITCHES if asked.get(name)}
    for name in _WHOLE:
        if name in out and out[name] != round(out[name]):
            raise InputError(f"{flag_of(name)} = {out[name]:g} must be a whole number")
    check_model_and_chip(out, "llama-3.1-405b")
    if "tokens" not in out:
        raise InputError("--tokens is missing: give the training tokens, for instance 15T")
    if "chips" not in out and "days" not in out:
        raise InputError("--chips is missing: give the chips of the run, or --days for as many as that takes")
    Asked.of(out)
    # Names are looked up here as well, so that a mistyped one is told before jax is loaded.
    loads = {
        "chip": configs.load_chip,
        "model": configs.load_model,
        "trainer": configs.load_trainer,
        "batch_law": configs.load_batch_law,
        "failures": configs.load_failures,
    }
    for name, load in loads.items():
        if name in out:
            load(out[name])
    return out
