"""The question of one training run, resolved against the shipped facts and turned into plain numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from math import log2, prod, sqrt
from typing import Any

import configs

from ..estimate.question import Question as Served
from ..estimate.question import model_asked
from ..model.numbers import decoder_numbers
from ..runs.constants import kernels
from ..serving.formats import training_recipe
from ..serving.numbers import device_numbers
from .asked import Asked, served
from .ways import check

TRAINER = "megatron"  # where a chip's vendor has none of its own
BATCH_LAW, CRITICAL_LAW = "step-law-2025", "zhang-2024"
FAILURES = "llama-3"
# What that report does not say: Meta's research clusters take 5 to 20 minutes to restart (configs/failures/meta-rsc-1),
# of which this is the geometric middle, as it is of what other reports say.
RESTART_S = 600.0
SEQUENCE_TOKENS = 8192.0  # Llama 3 and DeepSeek-V3 pre-train on 8k and 4k, their long-context stages come after
WAYS = ("tp", "pp", "vp", "cp", "ep", "micro_batch")
_RATES = ("hbm_bytes_per_s", "link_bytes_per_s", "scale_out_bytes_per_s")
_NEVER_S = 1e30  # between planned stops where none are reported


@dataclass(frozen=True)
class Question:
    """One run: a model, chips, tokens and how it is trained. ``ways`` holds what of the layout was given.

    ``chips`` or ``days`` may be None, not both. ``sequences`` is the global batch asked for; ``batch_given`` says
    whether it was, or a batch law's. ``recomputed`` is below 0 where memory is to decide. ``usd_per_hour`` is the
    price of a chip, None without any. ``rollouts`` and ``served`` are what is asked of reinforcement learning and of
    serving, None where nothing is.
    """

    model: configs.ModelFacts
    generic: bool
    chip: configs.ChipFacts
    trainer: configs.TrainerFacts
    trainer_usual: bool
    precision: str
    tokens: float
    chips: int | None
    days: float | None
    sequence_tokens: float
    sequences: float
    batch_given: bool
    batch_law: configs.BatchLawFacts
    ways: Mapping[str, int]
    sharding: str | None
    schedule: str
    recomputed: float
    reversible: bool
    overlapped: bool
    expert_load: float
    failures: configs.FailureFacts
    usd_per_hour: float | None
    price_basis: str
    pue: float
    rollouts: Asked | None = None
    served: Served | None = None

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> "Question":
        """Resolve settings by name, flags of `train` with underscores, values in their own units.

        Raises:
            configs.ConfigError: one sentence that names the flag, its value and what is allowed.
        """
        asked = {k: v for k, v in asked.items() if v is not None}
        model, generic = model_asked(asked)
        chip = configs.load_chip(asked["chip"])
        trainer, usual = _trainer(asked, chip)
        precision = asked.get("precision", "bf16")
        if precision not in chip.peak_flops_per_s:
            native = ", ".join(chip.peak_flops_per_s)
            raise configs.ConfigError(
                f"--precision '{precision}' has no matrix units on chip '{chip.id}', which has {native}"
            )
        sequence = float(asked.get("sequence_tokens", SEQUENCE_TOKENS))
        law = configs.load_batch_law(asked.get("batch_law", BATCH_LAW))
        batch = asked.get("batch_tokens")
        if batch is not None and batch < sequence:
            raise configs.ConfigError(
                f"--batch-tokens = {batch:g} must be at least --sequence-tokens = {sequence:g}: one sequence"
            )
        if batch is not None and batch > asked["tokens"]:
            raise configs.ConfigError(
                f"--batch-tokens = {batch:g} must not exceed --tokens = {asked['tokens']:g}: a step at least"
            )
        lawful = min(_usual_batch(law, model, asked["tokens"]), asked["tokens"])
        sequences = (lawful if batch is None else batch) / sequence
        ways = {name: int(asked[name]) for name in WAYS if name in asked}
        check(model, ways, asked, sequence, sequences)
        usd, basis = _price(asked, chip)
        rollouts = Asked.of(asked)
        return cls(
            model=model,
            generic=generic,
            chip=chip,
            trainer=trainer,
            trainer_usual=usual,
            precision=precision,
            tokens=float(asked["tokens"]),
            chips=int(asked["chips"]) if "chips" in asked else None,
            days=asked.get("days"),
            sequence_tokens=sequence,
            # By habit and for layouts to divide it: a power of two.
            sequences=2.0 ** round(log2(max(sequences, 1.0))) if batch is None else sequences,
            batch_given=batch is not None,
            batch_law=law,
            ways=ways,
            sharding=asked.get("sharding"),
            schedule=asked.get("schedule", "1f1b"),
            recomputed=asked.get("recompute", -1.0),
            reversible=bool(asked.get("reversible", False)),
            overlapped=bool(asked.get("overlap", False)),
            expert_load=asked.get("expert_load", 1.0),
            failures=configs.load_failures(asked.get("failures", FAILURES)),
            usd_per_hour=usd,
            price_basis=basis,
            pue=asked.get("pue", configs.load_electricity().pue),
            rollouts=rollouts,
            served=served(asked, chip, rollouts) if rollouts else None,
        )

    @cached_property
    def kernels(self) -> configs.KernelFacts:
        """Return the kernel constants that the chip trains on."""
        return kernels(self.chip, configs.load_engine(self.trainer.kernels_like))

    def numbers(self) -> dict[str, Any]:
        """Return the question, all but its layout and chips, as the nested dict that compiled programs take."""
        return self._numbers

    @cached_property
    def _numbers(self) -> dict[str, Any]:
        engine, chip, failures = configs.load_engine(self.trainer.kernels_like), self.chip, self.failures
        device = device_numbers(chip, self.kernels, engine, training_recipe(self.precision), closed=False)
        rates = {name: device[name] for name in _RATES}  # as kernels meet them: some slices go out over PCIe
        return {
            "model": decoder_numbers(self.model),
            "params": self.model.params,
            "device": device,
            "chip": {
                **rates,
                "hbm_bytes": chip.visible_bytes,
                "wide_flops_per_s": chip.peak_flops_per_s["bf16"],
                "narrow_flops_per_s": chip.peak_flops_per_s[self.precision],
            },
            "trainer": dict(self.trainer.profile),
            "tokens": self.tokens,
            "sequence_tokens": self.sequence_tokens,
            "sequences": self.sequences,
            "expert_load": self.expert_load,
            "recomputed": self.recomputed,
            "reversible": float(self.reversible),
            "overlapped": float(self.overlapped),
            "narrow": float(self.precision != "bf16"),
            "older": float(chip.id in self.trainer.older_attention_on),
            "bill": {
                "chip_mtbf_s": failures.chip_mtbf_s,
                "restart_s": RESTART_S if failures.restart_s is None else sqrt(prod(failures.restart_s)),
                "planned_s": failures.planned_s or _NEVER_S,
                "store_bytes_per_s_per_chip": store_bytes_per_s_per_chip(),
                "usd_per_chip_s": (self.usd_per_hour or 0.0) / configs.HOUR_S,
                "power_w": chip.power_w,
                "pue": self.pue,
            },
        }

    def critical_batch_tokens(self) -> tuple[float, configs.BatchLawFacts]:
        """Return the batch beyond which more chips stop helping, and its law: tokens and steps twice their least."""
        facts = configs.load_batch_law(CRITICAL_LAW)
        assert facts.extra_tokens_fraction is not None
        return facts.batch_tokens(self.tokens) / facts.extra_tokens_fraction, facts

    def with_chips(self, chips: int) -> "Question":
        """Return the same question on another number of chips."""
        return replace(self, chips=chips, days=None)


def store_bytes_per_s_per_chip() -> float:
    """Return what checkpoints are written at, per chip: Llama 3's store over its chips."""
    facts = configs.load_failures(FAILURES)
    store, chips = facts.storage_bytes_per_s, facts.tables["interruptions"]["chips"]
    assert store is not None
    return store / chips


