"""A calibration run: kernels timed one by one, each written down at once, so that a killed run can go on."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

import configs
from hw import timing

from .device import Device
from .readers import SCHEMA

GRIDS = {
    "quick": (16, 0.005),
    "small": (48, 0.02),
    "standard": (120, 0.05),
    "large": (600, 0.2),
}  # shapes per family, longest kernel in seconds
VISITS = 2
_SAMPLE_S = 0.02
_PROBE_BYTES = 4e8
_PROBE_SIZES = (512, 1024, 2048, 4096, 8192)
_MEMORY_SHARE = 0.1
_NATIVE_GAIN = 1.2  # a format that multiplies no faster than this times bf16 has no unit of its own


class Job(NamedTuple):
    """One visit to one kernel, as columns of a timing table, and what its row says beside the time."""

    family: str
    dtype: str
    shape: dict[str, Any]
    split: str
    visit: int

    def key(self) -> str:
        """Return what tells this job from others in a log."""
        return json.dumps([self.family, self.dtype, self.shape, self.visit], sort_keys=True)


class Log:
    """A file of timings, one JSON object a line, each line on disk before the next kernel starts."""

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        """Open or continue the log.

        Raises:
            configs.ConfigError: the file is another device's or another grid's log, or cannot be written.
        """
        self.path, self.rows, self.done = path, [], {}
        try:
            self._read(header)
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise configs.ConfigError(f"{path}: cannot be used as a log ({error.strerror})") from None
        if not self.rows:
            self.add({"schema": SCHEMA, **header})

    def add(self, row: dict[str, Any]) -> None:
        """Append a row and wait until it is on disk."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._remember(row)

    def _remember(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if "job" in row:
            self.done[row["job"]] = row

    def _read(self, header: dict[str, Any]) -> None:
        if not self.path.exists() or self.path.stat().st_size == 0:
            return
        text = self.path.read_text(encoding="utf-8", errors="replace")
        whole = text[: text.rfind("\n") + 1]  # a kill may have cut the last line short
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise configs.ConfigError(
                    f"{self.path}: line {number} is not a row of timings: give --out another name"
                )
            self._remember(row)
        said = {key: self.rows[0].get(key) for key in header} if self.rows else header
        if said != header:
            raise configs.ConfigError(
                f"{self.path} holds timings of {said.get('device')} ({said.get('grid')} grid), not of "
                f"{header['device']} "
                f"({header['grid']} grid): give --out another name, or remove that file to start again"
            )
        if len(whole) < len(text):
            with self.path.open("r+b") as file:
                file.truncate(len(whole.encode("utf-8", errors="replace")))


class Probes(NamedTuple):
    """The best rates reached: FLOP/s by precision and bytes/s of memory, and why the other precisions were left out."""

    flops_per_s: dict[str, float]
    bytes_per_s: float
    refused: dict[str, str]


def probe(log: Log, device: Device, precisions: list[str], native_only: bool) -> Probes:
    """Return what the device reaches at best, each from the log where it is there, else measured and written to it.

    bf16 is always probed: a chip without it is none. With ``native_only``, formats that are merely emulated (no faster
    than bf16) are left out.

    Raises:
        configs.ConfigError: the device does not multiply in bf16.
    """
    stored = {row["probe"]: row for row in log.rows if "probe" in row}

    def found(name: str, measured: Callable[[], float]) -> dict[str, Any]:
        if name not in stored:
            refused = timing.supports(name) if name in timing.PRECISIONS else None
            stored[name] = {"probe": name, "refused": refused} if refused else {"probe": name, "rate": measured()}
            log.add(stored[name])
        return stored[name]

    elements = int(min(_PROBE_BYTES, 0.05 * device.memory_bytes)) // 8
    memory = found("memory", lambda: 8.0 * elements / _stream_s(device, elements))
    peaks, refused = {}, {}
    for precision in dict.fromkeys(["bf16", *precisions]):
        row = found(precision, lambda precision=precision: max(_gemm_rates(device, precision)))
        if "refused" in row:
            refused[precision] = row["refused"]
        elif native_only and precision != "bf16" and row["rate"] < _NATIVE_GAIN * peaks["bf16"]:
            refused[precision] = "it multiplies no faster than bf16 here"
        else:
            peaks[precision] = row["rate"]
        if precision == "bf16" and refused:
            raise configs.ConfigError(f"{device.kind} does not multiply in bf16: {refused['bf16']}")
    return Probes(peaks, memory["rate"], refused)


def _stream_s(device: Device, elements: int) -> float:
    work = timing.stream(elements)
    return timing.measure(work, device.cache_bytes, device.memory_bytes, _SAMPLE_S).seconds


def _gemm_rates(device: Device, precision: str) -> Iterator[float]:
    """Yield FLOP/s of ever larger square multiplications, until one takes a quarter of a second."""
    for size in _PROBE_SIZES:
        shape = {"m": size, "n": size, "k": size}
        took = timing.measure(timing.work("gemm", precision, shape), 0.0, device.memory_bytes, _SAMPLE_S)
        yield 2.0 * size**3 / took.seconds
        if took.seconds > 0.25:
            return


def jobs(device: Device, probes: Probes, grid: str, families: list[str], precisions: list[str]) -> list[Job]:
    """Return the designed grid within the device's time and memory; every fifth shape is held out of the fit.

    The whole grid comes twice, so that a neighbour's burst of work, which can last seconds and doubles times on a
    shared machine, rarely meets a kernel on both visits: the fit takes the quicker one.
    """
    count, longest_s = GRIDS[grid]
    out = []
    for family in families:
        formats = [p for p in precisions if p in probes.flops_per_s] if family == "gemm" else ["bf16"]
        for precision in formats:
            limits = timing.Limits(
                longest_s * probes.flops_per_s[precision],
                min(_MEMORY_SHARE * device.memory_bytes, longest_s * probes.bytes_per_s),
                device.count,
            )
            for number, shape in enumerate(timing.shapes(family, count, limits)):
                split = "heldout" if timing.held_out(number) else "fit"
                out.append(Job(family, precision, shape, split, 0))
    return [job._replace(visit=visit) for visit in range(VISITS) for job in out]


def take(log: Log, device: Device, todo: list[Job], tick: Callable[[str], None]) -> list[str]:
    """Time every job that the log does not have yet; return a sentence on each that could not be timed."""
    skipped = []
    for job in todo:
        tick(f"{job.family} {job.dtype}")
        row = log.done.get(job.key()) or _timed(log, device, job)
        if "skipped" in row and job.visit == 0:
            what = " ".join(f"{k} {v}" for k, v in job.shape.items())
            skipped.append(f"{job.family} {job.dtype} {what} skipped: {row['skipped']}.")
    return skipped


def _timed(log: Log, device: Device, job: Job) -> dict[str, Any]:
    row: dict[str, Any] = {"job": job.key(), "family": job.family, "dtype": job.dtype, "kv_dtype": job.dtype}
    row |= {**job.shape, "split": job.split, "framework": "jax", "framework_version": jax.__version__}
    kernel = timing.work(job.family, job.dtype, job.shape)
    try:
        row |= timing.measure(kernel, device.cache_bytes, device.memory_bytes, _SAMPLE_S)._asdict()
    except timing.OutOfMemoryError as error:
        row["skipped"] = f"out of memory, {error}"
    except (RuntimeError, ValueError) as error:  # compilers refuse while they run, attention libraries while they trace
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        row["skipped"] = f"refused by the backend, {reason}"
    log.add(row)
    return row
