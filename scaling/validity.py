"""Where a law was fitted, and what to say of a plan outside it."""

from collections.abc import Mapping

# Villalobos et al. 2024, arXiv:2211.04325v2: the effective stock of quality-adjusted, repetition-
# adjusted public human text is about 3e14 tokens (90 % interval 1e14 to 1e15).
PUBLIC_TEXT_TOKENS = 3e14

_LABELS = {
    "params": "model size {value:.3g} parameters",
    "tokens": "training on {value:.3g} tokens",
    "tokens_per_param": "{value:,.4g} tokens per parameter",
}


def range_warnings(law: str, valid: Mapping[str, float], N: float, D: float, repeated: bool = False) -> list[str]:
    """Return a sentence for each way in which (N, D) lies outside the runs behind ``law``.

    ``valid`` has ``min_`` and ``max_`` of ``params``, ``tokens`` and ``tokens_per_param``; each sentence says by how
    much the plan is outside. ``repeated`` says that the law counts repeated tokens.
    """
    out = []
    for key, value in (("params", N), ("tokens", D), ("tokens_per_param", D / N)):
        low, high = valid[f"min_{key}"], valid[f"max_{key}"]
        if not low <= value <= high:
            edge, bound = ("above", high) if value > high else ("below", low)
            what = _LABELS[key].format(value=value)
            times = max(value / bound, bound / value)
            far = f"{times:,.3g} times" if times >= 2.0 else f"{100.0 * (times - 1.0):.3g} %"
            out.append(f"{what} is {far} {edge} the fitted range of {law} ({bound:.3g}): the law extrapolates.")
    if D > PUBLIC_TEXT_TOKENS and not repeated:
        out.append(
            f"training on {D:.3g} tokens exceeds the stock of public text, about {PUBLIC_TEXT_TOKENS:.0e} "
            "tokens (Villalobos et al. 2024): the law assumes every token is new."
        )
    return out
