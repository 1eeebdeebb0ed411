"""The layout of kernel constants: a file of its own in `configs/kernels`, or the kernels table of a chip file."""

from .loader import Each, Number, Table, Text

_ANY = Number("the unit in its name", 0.0, 1e30)
_SET = Table(
    {
        "rows": Number("measured rows", 1, 1e9),
        "mdape": Number("fraction", 0.0, 100.0),
        "p90": Number("fraction", 0.0, 100.0),
        "unseen_mdape": Number("fraction", 0.0, 100.0, required=False),
        "software": Text(required=False),
        "value": Each(_ANY),
        "log_standard_error": Each(_ANY),
        "low": Each(_ANY),
        "high": Each(_ANY),
    },
    sourced=False,
)
KERNELS = Table({"set": Each(Each(_SET))}, required=False)
