"""Reinforcement learning and tokens of equal cost, as a person reads them below a training run."""

from typing import Any

from rich.table import Table

from .bars import share_of
from .parts import table
from .units import dollars, energy, percent, say
from .verdict import count, figure, ways

_PARTS = ("generation", "scoring", "training", "total")
_KINDS = {"pretraining": "pre-training", "rollout": "reinforcement learning", "inference": "inference"}


def bill(answer: dict[str, Any]) -> Table | None:
    """Return the bill of reinforcement learning; None where it was not asked for."""
    found = answer.get("reinforcement")
    if found is None:
        return None
    usd = found["total"]["usd"] is not None
    title = f"Reinforcement learning on {say(found['tokens'])} tokens generated"
    out = table(title, "", "chip-hours", "share", *(["dollars"] if usd else []), "energy")
    for name in _PARTS:
        part = found[name]
        share = share_of(part["chip_hours"] / found["total"]["chip_hours"])
        money = [dollars(part["usd"])] if usd else []
        out.add_row(name, say(part["chip_hours"]), share, *money, energy(part["joules"]))
    return out


def equal(answer: dict[str, Any]) -> Table | None:
    """Return the tokens of each kind that cost the same; None where neither kind was asked for."""
    found = answer.get("equal_cost")
    if found is None:
        return None
    beside = found["beside_inference"]
    served = ["as inference"] if beside else []
    out = table("Tokens that cost the same", "", "chip-ms per token", "as this run", *served)
    for key, name in _KINDS.items():
        cells = [figure(1e3 * found["chip_seconds_per_token"][key]), say(found["beside_pretraining"][key])]
        out.add_row(name, *cells, *([say(beside[key])] if beside else []))
    return out


def reasons(answer: dict[str, Any]) -> list[tuple[str, str]]:
    """Return leads and sentences on generation and on the rule of equal costs; none where neither was asked for."""
    found = answer.get("equal_cost")
    if found is None:
        return []
    one, chip = found["replica"], answer["chip"]["id"]
    split = ways(one["layout"])
    made = f"{figure(one['tokens_per_s_per_chip'])} tokens/s per chip on replicas of {one['chips']} x {chip} in "
    made += f"{one['precision']}{f' ({split})' if split else ''}, {count(one['batch'])} sequences at once; MFU "
    made += f"{percent(one['decode_mfu'])} of the {one['precision']} peak, {percent(found['decode_efficiency'])} of "
    made += "the FLOP/s of training."
    rule = f"one token of reinforcement learning costs {figure(found['alpha'])} of pre-training, one served "
    rule += f"{figure(found['beta'])}; a life spent evenly has token counts as the inverses."
    beside = found["beside_inference"]
    if beside:
        more = answer["tokens"] / beside["pretraining"]
        much = f"{figure(more)} times" if more >= 1.0 else f"{percent(more)} of"
        chance = "" if beside["used_probability"] == 1.0 else f" at a chance of {percent(beside['used_probability'])}"
        rule += f" This run has {much} the tokens that go with serving {say(beside['inference_tokens'])}{chance}."
    parts = [("Generation:", made), ("Equal cost:", rule)]
    reinforced = answer["reinforcement"]
    if reinforced:
        said = f"{percent(reinforced['of_pretraining'])} of this run's chip-hours; an even split would have "
        said += f"{say(found['beside_pretraining']['rollout'])} tokens generated."
        parts.insert(0, ("Reinforcement learning:", said))
    return parts
