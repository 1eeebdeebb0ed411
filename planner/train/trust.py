"""How far to trust a training run's numbers: the interval, and where they lean on less than measurement."""

from collections.abc import Mapping
from math import exp
from typing import Any

from configs.architectures import ExpertsFacts, LatentFacts, RecurrentFacts

from ..runs.run import has_experts
from ..runs.training_interval import bounds
from .question import Question
from .space import Way

_MEASURED_CHIPS = 16384  # the largest run among those that profiles were fitted to
_SHORT, _SHORT_TOKENS = "megatron", 16384.0  # other profiles predict runs of up to 131,072 within 10 %
_LONG_TOKENS = 131072.0  # the longest sequences among them
_OFF = 0.005  # of the batch: what is worth a word


def interval(question: Question, rate: float, days: float, usd: float | None) -> dict[str, Any]:
    """Return the 90 % interval of throughput, days and dollars: what is left of measured runs, failures as reported."""
    low, high = bounds(question.trainer, question.chip, question.model, has_experts(question.model))
    slow, fast = exp(-low), exp(-high)
    return {
        "coverage": 0.9,
        "tokens_per_s_per_chip": [rate * exp(low), rate * exp(high)],
        "days": [days * fast, days * slow],
        "usd": None if usd is None else [usd * fast, usd * slow],
        "basis": f"the published runs behind the profile of {question.trainer.name}",
    }


def warnings(question: Question, way: Way | None = None, answer: Mapping[str, Any] | None = None) -> list[str]:
    """Return sentences on what is assumed, extrapolated or not modelled."""
    out = []
    chip, model, trainer = question.chip, question.model, question.trainer
    if question.generic:
        out.append("no such model is known: a typical transformer of that size stands in for it.")
    if not question.trainer_usual:
        out.append(
            f"no training run on {chip.vendor} chips is among those measured: {trainer.name}'s profile stands in."
        )
    elif chip.id not in trainer.chips:
        seen = ", ".join(trainer.chips)
        out.append(
            f"{trainer.name}'s profile was fitted to runs on {seen}, not on {chip.id}: the interval is that of a chip "
            "left out."
        )
    found = question.kernels.sets["gemm"]["bf16"].origin
    if found != chip.id:
        out.append(f"no matrix products were timed on {chip.id}: constants of {found} on its datasheet.")
    kinds = {type(layer.mixer) for layer in model.layers}
    if LatentFacts in kinds:
        out.append(
            "attention over latents (MLA) trains on keys and values as wide as its heads', as other attention does."
        )
    if RecurrentFacts in kinds:
        out.append("recurrent layers are taken to be bound by memory traffic: none was timed.")
    if any(isinstance(layer.feedforward, ExpertsFacts) for layer in model.layers) and question.expert_load == 1.0:
        out.append("experts are taken to be balanced, as published runs force them to be: see --expert-load.")
    if trainer.id == _SHORT and question.sequence_tokens > _SHORT_TOKENS:
        out.append(
            f"of the runs behind the profile of {trainer.name} one alone has more than {_SHORT_TOKENS:.0f} tokens a "
            "sequence (131,072): it is predicted 36 % too fast."
        )
    if question.sequence_tokens > _LONG_TOKENS:
        out.append(f"sequences of more than {_LONG_TOKENS:.0f} tokens were never measured.")
    out += _batch_warnings(question, answer)
    if way is not None and way.chips > _MEASURED_CHIPS:
        out.append(f"runs on more than {_MEASURED_CHIPS:,} chips were never measured: networks there are extrapolated.")
    if way is not None and chip.id not in question.failures.chips:
        out.append(f"failures as on {', '.join(question.failures.chips)}: {question.failures.name}; see --failures.")
    return out


def _batch_warnings(question: Question, answer: Mapping[str, Any] | None) -> list[str]:
    out = []
    asked = question.sequences * question.sequence_tokens
    batch = asked if answer is None else answer["batch_tokens"]
    law = question.batch_law
    if not question.batch_given:
        value = question.tokens if law.variable == "tokens" else 6.0 * question.model.active_params * question.tokens
        out += [law.outside(value)] if law.outside(value) else []
    if abs(batch / asked - 1.0) > _OFF:
        out.append(f"the global batch is {batch:,.0f} tokens, not {asked:,.0f}: whole micro-batches on every copy.")
    critical, facts = question.critical_batch_tokens()
    if batch > critical:
        more = f"{100 * batch / critical:.0f} % more tokens than small batches"
        out.append(
            f"a batch of {batch / 1e6:.3g}M tokens is beyond the critical {critical / 1e6:.3g}M of {facts.id}: {more}."
        )
    return out
