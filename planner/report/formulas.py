"""Laws as formulas: with their coefficients' names, or with numbers."""

from collections.abc import Mapping

# N parameters, D tokens, C = 6 N D; N' and D' what is left of them after repetition or low precision; F experts that
# count, T total parameters, s total over active parameters, P bits.
_FORMULAS = {
    "chinchilla": "{E} + {A} / N^{alpha} + {B} / D^{beta}",
    "tied": "{E} + {A} / N^{alpha} + {B} / D^{alpha}",
    "gadre": "{E} + ({a} M^{eta} + {b} / M^{eta}) / C^{eta}, M = D / N",
    "kaplan": "(({N_c} / N)^({alpha_N} / {alpha_D}) + {D_c} / D)^{alpha_D}",
    "repeated": "{E} + {A} / N'^{alpha} + {B} / D'^{beta}, R_D = {R_D}, R_N = {R_N}",
    "moe": "{a} F^{delta} N^({alpha} + {gamma} ln F) + {b} F^{omega} D^({beta} + {zeta} ln F) + {c}, F from {E_start} "
    "to {E_max}",
    "sparsity": "{e} + {a} / T^{alpha} + {b} / D^{beta} + {c} s^{lambda_} + {d} s^{delta} / T^{gamma}",
    "precision": "{E} + {A} / N'^{alpha} + {B} / D^{beta} + {C_T} D^{gamma_D} / N'^{gamma_N} e^(-P / {gamma_post}), "
    "N' = N (1 - e^({n_w} - P / {gamma_w}))",
}
SYMBOLS = (
    "N (active) parameters, D training tokens, C = 6 N D; N' and D' what repetition or few bits leave of them; F "
    "experts that count, T total parameters, s total over active ones, P bits of a weight."
)


def formula(form: str, coefficients: Mapping[str, float | None]) -> str:
    """Return the loss under a law as text, four digits of each coefficient."""
    text = _FORMULAS[form].format(**{n: "?" if v is None else f"{v:.4g}" for n, v in coefficients.items()})
    return text.replace("e+0", "e").replace("e+", "e").replace("+ -", "- ")
