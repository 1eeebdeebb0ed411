"""An estimate's question: what was asked, resolved against the facts, and turned into plain numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import configs

from ..model.generic import generic_model
from ..model.numbers import decoder_numbers
from ..runs.constants import kernels
from ..serving.formats import KV_BYTES, RECIPES, Recipe
from ..serving.numbers import device_numbers, energy_numbers, engine_numbers, recipe_of
from .layouts import Split, check, layouts
from .meter import Meter

LENGTHS = {"input_tokens": 1024.0, "output_tokens": 1024.0, "cached_tokens": 0.0}
PRECISIONS = tuple(name for name in RECIPES if name not in ("fp8_block", "mxfp4"))
_LOADS = ("batch", "concurrency", "request_rate")
# The default engine by who makes the chip; TensorRT-LLM's profile is the one with most runs behind it.


@dataclass(frozen=True)
class Question:
    """One model on ``chips`` chips. ``splits`` are the layouts considered: the one given, or all that are possible.

    ``load`` says what keeps sequences in flight: a batch, a concurrency, a request_rate per second, or saturation.
    """

    model: configs.ModelFacts
    chip: configs.ChipFacts
    engine: configs.EngineFacts
    chips: int
    splits: tuple[Split, ...]
    split_given: bool
    precision: str
    recipe: Recipe
    lengths: tuple[float, float, float]
    load: str
    amount: float
    limits: Mapping[str, float]
    speculation: tuple[float, float] | None
    disaggregated: bool
    usd_per_hour: float | None
    price_given: bool
    meter: Meter
    generic: bool

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> "Question":
        """Resolve flags, named as on the command line with underscores, values in their own units.

        Raises:
            configs.ConfigError: one sentence that names the flag, its value and what is allowed.
        """
        asked = {k: v for k, v in asked.items() if v is not None}
        model, generic = model_asked(asked)
        if "chip" not in asked:
            raise configs.ConfigError("--chip is missing: give it, for instance h100-sxm (list chips shows all)")
        chip = configs.load_chip(asked["chip"])
        engine = configs.load_engine(asked.get("engine") or configs.usual_engine(chip.vendor))
        precision, recipe = _precision(asked, chip, engine, model)
        load, amount = _load(asked)
        chips = _chips(asked)
        given = {k: int(asked[k]) for k in ("tp", "pp", "dp", "ep") if k in asked}
        if given:
            splits = (check(model, chips, given),)
            chips = splits[0].chips
        else:
            splits = layouts(model, chip, chips or 1)
            if not splits:
                raise configs.ConfigError(_no_layout(model, chip, chips or 1))
        lengths = tuple(float(asked.get(k, default)) for k, default in LENGTHS.items())
        input_tokens, output_tokens, cached_tokens = lengths
        if cached_tokens >= input_tokens:
            raise configs.ConfigError(
                f"--cached-tokens = {cached_tokens:g} must be below --input-tokens = {input_tokens:g}: the last token "
                "of a prompt is always computed"
            )
        price = asked.get("chip_usd_per_hour", chip.usd_per_hour)
        return cls(
            model=model,
            chip=chip,
            engine=engine,
            chips=chips or 1,
            splits=splits,
            split_given=bool(given),
            precision=precision,
            recipe=recipe,
            lengths=(input_tokens, cached_tokens, output_tokens),
            load=load,
            amount=amount,
            limits={k.removesuffix("_ms") + "_s": asked[k] / 1e3 for k in ("tpot_ms", "ttft_ms") if k in asked},
            speculation=_speculation(asked),
            disaggregated=bool(asked.get("disaggregated", False)),
            usd_per_hour=price,
            price_given="chip_usd_per_hour" in asked,
            meter=Meter.of(asked),
            generic=generic,
        )

    @cached_property
    def kernels(self) -> configs.KernelFacts:
        """Return the kernel constants that the chip runs on."""
        return kernels(self.chip, self.engine)

    def numbers(self, closed: bool = False) -> dict[str, Any]:
        """Return the question, all but its layout and batches, as the nested dict that compiled programs take."""
        out = {
            "model": decoder_numbers(self.model),
            "device": device_numbers(self.chip, self.kernels, self.engine, self.recipe, closed),
            "engine": engine_numbers(self.engine),
            "hbm_bytes": self.chip.visible_bytes,
            "lengths": list(self.lengths),
            "energy": energy_numbers(self.chip, self.recipe),
        }
        if self.speculation:
            out["speculation"] = {"drafts": self.speculation[0], "tokens_per_step": self.speculation[1]}
        return out

    def with_chips(self, chips: int) -> "Question":
        """Return the same question on another number of chips, any layout."""
        return replace(self, chips=chips, splits=layouts(self.model, self.chip, chips), split_given=False)


def model_asked(asked: Mapping[str, Any]) -> tuple[configs.ModelFacts, bool]:
    """Return the model that ``model`` names or ``params`` describe, and whether it is a typical one of that size.

    Raises:
        configs.ConfigError: none or both of the two, a bad name, or sizes that do not go together.
    """
    if "model" in asked and "params" in asked:
        raise configs.ConfigError("--model and --params exclude each other: a model has its own size")
    if "model" in asked:
        return configs.load_model(asked["model"]), False
    if "params" not in asked:
        raise configs.ConfigError(
            "--model is missing: give it, for instance llama-3.3-70b (list models shows all), a config.json, or "
            "--params for a typical model of a size"
        )
    active = asked.get("active_params", asked["params"])
    if active > asked["params"]:
        raise configs.ConfigError(
            f"--active-params = {active:g} must not exceed --params = {asked['params']:g}: a token uses a part of all"
        )
    return generic_model(f"typical {_size(asked['params'])}", asked["params"], active), True


def _precision(
    asked: Mapping[str, Any], chip: configs.ChipFacts, engine: configs.EngineFacts, model: configs.ModelFacts
) -> tuple[str, Recipe]:
    native = chip.peak_flops_per_s
    # Without a word on it: the format the weights are published in, else the narrowest that is common practice.
    precision = asked.get("precision")
    if precision is None:
        published = {"mxfp4": "fp4", "nvfp4": "fp4"}.get(model.weights or "", model.weights)
        common = "fp8" if "fp8" in native else "bf16"
        default = published or common
        needs_none = default == "int4" or model.weights == "mxfp4"  # weights alone are narrow
        precision = default if default in native or needs_none else common
    if precision not in PRECISIONS:
        hint = configs.nearest(precision, PRECISIONS)
        raise configs.ConfigError(
            f"--precision '{configs.shown(precision)}' must be one of {', '.join(PRECISIONS)}{hint}"
        )
    recipe = recipe_of(model, precision)
    needs = {"fp8": "fp8", "int8": "int8", "fp4": "fp4"}.get(precision)
    weight_only = recipe.experts == "w4a16_mxfp4"
    if needs and needs not in native and not weight_only:
        able = ", ".join([*native, "int4"])
        raise configs.ConfigError(
            f"--precision '{precision}' has no matrix units on chip '{chip.id}', which has {able}"
        )
    kv = asked.get("kv_precision")
    if kv is None:
        kv = "bf16" if engine.kernels["kv"] == "bf16" else recipe.kv
    if kv not in KV_BYTES:
        raise configs.ConfigError(
            f"--kv-precision '{configs.shown(kv)}' must be one of {', '.join(KV_BYTES)}{configs.nearest(kv, KV_BYTES)}"
        )
    return precision, recipe._replace(kv=kv)


def _load(asked: Mapping[str, Any]) -> tuple[str, float]:
    given = [name for name in _LOADS if name in asked]
    if len(given) > 1:
        flags = " and ".join("--" + name.replace("_", "-") for name in given)
        raise configs.ConfigError(f"{flags} exclude each other: say one way how much is in flight")
    if not given:
        return "saturated", 0.0
    return {"request_rate": "rate"}.get(given[0], given[0]), float(asked[given[0]])


def _no_layout(model: configs.ModelFacts, chip: configs.ChipFacts, chips: int) -> str:
    near = [next(n for n in range(chips, 0, -1) if layouts(model, chip, n))]
    near += [n for n in range(chips + 1, 2 * chips) if layouts(model, chip, n)][:1]
    return (
        f"--chips = {chips}: no layout splits {model.name} so many ways; {' or '.join(map(str, near))} "
        "would do, or give --tp, --pp and --dp"
    )


def _chips(asked: Mapping[str, Any]) -> int | None:
    if "chips" not in asked:
        return None
    chips = asked["chips"]
    if chips != round(chips) or chips < 1:
        raise configs.ConfigError(f"--chips = {chips:g} must be a whole number of chips, at least 1")
    return int(chips)


def _speculation(asked: Mapping[str, Any]) -> tuple[float, float] | None:
    drafts, accepted = asked.get("draft_tokens"), asked.get("accept_tokens")
    if drafts is None and accepted is None:
        return None
    if drafts is None or accepted is None:
        absent = "--draft-tokens" if drafts is None else "--accept-tokens"
        raise configs.ConfigError(f"{absent} is missing: speculation needs tokens drafted and tokens yielded")
    if not 1.0 <= accepted <= drafts + 1.0:
        raise configs.ConfigError(
            f"--accept-tokens = {accepted:g} must be 1 to {drafts + 1:g}: a step yields its own token and at "
            f"most all {drafts:g} drafted ones"
        )
    return float(drafts), float(accepted)


def _size(params: float) -> str:
    scale, unit = next((one for one in ((1e12, "T"), (1e9, "B")) if params >= one[0]), (1e6, "M"))
    return f"{params / scale:g}{unit}"
