"""The command deduce: a card and what is known into questions, the answer into a document."""

from collections.abc import Mapping
from typing import Any

import configs
from configs.cards import CardFacts, Price
from configs.json_fields import Fields, brief
from configs.loader import Number

from ..scenario import DEFAULTS
from .values import InputError, check_usd, flag_of, over_file

_PRICES = ("input", "cached_input", "cache_write_5m", "cache_write_1h", "output")
_LONG = ("context_step", "long_input", "long_output")
_OWN = (*_PRICES, *_LONG, "tokens_per_s")
# Where a card saved by `price` states what: settings by table and field.
_STATED = {
    "chip": ("chip", "id"),
    "input_tokens": ("requests", "input_tokens"),
    "output_tokens": ("requests", "output_tokens"),
    "engine": ("engine", "id"),
    "peak_to_mean": ("", "peak_to_mean"),
    "precision": ("precision", "weights"),
    "kv_precision": ("precision", "kv_cache"),
}
_CHIPS = "h100-sxm,h200-sxm,b200-sxm"  # what most clouds rent, and what is measured
_NOISE = 0.3  # an assumption: public batch tiers are half of standard and caches a tenth of input, whatever they cost
# A typical model of each kind: only its kind, layout and formats are taken, sizes are deduced.
_KINDS = {"dense": {"params": 70e9}, "experts": {"params": 300e9, "active_params": 30e9}}


def deduce(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of `deduce`.

    Raises:
        InputError: a bad flag. configs.ConfigError: a bad name or file.
    """
    flags = {k: v for k, v in asked.items() if k in configs.DEDUCE_SETTINGS}
    known = configs.load_asked(asked["scenario"], configs.DEDUCE_SETTINGS) if "scenario" in asked else {}
    given = over_file(flags, known, (("card", *_OWN),))
    card = _card(given)
    given = {**_stated(given, card), **given}
    names = [name.strip() for name in given.get("chip", _CHIPS).split(",")]
    if not all(names):
        raise InputError(f"--chip = '{configs.shown(given['chip'])}' must be ids separated by single commas")
    for name in names:
        check_usd({**given, "chip": name})
    if "engine" in given:
        configs.load_engine(given["engine"])
    if "chips" in given and given["chips"] != round(given["chips"]):
        raise InputError(f"--chips = {given['chips']:g} must be a whole number of chips")
    from ..deduce.answer import Asked
    from ..deduce.answer import deduce as answer_of
    from ..estimate.question import Question
    from ..report.deduce import verdict

    served = ("input_tokens", "output_tokens", "precision", "kv_precision", "engine", "chip_usd_per_hour")
    rest = {k: given[k] for k in served if k in given}
    kinds = [kind for kind in _KINDS if _possible(kind, given.get("sparsity"))]
    questions = [Question.of({**_KINDS[kind], **rest, "chip": name}) for name in names for kind in kinds]
    noise = 0.0 if given.get("card", "").endswith(".json") else _NOISE
    wanted = Asked(
        _known(given), given.get("peak_to_mean", DEFAULTS["peak_to_mean"]), given.get("pricing_noise", noise)
    )
    answer = answer_of(card, questions, wanted)
    answer["message"] = verdict(answer)
    return answer


def _possible(kind: str, sparsity: float | None) -> bool:
    return sparsity is None or (kind == "dense") == (sparsity < 1.05)


def _known(given: Mapping[str, Any]) -> dict[str, float]:
    """Return the unknowns that flags state."""
    out = {k: given[k] for k in ("active_params", "sparsity", "kv_bytes_per_token", "chips") if k in given}
    if "margin" in given:
        out["markup"] = 1.0 / (1.0 - given["margin"])
    return out


def _card(given: Mapping[str, Any]) -> CardFacts:
    """Return the card that is named, or the one that single prices make."""
    own = [name for name in _OWN if name in given]
    if "card" in given:
        if own:
            raise InputError(f"--card and {flag_of(own[0])} exclude each other: a card has its own prices")
        return configs.load_card(given["card"])
    for name in ("input", "output"):
        if name not in given:
            other = " and --output" if name == "input" else ""
            raise InputError(
                f"{flag_of(name)} is missing: give a --card of 'llm-planner list cards', or --input{other}"
            )
    long = [name for name in _LONG if name in given]
    if long and len(long) < len(_LONG):
        absent = next(name for name in _LONG if name not in given)
        raise InputError(f"{flag_of(absent)} is missing: a step of context needs {', '.join(map(flag_of, _LONG))}")
    prices = [Price(tier="standard", **{name: given[name] for name in _PRICES if name in given})]
    if long:
        step = given["context_step"]
        prices = [
            Price(**{**vars(prices[0]), "max_context_tokens": step}),
            Price("standard", given["long_input"], given["long_output"], min_context_tokens=step),
        ]
    speeds = {"standard": given["tokens_per_s"]} if "tokens_per_s" in given else {}
    return CardFacts("given", "the prices given", "", tuple(prices), speeds, {})


def _stated(given: Mapping[str, Any], card: CardFacts) -> dict[str, Any]:
    """Return what a card saved by `price` states of its service, where flags do not: chip, requests, formats, engine
    and peaks. One written by hand may state less.

    Sizes, margin, replica and batch are in that file too, and are not looked at: they are what is deduced.
    """
    if not given.get("card", "").endswith(".json"):
        return {}
    top, out = Fields(given["card"], "", card.tables), {}
    for name, (table, key) in _STATED.items():
        inner, spec = top.inner(table) if table else top, configs.DEDUCE_SETTINGS[name]
        if name in given or inner.has(key) is None:
            continue
        out[name] = inner.number(key, spec.low, spec.high) if isinstance(spec, Number) else inner.fields[key]
        if not isinstance(spec, Number) and not isinstance(out[name], str):
            inner.refuse(key, f"= {brief(out[name])} must be a name")
    if "precision" in out and "chip" in {**out, **given}:
        rates = [configs.load_chip(name.strip()).peak_flops_per_s for name in {**out, **given}["chip"].split(",")]
        if not all(out["precision"] in (*rate, "int4") for rate in rates):
            del out["precision"]  # weights alone were so narrow
    return out
