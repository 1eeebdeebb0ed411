"""The forms that laws come in: their coefficients, what tells one from another, and how each is fitted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .chinchilla import ChinchillaLaw
from .kaplan import KaplanLaw
from .law import Conditional, Conditions, Law
from .moe import JointMoELaw, SparsityLaw
from .quantised import PrecisionLaw
from .repeated import RepeatedLaw

Numbers = Mapping[str, Any]


@dataclass(frozen=True)
class Form:
    """One form and how it is fitted.

    Coefficients in ``logs`` are positive and fitted as logarithms, those in ``plain`` as they are; the loss is linear
    in those of ``linear``. ``starts`` lists where fits start for each of the others, ``columns`` what a run must state
    besides parameters, tokens and loss. ``shifts`` say which coefficient takes up a change of the unit of parameters or
    tokens: ln A grows by alpha times ln of the unit. ``terms`` are those of a sum of monomials, each a coefficient and
    then powers by column; None for other forms. ``law`` builds the law from coefficients.
    """

    logs: tuple[str, ...]
    plain: tuple[str, ...]
    linear: tuple[str, ...]
    starts: Mapping[str, tuple[float, ...]]
    shifts: Mapping[str, tuple[tuple[str, float, str], ...]]
    law: Callable[[Numbers], Conditional]
    columns: tuple[str, ...] = ()
    terms: tuple[Mapping[str, tuple[float, str]], ...] | None = None
    said: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the coefficients, in the order of fitted vectors."""
        return (*self.logs, *self.plain)

    def loss(self, coefficients: Numbers, columns: Numbers) -> Any:
        """Return the loss of runs of ``params`` on ``tokens`` and what else ``columns`` hold."""
        conditions = {name: columns[name] for name in self.columns if name != "unique_tokens"}
        given = {**coefficients, **{name: columns[name] for name in self.columns if name == "unique_tokens"}}
        return self.law(given).at(Conditions(**conditions)).loss(columns["params"], columns["tokens"])


_EXPONENTS = (0.12, 0.25, 0.4, 0.6)
_ONE = "one"
_LOG_N, _LOG_D = "log_params", "log_tokens"
_LOG_N_6, _LOG_D_6 = "log_params_6", "log_tokens_6"  # of sqrt(6) N and sqrt(6) D: C^2 = 6 N^2 M
_DENSE_SHIFTS = {"A": (("alpha", 1.0, _LOG_N),), "B": (("beta", 1.0, _LOG_D),)}


def _chinchilla(c: Numbers) -> ChinchillaLaw:
    return ChinchillaLaw(c["E"], c["A"], c["B"], c["alpha"], c["beta"])


def _tied(c: Numbers) -> ChinchillaLaw:
    return ChinchillaLaw(c["E"], c["A"], c["B"], c["alpha"], c["alpha"])


def _gadre(c: Numbers) -> ChinchillaLaw:
    six = 6.0 ** -c["eta"]  # C = 6 N D: M^eta C^-eta = 6^-eta N^-2eta
    return ChinchillaLaw(c["E"], c["a"] * six, c["b"] * six, 2.0 * c["eta"], 2.0 * c["eta"])


def _repeated(c: Numbers) -> RepeatedLaw:
    return RepeatedLaw.of(_chinchilla(c), c["unique_tokens"], c["R_D"], c["R_N"])


def _of(kind: type, names: tuple[str, ...]) -> Callable[[Numbers], Any]:
    return lambda c: kind(**{name: c[name] for name in names})


_MOE = ("a", "b", "c", "alpha", "beta", "gamma", "delta", "omega", "zeta", "E_start", "E_max")
_SPARSE = ("a", "b", "c", "d", "e", "alpha", "beta", "gamma", "delta", "lambda_")
_BITS = ("E", "A", "B", "alpha", "beta", "gamma_w", "n_w", "C_T", "gamma_D", "gamma_N", "gamma_post")

