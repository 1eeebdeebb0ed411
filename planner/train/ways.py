"""What of a layout was given, checked against the model before anything is searched."""

from collections.abc import Mapping
from math import prod
from typing import Any

import configs

from ..estimate.layouts import experts_of, heads_of


def check(
    model: configs.ModelFacts, ways: Mapping[str, int], asked: Mapping[str, Any], sequence: float, sequences: float
) -> None:
    """Raise unless the given ``ways`` divide the model, the chips and the batch of ``sequences``.

    Raises:
        configs.ConfigError: one sentence that names the flag, its value and what is allowed.
    """
    heads, experts, layers = heads_of(model), experts_of(model), int(sum(x.count for x in model.layers))
    tp, pp, vp, cp, ep = (ways.get(name, 1) for name in ("tp", "pp", "vp", "cp", "ep"))
    if heads % tp:
        raise configs.ConfigError(f"--tp = {tp} must divide the {heads} heads of {model.name}: {_some(heads)}")
    if pp > layers:
        raise configs.ConfigError(f"--pp = {pp} must not exceed the {layers} layers of {model.name}")
    if vp > 1 and ways.get("pp") == 1:
        raise configs.ConfigError(f"--vp = {vp} needs a pipeline: with --pp 1 no stage takes turns with another")
    if pp * vp > layers:
        raise configs.ConfigError(f"--vp = {vp} on {pp} stages must not exceed the {layers} layers of {model.name}")
    if vp > 1 and asked.get("schedule") == "zero-bubble":
        raise configs.ConfigError(f"--vp = {vp} and --schedule zero-bubble exclude each other: give one of them")
    if sequence % cp or cp > sequence:
        raise configs.ConfigError(f"--cp = {cp} must divide the {sequence:g} tokens of a sequence")
    if ep > 1 and not experts:
        raise configs.ConfigError(f"--ep = {ep}: {model.name} has no experts to spread; leave --ep out")
    if experts and experts % ep:
        raise configs.ConfigError(f"--ep = {ep} must divide the {experts} experts of {model.name}: {_some(experts)}")
    if asked.get("expert_load", 1.0) > 1.0 and not experts:
        raise configs.ConfigError(
            f"--expert-load = {asked['expert_load']:g}: {model.name} has no experts, leave it out"
        )
    if asked.get("reversible") and "recompute" in asked:
        raise configs.ConfigError("--reversible and --recompute exclude each other: reversible layers all are")
    if ways.get("micro_batch", 1) > sequences * 1.05:
        raise configs.ConfigError(
            f"--micro-batch = {ways['micro_batch']} must not exceed the {sequences:g} sequences of the global batch"
        )
    apart = prod(ways.get(name, 1) for name in ("tp", "pp", "cp"))
    if "chips" in asked and int(asked["chips"]) % apart:
        flags = " x ".join(f"--{name} {ways[name]}" for name in ("tp", "pp", "cp") if name in ways)
        low = int(asked["chips"]) // apart * apart
        near = " or ".join(f"{n:,}" for n in (low, low + apart) if n)
        raise configs.ConfigError(f"--chips = {int(asked['chips'])} must be a multiple of {flags} = {apart}: {near}")


def _some(n: int) -> str:
    """Return the divisors of ``n`` as what to give."""
    return "give one of " + ", ".join(str(d) for d in range(1, min(n, 512) + 1) if n % d == 0)
