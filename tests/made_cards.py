"""Price cards that `price` makes of random models, chips, requests and margins, with what is behind them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from random import Random
from typing import Any

import configs
from planner.cli.deduce import deduce
from planner.estimate.question import Question
from planner.frontier.tiers import Asked as Tiers
from planner.price.answer import Asked, price

CHIPS = ("h100-sxm", "h200-sxm", "b200-sxm", "a100-sxm", "mi300x")
PEAK_TO_MEAN = 1.226
# What may be stated by flags, by the parameter of the answer that it is.
STATED = {"active_params": "active_params", "sparsity": "sparsity", "chips": "chips", "margin": "margin_fraction",
          "kv_bytes_per_token": "kv_bytes_per_token"}  # fmt: skip


@dataclass(frozen=True)
class Made:
    """What `price --json` prints, and the parameters behind it under the names that `deduce` has for them."""

    card: dict[str, Any]
    truth: dict[str, float]

    def deduced(self, folder: Path, **stated: Any) -> dict[str, Any]:
        """Return the answer of `deduce` for this card, saved in ``folder``, and other flags."""
        path = folder / "card.json"
        path.write_text(json.dumps(self.card))
        return deduce({"card": str(path), **stated})

    def flags(self, *names: str) -> dict[str, float]:
        """Return the flags that state the truth of ``names``."""
        return {name: self.truth[STATED[name]] for name in names}


def models() -> list[str]:
    """Return public models of 1B active parameters and more."""
    return [name for name in configs.ids("models") if configs.load_model(name).active_params >= 1e9]


def made(random: Random, names: Sequence[str], chips: Sequence[str] = CHIPS, generic: float = 0.4) -> Made | None:
    """Return a card of one of ``names`` or, by a share of ``generic``, of a typical model of any size; on one of
    ``chips``, with any requests and margin, often with a step of price at 200k. None where nothing serves that."""

    def between(low: float, high: float) -> float:
        return exp(random.uniform(log(low), log(high)))

    asked: dict[str, Any] = {
        "chip": random.choice(chips),
        "input_tokens": float(round(between(256, 16000))),
        "output_tokens": float(round(between(128, 2000))),
    }
    if random.random() >= generic:
        asked["model"] = random.choice(names)
    else:
        active = between(1e9, 3e11)
        asked |= {"active_params": active, "params": active * (1.0 if random.random() < 0.5 else between(3, 40))}
    margin, steps = random.uniform(0.0, 0.8), (200e3,) if random.random() < 0.7 else ()
    question = Question.of(asked)
    card = price(question, Asked(Tiers(2.5, PEAK_TO_MEAN, 0.1, None), margin, steps, ("ddr5", "nvme")))
    if card["status"] != "ok":
        return None
    active, total = question.model.active_params, question.model.params
    cost = next(line["cost_usd_per_mtok"] for line in card["lines"] if line["name"] == "output") * 1e-6
    peak = question.numbers()["device"]["formats"]["dense"]["flops_per_s"]
    chip_s = cost / PEAK_TO_MEAN / (question.usd_per_hour or 0.0) * configs.HOUR_S
    truth = {
        "active_params": active,
        "total_params": total,
        "sparsity": total / active,
        "kv_bytes_per_token": card["kv_bytes_per_token"],
        "chips": card["replica"]["chips"],
        "batch": card["replica"]["batch"],
        "margin_fraction": margin,
        "decode_mfu": 2.0 * active / chip_s / peak,
    }
    return Made(card, truth)


def covered(answer: dict[str, Any], truth: dict[str, float]) -> dict[str, bool]:
    """Return whether each parameter's interval holds the truth."""
    rows = {name: answer["parameters"][name] for name in truth}
    slack = 1e-9
    return {k: row["low"] * (1 - slack) - slack <= truth[k] <= row["high"] * (1 + slack) for k, row in rows.items()}
