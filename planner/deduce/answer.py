"""The answer of deduce as the JSON document that `--json` prints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import Any

import numpy as np

from configs.cards import CardFacts

from ..estimate.question import Question
from .before import BEFORE, given, kind_of
from .blackboard import blackboard
from .caches import caches
from .infer import Found, infer
from .names import LINES, SLOTS, UNKNOWNS
from .seen import Seen, seen

_DRAWS = 4000
_LOW, _HIGH = 0.05, 0.95
# Lines of a card err together, so that what speaks for an assumption counts as a tenth of what it would: with more, the
# wrong one of dense and experts is held for certain too often (on the cards of `planner.deduce.seen`).
_INDEPENDENT = 0.1
_CONTRADICTED = (
    "no model considered comes near this card: what is off by most speaks against what is stated or assumed of "
    "lengths, chips, margin or speculation, and the intervals are too narrow."
)
_FAR_OFF = 3.0  # standard errors: one line of a card in 370 would be, by chance
_KNOWN, _VAGUE = 0.35, 0.8  # of the spread thought of before: below it a card tells, above it does not


@dataclass(frozen=True)
class Asked:
    """What a card is read under: unknowns that the asker states, peak over mean demand, and how far each price strays
    from its cost for reasons of its own (a standard error in logarithms)."""

    known: Mapping[str, float]
    peak_to_mean: float
    noise: float


def deduce(card: CardFacts, questions: Sequence[Question], asked: Asked) -> dict[str, Any]:
    """Return the document of `deduce --json`: each of ``questions`` is one assumption (a chip, dense or with experts),
    and what the card says is averaged over them, somewhat by how well each explains it."""
    shown = seen(card)
    takes = [given(question, shown, asked.known, asked.peak_to_mean, asked.noise) for question in questions]
    found = [infer(one) for one in takes]
    evidence = np.array([optima[0].log_evidence for optima in found])
    odds = np.exp(_INDEPENDENT * (evidence - evidence.max()))
    odds /= odds.sum()
    random = np.random.default_rng(0)
    draws = np.concatenate([_draws(optima, _DRAWS * p, random) for optima, p in zip(found, odds, strict=True)])
    # Laplace knows no bounds: all parameters are at least the active ones, chips at least one, MFUs at most one.
    draws[:, (1, 3)] = np.maximum(draws[:, (1, 3)], 0.0)
    draws[:, 9:11] = np.minimum(draws[:, 9:11], 0.0)
    best = int(np.argmax(odds))
    rows = _parameters(draws, asked)
    return {
        "schema": "deduce/1",
        "status": "ok",
        "message": "",
        "card": {"id": card.id, "name": card.name, "provider": card.provider},
        "parameters": rows,
        "assumptions": _assumptions(questions, odds, asked),
        "cache_tiers": caches(card, draws[:, 2], questions[best], float(np.exp(np.median(draws[:, 4])))),
        "fit": _fit(shown, found[best][0]),
        "not_identified": [name for name, row in rows.items() if row["identified"] == "no"],
        "blackboard": blackboard(card, shown, questions[best], takes[best], rows),
        "warnings": _warnings(shown, found[best][0], questions[best], asked),
    }


def _draws(optima: Sequence[Found], count: float, random: np.random.Generator) -> np.ndarray:
    """Return about ``count`` draws, each optimum's share as its evidence."""
    share = np.exp([one.log_evidence - optima[0].log_evidence for one in optima])
    return np.concatenate(
        [one.draws(round(count * p), random) for one, p in zip(optima, share / share.sum(), strict=True)]
    )


def _parameters(draws: np.ndarray, asked: Asked) -> dict[str, dict[str, Any]]:
    """Return median and 90 % interval of every parameter, and whether the card tells it.

    A parameter is identified where the card narrows what was known before by more than a factor of three, weakly
    where by a quarter; margins and chips are only assumed where nothing tells.
    """
    n, sparsity, kv, chips, markup = draws[:, :5].T
    decode, prefill, context = draws[:, 9:].T
    before = {name: BEFORE[name][1] for name in UNKNOWNS}
    before["kv_bytes_per_token"] = float(np.hypot(before["kv_bytes_per_token"], 0.4 * before["active_params"]))
    rows = {
        "kv_bytes_per_token": (kv, before["kv_bytes_per_token"]),
        "active_params": (n, before["active_params"]),
        "sparsity": (sparsity, before["sparsity"]),
        "total_params": (n + sparsity, float(np.hypot(before["active_params"], before["sparsity"]))),
        "decode_mfu": (decode, None),
        "prefill_mfu": (prefill, None),
        "balanced_context_tokens": (context, None),
        "batch": (draws[:, 5], None),
        "chips": (chips, before["chips"]),
        "markup": (markup, before["markup"]),
    }
    out = {}
    for name, (values, spread) in rows.items():
        told = _identified(name, float(np.std(values)), spread, asked)
        if name in asked.known:  # held to a fiftieth in the fit, stated as it was given
            values = np.log([asked.known[name]])
        low, middle, high = np.quantile(values, (_LOW, 0.5, _HIGH))
        out[name] = {"value": exp(middle), "low": exp(low), "high": exp(high), "identified": told}
    markups = out.pop("markup")
    ends = {k: 1.0 - 1.0 / markups[k] for k in ("value", "low", "high")}
    out["margin_fraction"] = {**ends, "identified": markups["identified"]}
    return out


def _identified(name: str, spread: float, before: float | None, asked: Asked) -> str:
    if name in asked.known:
        return "given"
    if before is None:
        before = 1.0
    ratio = spread / before
    return "yes" if ratio < _KNOWN else "weakly" if ratio < _VAGUE else "no"


def _assumptions(questions: Sequence[Question], odds: np.ndarray, asked: Asked) -> dict[str, Any]:
    first = questions[0]
    return {
        "requests": {"input_tokens": first.lengths[0], "output_tokens": first.lengths[2]},
        "engine": first.engine.id,
        "known": dict(asked.known),
        "peak_to_mean": asked.peak_to_mean,
        "pricing_noise": asked.noise,
        "weighed": [
            {
                "chip": question.chip.id,
                "usd_per_hour": question.usd_per_hour,
                "precision": question.precision,
                "kv_precision": question.recipe.kv,
                "kind": kind_of(question),
                "odds": float(p),
            }
            for question, p in zip(questions, odds, strict=True)
        ],
    }


def _warnings(shown: Seen, best: Found, question: Question, asked: Asked) -> list[str]:
    """Return a sentence where even the likeliest model is farther from the card than models err."""
    off = np.abs(best.lines - np.nan_to_num(shown.lines)) * shown.weight(kind_of(question), asked.noise)
    if off.max() <= _FAR_OFF:
        return []
    return [_CONTRADICTED]


def _fit(shown: Seen, best: Found) -> list[dict[str, Any]]:
    """Return every line of the card beside that of the likeliest model, in dollars per million tokens or tokens/s."""
    out = []
    for i, slot in enumerate(SLOTS):
        for j, line in enumerate(LINES):
            if np.isfinite(shown.lines[i, j]):
                scale = 1.0 if line == "tokens_per_s_per_user" else 1e6
                told, card = (scale * exp(lines[i, j]) for lines in (best.lines, shown.lines))
                out.append({"slot": slot, "line": line, "card": card, "model": told, "ratio": told / card})
    return out
