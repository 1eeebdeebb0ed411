"""The layout of kernel constants: a file of its own in `configs/kernels`, or the kernels table of a chip file.

A set is fitted to timings, or derived: put together from datasheets and published rates, no kernel timed. A derived
one has no rows, errors or ranges, and says in its notes where each number comes from.
"""

from .loader import Each, Number, Table, Text

_ANY = Number("the unit in its name", 0.0, 1e30)
_SET = Table(
    {
        "basis": Text(("timed", "derived"), required=False),
        "rows": Number("measured rows", 1, 1e9, required=False),
        "mdape": Number("fraction", 0.0, 100.0, required=False),
        "p90": Number("fraction", 0.0, 100.0, required=False),
        "unseen_mdape": Number("fraction", 0.0, 100.0, required=False),
        "software": Text(required=False),
        "note": Text(required=False),
        "value": Each(_ANY),
        "log_standard_error": Each(_ANY, required=False),
        "low": Each(_ANY, required=False),
        "high": Each(_ANY, required=False),
    },
    sourced=False,
)
KERNELS = Table({"set": Each(Each(_SET))}, required=False)
