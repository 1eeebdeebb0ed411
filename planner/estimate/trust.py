"""How far to trust an estimate: its interval, and where it leans on less than measurement."""

from typing import Any

from configs.architectures import ExpertsFacts, LatentFacts, RecurrentFacts

from ..runs.interval import interval as interval_of
from .point import Point
from .question import Question

_MOST_STAGES = 8  # of the pipelines among the runs that profiles were fitted to


def interval(question: Question, point: Point) -> dict[str, Any]:
    """Return the 90 % interval of time per token, time to the first one, and throughput, with its basis."""
    input_tokens, _, output_tokens = question.lengths
    out: dict[str, Any] = {"coverage": 0.9}
    for name in ("tpot_s", "ttft_s", "output_tokens_per_s"):
        found = interval_of(
            question.engine, question.chip, question.model, name, input_tokens, output_tokens, point.batch,
            open_loop=question.load == "rate",
        )  # fmt: skip
        # At a request rate that is kept up, throughput is what was asked for: nothing is left to be unsure of.
        sure = question.load == "rate" and name == "output_tokens_per_s"
        value = question.amount * output_tokens if sure else point.at(name)
        out[name] = [value, value] if sure else list(found.of(value))
        out["basis"] = found.basis
    return out


def warnings(question: Question, point: Point) -> list[str]:
    """Return sentences on what is assumed, extrapolated or not modelled."""
    out = []
    chip, engine, how = question.chip, question.engine, question.recipe
    if question.generic:
        out.append("no such model is known: a typical transformer of that size stands in for it.")
    sets = question.kernels.sets
    for family, name, what in (
        ("gemm", how.dense, "matrix products"),
        ("attention_decode", how.kv, "decode attention"),
        ("moe", how.experts, "experts"),
    ):
        if family == "moe" and not _some(question, ExpertsFacts):
            continue
        found = sets[family].get(name)
        if found is None:
            out.append(f"no {what} in {name} were timed: bf16 kernels at the format's own peak and bytes stand in.")
        elif found.origin != chip.id:
            out.append(f"no {what} were timed on {chip.id}: constants of {found.origin} on its datasheet.")
    if _some(question, LatentFacts):
        out.append("attention over latents (MLA) was not timed: FlashMLA's published rates are taken.")
    if _some(question, RecurrentFacts):
        out.append("recurrent layers are taken to be bound by memory traffic: none was timed.")
    layers, stages = sum(x.count for x in question.model.layers), point.split.pp
    if layers % stages:
        fullest = -(-layers // stages) * stages / layers - 1.0
        out.append(f"{layers:g} layers on {stages} stages: the fullest holds {100 * fullest:.0f} % more than reckoned.")
    if stages > _MOST_STAGES:
        out.append(f"pipelines of more than {_MOST_STAGES} stages were never measured: host work is extrapolated.")
    if any(x.mixer.index_topk > 0 for x in question.model.layers if isinstance(x.mixer, LatentFacts)):
        out.append("the sparse indexer is counted while decoding, not for prompts: long ones take longer than said.")
    if question.speculation:
        out.append("drafts add their kernels, but no launches of their own, weights or cache: a little too quick.")
    if point.split.dp > 1:
        out.append("a prompt's work is spread over the copies of attention: its first token comes later than said.")
    if chip.id not in engine.chips:
        out.append(f"{engine.name} was not fitted on {chip.id}: the interval is that of chips left out of a fit.")
    if point.split.chips > chip.domain_chips:
        out.append("the replica spans scale-up domains: network time beyond one is arithmetic, never timed.")
    if question.load == "concurrency" and question.amount > point.cap:
        out.append(f"{question.amount:,.0f} requests in flight do not fit: {point.cap:,.0f} run, the rest wait.")
    broken = [n for n, limit in question.limits.items() if point.at(n) > limit * (1.0 + 1e-6)]
    for name in broken if point.batch > 1.0 else ():
        flag = name.removesuffix("_s")
        out.append(f"at this load {flag.upper()} is {1e3 * point.at(name):.3g} ms: above --{flag}-ms.")
    return out


def _some(question: Question, kind: type) -> bool:
    return any(isinstance(x.mixer, kind) or isinstance(x.feedforward, kind) for x in question.model.layers)
