"""What every offer would take for every task: dollars and seconds of one request, and whether its prompt fits."""

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from configs.offers import OfferFacts

from .tasks import Tasks

_MTOK = 1e6  # tokens in the unit of prices


class Grid(NamedTuple):
    """One request of n tasks on each of m offers, a row per offer."""

    usd: Float[np.ndarray, "m n"]
    latency_s: Float[np.ndarray, "m n"]
    fits: Bool[np.ndarray, "m n"]


def grid(offers: Sequence[OfferFacts], tasks: Tasks, part: slice) -> Grid:
    """Return what ``part`` of the tasks would take on each offer.

    A prompt pays the prices of the step that its length falls in, a step holding lengths up to its end (prices for
    "up to 200,000 tokens" hold at 200,000); its cached part pays ``cached_input``, or ``input`` where the card has no
    such price. It fits where a step holds it and prompt and answer together stay within the context window.
    """
    prompt, cached, answer = (
        column[part] for column in (tasks.input_tokens, tasks.cached_tokens, tasks.output_tokens)
    )  # fmt: skip
    usd, latency, fits = [], [], []
    for offer in offers:
        written = answer * offer.output_ratio
        usd.append(_usd(offer, prompt, cached, written))
        latency.append(latency_s(offer, prompt - cached, written))
        inside = prompt <= offer.prices[-1].max_context_tokens
        fits.append(inside & (prompt + written <= (offer.context_window_tokens or inf)))
    return Grid(np.stack(usd), np.stack(latency), np.stack(fits))


def _usd(
    offer: OfferFacts,
    prompt: Float[np.ndarray, " n"],
    cached: Float[np.ndarray, " n"],
    written: Float[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    ends = np.array([price.max_context_tokens for price in offer.prices])
    step = np.minimum(np.searchsorted(ends, prompt, side="left"), len(ends) - 1)
    new, old, out = (
        np.array(column)[step] / _MTOK
        for column in (
            [price.input for price in offer.prices],
            [price.input if price.cached_input is None else price.cached_input for price in offer.prices],
            [price.output for price in offer.prices],
        )
    )
    return (prompt - cached) * new + cached * old + written * out


def latency_s(
    offer: OfferFacts, new: Float[np.ndarray, " n"], written: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Return the seconds from asking to the whole answer, of ``new`` prompt tokens and ``written`` output tokens."""
    if offer.turnaround_s is not None:
        return np.full(len(new), offer.turnaround_s)
    assert offer.ttft_s is not None  # the loader saw to it
    assert offer.output_tokens_per_s is not None
    return offer.ttft_s + new / (offer.input_tokens_per_s or inf) + written / offer.output_tokens_per_s
