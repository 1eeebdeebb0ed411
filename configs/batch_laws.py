"""Published laws of the batch: how many tokens a step can use, by loss, training tokens or training FLOPs."""

from dataclasses import dataclass
from typing import Any

from .catalog import path_of
from .errors import ConfigError
from .loader import Number, Table, Text, read_toml

VARIABLES = ("loss", "tokens", "flops")
_WORDS = {"loss": "a loss of {:.4g} nats", "tokens": "{:.3g} training tokens", "flops": "{:.3g} training FLOPs"}
_SCHEMA = {
    "name": Text(),
    "kind": Text(("critical", "optimal")),
    "variable": Text(VARIABLES),
    "coefficients": Table(
        {
            "coefficient": Number("batch at one unit of the variable", 1e-12, 1e12),
            "exponent": Number("dimensionless exponent", -20.0, 5.0),
            "batch_unit_tokens": Number("tokens in what the batch is counted in", 1.0, 1e6),
            "variable_unit": Number("nats, tokens or FLOPs in what the variable is counted in", 1.0, 1e24),
            "extra_tokens_fraction": Number(
                "fraction of tokens more than small batches need", 1e-3, 10.0, required=False
            ),
        }
    ),
    "valid": Table(
        {
            "min": Number("nats, tokens or FLOPs", 0.1, 1e30),
            "max": Number("nats, tokens or FLOPs", 0.1, 1e30),
        }
    ),
    "conventions": Text(),
    "caveat": Text(required=False),
}


@dataclass(frozen=True)
class BatchLawFacts:
    """One law, batch in tokens = ``coefficient`` * variable ^ ``exponent``, in nats, tokens or FLOPs as they are.

    A ``critical`` law says at which batch a run needs ``extra_tokens_fraction`` more tokens than with small batches; an
    ``optimal`` one which batch reaches the lowest loss with given tokens, and has no such fraction (None).
    ``valid`` spans the variable over the runs behind the law.
    """

    id: str
    name: str
    kind: str
    variable: str
    coefficient: float
    exponent: float
    extra_tokens_fraction: float | None
    valid: tuple[float, float]
    conventions: str
    caveat: str
    tables: dict[str, Any]

    def batch_tokens(self, variable: float) -> float:
        """Return the law's batch in tokens: the best one of an optimal law, or where a critical law draws its line."""
        return self.coefficient * variable**self.exponent

    def outside(self, value: float) -> str:
        """Return a sentence if ``value``, in the law's variable, lies outside the runs behind the law, else nothing."""
        low, high = self.valid
        if low <= value <= high:
            return ""
        edge, bound = ("above", high) if value > high else ("below", low)
        what = _WORDS[self.variable].format(value)
        return f"{what} is {edge} the fitted range of batch law {self.id} ({bound:.3g}): the law extrapolates."


def load_batch_law(name: str) -> BatchLawFacts:
    """Load a law by id or by path to a TOML file of the same layout.

    Raises:
        ConfigError: unknown id, a file that breaks the layout, or one whose numbers contradict each other.
    """
    path = path_of("batch_laws", name)
    raw = read_toml(path, _SCHEMA)
    c, valid = raw["coefficients"], raw["valid"]
    extra, exponent = c.get("extra_tokens_fraction"), c["exponent"]
    if (extra is None) == (raw["kind"] == "critical"):
        rule = "is missing: a critical" if extra is None else f"= {extra:g} must be left out: an optimal"
        says = "says what its batch costs" if extra is None else "states no price"
        raise ConfigError(f"{path}: coefficients.extra_tokens_fraction {rule} batch law {says}")
    if exponent == 0.0 or (exponent < 0.0) != (raw["variable"] == "loss"):
        way = (
            "below 0: batches grow as the loss falls" if raw["variable"] == "loss" else "above 0: batches grow with it"
        )
        raise ConfigError(
            f"{path}: coefficients.exponent = {exponent:g} must, with variable '{raw['variable']}', be {way}"
        )
    if valid["min"] >= valid["max"]:
        raise ConfigError(f"{path}: valid.min = {valid['min']:g} must be below valid.max = {valid['max']:g}")
    return BatchLawFacts(
        id=path.stem,
        name=raw["name"],
        kind=raw["kind"],
        variable=raw["variable"],
        coefficient=c["batch_unit_tokens"] * c["coefficient"] * c["variable_unit"] ** -exponent,
        exponent=exponent,
        extra_tokens_fraction=extra,
        valid=(valid["min"], valid["max"]),
        conventions=raw["conventions"],
        caveat=raw.get("caveat", ""),
        tables=raw,
    )
