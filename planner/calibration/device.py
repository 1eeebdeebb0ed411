"""What is known of the devices present without timing a kernel: their names, memory, cores and caches."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

import configs

_CPU_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


@dataclass(frozen=True)
class Device:
    """The first device and how many there are like it. ``chip`` is the shipped chip of that name, if there is one."""

    kind: str
    backend: str
    count: int
    memory_bytes: float
    cores: float
    cache_bytes: float
    chip: str | None

    @staticmethod
    def present(chip: str | None = None) -> "Device":
        """Return the devices that jax sees; ``chip`` names the datasheet to use instead of the one their name suggests.

        Raises:
            configs.ConfigError: ``chip`` is not known.
        """
        try:
            device = jax.devices()[0]
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0] if str(error) else "none was found"
            raise configs.ConfigError(f"no device to time kernels on: {reason} (JAX_PLATFORMS chooses)") from None
        on_cpu = device.platform == "cpu"
        kind = _cpu_name() if on_cpu else device.device_kind
        name = chip or (None if on_cpu else configs.chip_named(kind))
        facts = configs.load_chip(name) if name else None
        stats = {} if on_cpu else (device.memory_stats() or {})
        memory = float(stats.get("bytes_limit") or (facts.hbm_bytes if facts else _host_bytes()))
        cores = facts.cores if facts else float(_cpu_count() if on_cpu else 1)
        cache = facts.cache_bytes if facts else _cpu_cache_bytes()
        return Device(kind, device.platform, jax.device_count(), memory, cores, cache, name)

    def header(self) -> dict[str, Any]:
        """Return what a log of timings says of where it was taken."""
        return {
            "kind": self.kind,
            "chip": self.chip,
            "backend": self.backend,
            "count": self.count,
            "jax": jax.__version__,
        }


def chip_tables(device: Device, peaks: dict[str, float], bytes_per_s: float, date: str) -> dict[str, Any]:
    """Return a chip file's tables: a shipped chip's own, or for an unknown device what was measured.

    Peaks (FLOP/s by precision) and memory bandwidth of an unknown device are the best it reached; its links and power
    cannot be timed here and are assumed, as the file says.
    """
    if device.chip is not None:
        return configs.load_chip(device.chip).tables
    measured = f"best of the kernels timed by `calibrate` on this device, jax {jax.__version__}"
    guess = {"source": "assumed, not measured: put in what you know", "date": date}
    return {
        "name": device.kind,
        "vendor": device.kind.split()[0] if device.kind else "unknown",
        "class": "workstation",
        "announced": date[:4],
        "peak_tflops": {**{p: _round(v / 1e12) for p, v in peaks.items()}, "source": measured, "date": date},
        "memory": {
            "hbm_gb": _round(device.memory_bytes / 1e9),
            "hbm_gb_per_s": _round(bytes_per_s / 1e9),
            "source": measured,
            "date": date,
            "note": "main memory; the size is the operating system's",
        },
        "cores": {
            "count": device.cores,
            "kind": f"{device.backend} cores",
            "cache_mb": _round(device.cache_bytes / 1e6),
            "source": "the operating system",
            "date": date,
        },
        "scale_up": {"kind": "none", "gb_per_s": 1.25, "domain_chips": 1, **guess},
        "scale_out": {"kind": "10 Gb/s Ethernet", "gb_per_s": 1.25, **guess},
        "power": {"tdp_w": 10.0 * device.cores, "energy": "intel-5nm-gddr6", **guess, "note": "10 W per core"},
    }


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def _cpu_count() -> int:
    """Return the processors this process may use; macOS does not say, there it is all of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine() or "cpu"


def _cpu_cache_bytes() -> float:
    """Return the last-level cache as the system states it; a virtual machine may see its whole host's."""
    sizes = []
    for path in _CPU_CACHES.glob("index*/size"):
        text = path.read_text(encoding="ascii").strip()
        scale = {"K": 1024, "M": 1024**2}.get(text[-1:], 1)
        sizes.append(float(text.rstrip("KM")) * scale)
    return max(sizes, default=32e6)


def _host_bytes() -> float:
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