def _usual_batch(law: configs.BatchLawFacts, model: configs.ModelFacts, tokens: float) -> float:
    """Return the tokens of a global batch by ``law``, which speaks of tokens or of FLOPs."""
    if law.variable == "loss":
        raise configs.ConfigError(
            f"--batch-law '{law.id}' speaks of a loss, which a run does not state: give --batch-tokens, or another law"
        )
    variable = tokens if law.variable == "tokens" else 6.0 * model.active_params * tokens
    return law.batch_tokens(variable)


@cache
def _trainers() -> tuple[configs.TrainerFacts, ...]:
    """Return the shipped profiles, the one first that stands in where a vendor has none."""
    return tuple(configs.load_trainer(name) for name in (TRAINER, *configs.ids("trainers")))


def _trainer(asked: Mapping[str, Any], chip: configs.ChipFacts) -> tuple[configs.TrainerFacts, bool]:
    """Return the trainer's profile, and whether it is meant for the vendor's chips."""
    if "trainer" in asked:
        facts = configs.load_trainer(asked["trainer"])
        return facts, chip.vendor in facts.vendors
    known = _trainers()
    able = [facts for facts in known if chip.vendor in facts.vendors]
    return (able or known)[0], bool(able)


def _price(asked: Mapping[str, Any], chip: configs.ChipFacts) -> tuple[float | None, str]:
    if "chip_usd_per_hour" in asked and "price_mode" in asked:
        raise configs.ConfigError("--price-mode and --chip-usd-per-hour exclude each other: your own price has no mode")
    if "chip_usd_per_hour" in asked:
        return float(asked["chip_usd_per_hour"]), "given"
    if "price" not in chip.tables and "price_mode" not in asked:
        return None, "no price is known: give --chip-usd-per-hour"
    price = chip.tables.get("price", {})
    usd = configs.price_of(chip, asked.get("price_mode"))
    mode = asked.get("price_mode") or price["mode"]
    row = price if price["mode"] == mode else price.get("others", {}).get(mode, price)
    return usd, f"{mode}, {row.get('provider', row['source'])}"
