"""Where a KV cache can be kept below HBM: host memory, flash, spinning disks, object stores."""

from dataclasses import dataclass
from typing import Any

from .catalog import path_of
from .errors import ConfigError
from .loader import Number, Table, Text, read_toml

_RATE = Number("GB/s (1e9 bytes)", 1e-3, 1e4)
_PRICE = Number("US dollars per hour", 1e-6, 1e5)
_SCHEMA = {
    "name": Text(),
    "capacity": Table({"gb": Number("GB (1e9 bytes)", 1.0, 1e9)}),
    "read": Table({"gb_per_s": _RATE, "low_gb_per_s": _RATE, "high_gb_per_s": _RATE, "binds": Text()}),
    "price": Table({"usd_per_hour": _PRICE, "low_usd_per_hour": _PRICE, "high_usd_per_hour": _PRICE}),
}

USUAL_STORAGE = ("ddr5", "nvme", "disk", "object-store")  # where caches are kept below HBM, unless told otherwise


@dataclass(frozen=True)
class StorageFacts:
    """One device, or one server's share: its bytes, the bytes per second at which a KV cache comes back out of it
    (what binds on the way is said in the file), and the US dollars per hour that renting it costs.

    ``tables`` keeps the file as read, with the lowest and highest plausible rate and price, and their sources.
    """

    id: str
    name: str
    bytes: float
    bytes_per_s: float
    usd_per_hour: float
    tables: dict[str, Any]

    @property
    def drain_s(self) -> float:
        """Seconds to read all of it once: the time for which holding a cache costs as much as fetching it."""
        return self.bytes / self.bytes_per_s


def load_storage(name: str) -> StorageFacts:
    """Load a kind of storage by id or by path to a TOML file of the same layout.

    Raises:
        ConfigError: unknown id, a file that breaks the layout, or a number outside its own low and high.
    """
    path = path_of("storage", name)
    raw = read_toml(path, _SCHEMA)
    for table, key in (("read", "gb_per_s"), ("price", "usd_per_hour")):
        low, value, high = (raw[table][f"{end}{key}"] for end in ("low_", "", "high_"))
        if not low <= value <= high:
            raise ConfigError(f"{path}: {table}.{key} = {value:g} must lie from low_{key} = {low:g} to {high:g}")
    return StorageFacts(
        id=path.stem,
        name=raw["name"],
        bytes=raw["capacity"]["gb"] * 1e9,
        bytes_per_s=raw["read"]["gb_per_s"] * 1e9,
        usd_per_hour=raw["price"]["usd_per_hour"],
        tables=raw,
    )
