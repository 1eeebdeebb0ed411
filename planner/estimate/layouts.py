"""The layouts that a model allows on a number of chips."""

from collections.abc import Mapping
from math import gcd
from typing import NamedTuple

import configs
from configs.architectures import AttentionFacts, ExpertsFacts, LatentFacts


class Split(NamedTuple):
    """Tensor, pipeline, data and expert parallelism of one replica."""

    tp: int
    pp: int
    dp: int
    ep: int

    @property
    def chips(self) -> int:
        """Chips of the replica."""
        return self.tp * self.pp * self.dp


def layouts(model: configs.ModelFacts, chip: configs.ChipFacts, chips: int) -> tuple[Split, ...]:
    """Return every layout of ``chips`` chips: tensor parallelism divides the heads and stays within a scale-up domain,
    pipeline stages hold a layer or more, attention is copied (dp) only where experts are spread over the copies.

    Copies of a whole model are replicas of their own, which add up: they are not layouts.
    """
    heads, experts, layers = heads_of(model), experts_of(model), sum(x.count for x in model.layers)
    out = []
    for pp in _divisors(chips):
        stage = chips // pp
        for tp in _divisors(stage):
            dp = stage // tp
            if pp > layers or heads % tp or tp > max(chip.domain_chips, 8) or (dp > 1 and not experts):
                continue
            for ep in _divisors(stage) if experts else (1,):
                spread = ep == stage or (dp == 1 and ep == 1)
                if spread and (not experts or experts % ep == 0):
                    out.append(Split(tp, pp, dp, ep))
    return tuple(out)


def check(model: configs.ModelFacts, chips: int | None, given: Mapping[str, int]) -> Split:
    """Return the layout that ``given`` states, what is not said filled in: dp takes the chips that tp and pp leave.

    Raises:
        configs.ConfigError: a number below 1, a product that is not ``chips``, or one that does not divide the model.
    """
    for name, value in given.items():
        if value < 1:
            raise configs.ConfigError(f"--{name} = {value} must be a whole number, at least 1")
    heads, experts = heads_of(model), experts_of(model)
    tp, pp, dp = given.get("tp"), given.get("pp", 1), given.get("dp")
    asked = " x ".join(f"--{name} {given[name]}" for name in ("tp", "pp", "dp") if name in given)
    known = (tp or 1) * pp * (dp or 1)
    if chips is not None and (chips % known or (tp is not None and dp is not None and chips != known)):
        raise configs.ConfigError(
            f"{asked} is {known} chips: the product must be --chips {chips}, or divide it where one is left open"
        )
    left = 1 if chips is None else chips // known
    if tp is None:
        tp, left = left, 1
    dp = left if dp is None else dp
    if heads % tp:
        able = [n for n in _divisors(heads) if n <= 64]
        raise configs.ConfigError(
            f"--tp = {tp} does not divide the {heads} attention heads of {model.name}: give one of "
            f"{', '.join(map(str, able))}"
        )
    layers = int(sum(x.count for x in model.layers))
    if pp > layers:
        raise configs.ConfigError(f"--pp = {pp} exceeds the {layers} layers of {model.name}")
    stage = tp * dp
    ep = given.get("ep", stage if experts and dp > 1 and experts % stage == 0 else 1)
    if ep > 1 and not experts:
        raise configs.ConfigError(f"--ep = {ep}: {model.name} has no experts to spread; leave --ep out")
    if stage % ep or (experts and experts % ep):
        able = [n for n in _divisors(stage) if not experts or experts % n == 0]
        raise configs.ConfigError(
            f"--ep = {ep} must divide the {stage} chips of a stage (tp x dp) and the {experts} experts of "
            f"{model.name}: give one of {', '.join(map(str, able))}"
        )
    return Split(tp, pp, dp, ep)


def heads_of(model: configs.ModelFacts) -> int:
    """Return the number that tensor parallelism must divide: attention heads, over all kinds of layers."""
    found = 0
    for layer in model.layers:
        if isinstance(layer.mixer, AttentionFacts | LatentFacts):
            found = gcd(found, int(layer.mixer.heads))
    return found or 1


def experts_of(model: configs.ModelFacts) -> int:
    """Return the number that expert parallelism must divide, 0 for a model without experts."""
    found = 0
    for layer in model.layers:
        if isinstance(layer.feedforward, ExpertsFacts):
            found = gcd(found, int(layer.feedforward.experts))
    return found


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]