FORMS: Mapping[str, Form] = {
    "chinchilla": Form(
        logs=("E", "A", "B"),
        plain=("alpha", "beta"),
        linear=("E", "A", "B"),
        starts={"alpha": _EXPONENTS, "beta": _EXPONENTS},
        shifts=_DENSE_SHIFTS,
        law=_chinchilla,
        terms=(
            {"E": (1.0, _ONE)},
            {"A": (1.0, _ONE), "alpha": (-1.0, _LOG_N)},
            {"B": (1.0, _ONE), "beta": (-1.0, _LOG_D)},
        ),
        said="E + A / N^alpha + B / D^beta (Hoffmann et al. 2022, arXiv:2203.15556)",
    ),
    "tied": Form(
        logs=("E", "A", "B"),
        plain=("alpha",),
        linear=("E", "A", "B"),
        starts={"alpha": (0.08, *_EXPONENTS)},
        shifts={"A": (("alpha", 1.0, _LOG_N),), "B": (("alpha", 1.0, _LOG_D),)},
        law=_tied,
        terms=(
            {"E": (1.0, _ONE)},
            {"A": (1.0, _ONE), "alpha": (-1.0, _LOG_N)},
            {"B": (1.0, _ONE), "alpha": (-1.0, _LOG_D)},
        ),
        said="E + A / N^alpha + B / D^alpha, one exponent for both",
    ),
    "gadre": Form(
        logs=("E", "a", "b"),
        plain=("eta",),
        linear=("E", "a", "b"),
        starts={"eta": (0.04, *(0.5 * x for x in _EXPONENTS))},
        shifts={"a": (("eta", 2.0, _LOG_N_6),), "b": (("eta", 2.0, _LOG_D_6),)},
        law=_gadre,
        terms=(
            {"E": (1.0, _ONE)},
            {"a": (1.0, _ONE), "eta": (-2.0, _LOG_N_6)},
            {"b": (1.0, _ONE), "eta": (-2.0, _LOG_D_6)},
        ),
        said="E + (a M^eta + b M^-eta) C^-eta, M = D / N, C = 6 N D (Gadre et al. 2024, arXiv:2403.08540)",
    ),
    "kaplan": Form(
        logs=("N_c", "D_c", "alpha_N", "alpha_D"),
        plain=(),
        linear=(),
        starts={
            "alpha_N": (0.05, 0.1, 0.2), "alpha_D": (0.05, 0.1, 0.2), "N_c": (1e10, 1e13, 1e16),
            "D_c": (1e10, 1e13, 1e16),
        },
        shifts={"N_c": ((_ONE, 1.0, _LOG_N),), "D_c": ((_ONE, 1.0, _LOG_D),)},
        law=_of(KaplanLaw, ("N_c", "D_c", "alpha_N", "alpha_D")),
        said="((N_c / N)^(alpha_N / alpha_D) + D_c / D)^alpha_D (Kaplan et al. 2020, arXiv:2001.08361)",
    ),
    "repeated": Form(
        logs=("E", "A", "B", "R_D", "R_N"),
        plain=("alpha", "beta"),
        linear=("E", "A", "B"),
        starts={"alpha": (0.2, 0.35, 0.5), "beta": (0.2, 0.35, 0.5), "R_D": (4.0, 15.0, 60.0), "R_N": (1.5, 6.0)},
        shifts=_DENSE_SHIFTS,
        law=_repeated,
        columns=("unique_tokens",),
        said="Chinchilla in tokens and parameters less what repetition wastes (Muennighoff et al. 2023, "
        "arXiv:2305.16264)",
    ),
    "moe": Form(
        logs=("a", "b", "c", "E_start", "E_max"),
        plain=("alpha", "beta", "gamma", "delta", "omega", "zeta"),
        linear=("a", "b", "c"),
        starts={
            "alpha": (-0.15, -0.3), "beta": (-0.15, -0.3), "gamma": (0.0,), "delta": (-0.2, 0.0), "omega": (0.0, 0.5),
            "zeta": (0.0,), "E_start": (2.0,), "E_max": (300.0,),
        },
        shifts={
            "a": (("alpha", -1.0, _LOG_N),), "b": (("beta", -1.0, _LOG_D),),
            "delta": (("gamma", -1.0, _LOG_N),), "omega": (("zeta", -1.0, _LOG_D),),
        },
        law=_of(JointMoELaw, _MOE),
        columns=("experts",),
        said="a F^delta N^(alpha + gamma ln F) + b F^omega D^(beta + zeta ln F) + c, F of the experts (Ludziejewski et "
        "al. 2025, arXiv:2502.05172)",
    ),
    "sparsity": Form(
        logs=("a", "b", "c", "d", "e"),
        plain=("alpha", "beta", "gamma", "delta", "lambda_"),
        linear=("a", "b", "c", "d", "e"),
        starts={
            "alpha": (0.3, 0.6), "beta": (0.25, 0.45), "gamma": (0.15, 0.3), "delta": (0.0, 0.2),
            "lambda_": (-0.2, 0.1),
        },
        shifts={
            "a": (("alpha", 1.0, _LOG_N),), "b": (("beta", 1.0, _LOG_D),), "d": (("gamma", 1.0, _LOG_N),),
        },
        law=_of(SparsityLaw, _SPARSE),
        columns=("sparsity",),
        said="a / T^alpha + b / D^beta + c s^lambda + d s^delta / T^gamma + e, T = s N total parameters (Abnar et al. "
        "2025, arXiv:2501.12370)",
    ),
    "precision": Form(
        logs=("E", "A", "B", "gamma_w", "C_T", "gamma_post"),
        plain=("alpha", "beta", "n_w", "gamma_D", "gamma_N"),
        linear=("E", "A", "B", "C_T"),
        starts={
            "alpha": (0.3, 0.5), "beta": (0.3, 0.5), "gamma_w": (1.5, 3.0), "n_w": (0.0,), "gamma_D": (0.5,),
            "gamma_N": (0.35,), "gamma_post": (0.6, 1.2),
        },
        shifts={
            **_DENSE_SHIFTS,
            "C_T": (("gamma_D", -1.0, _LOG_D), ("gamma_N", 1.0, _LOG_N)),
        },
        law=_of(PrecisionLaw, _BITS),
        columns=("train_bits", "serve_bits"),
        said="Chinchilla in the parameters that low precision leaves, and what quantising adds (Kumar et al. 2024, "
        "arXiv:2411.04330)",
    ),
}  # fmt: skip


def law_of(coefficients: Numbers, conditions: Conditions | None = None, repetition: Numbers | None = None) -> Law:
    """Return the law of ``coefficients`` under ``conditions``, of N active parameters and D tokens.

    ``repetition`` limits new tokens: ``unique_tokens``, and after how many repetitions they, and excess parameters,
    have lost most of their worth, ``R_D`` and ``R_N``. A law of the form "repeated" brings the last two itself.

    Raises:
        ValueError: no form has these coefficients.
    """
    numbers = dict(coefficients)
    own = {name: numbers.pop(name) for name in ("R_D", "R_N") if name in numbers}
    form = next((f for f in FORMS.values() if set(f.names) == set(numbers)), None)
    if form is None:
        raise ValueError(f"no form has the coefficients {', '.join(coefficients)}")
    law = form.law(numbers).at(conditions or Conditions())
    if repetition is None:
        return law
    decay = own or repetition
    return RepeatedLaw.of(law, repetition["unique_tokens"], decay["R_D"], decay["R_N"])
