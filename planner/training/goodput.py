"""What interruptions leave of a run: checkpoints, restarts, and the useful share of wall-clock time."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from hw import Scalar

_NEWTON_STEPS = 8  # from the right of a convex function's root: quadratic from the start


def young_interval_s(stall_s: Scalar, mtbf_s: Scalar) -> Scalar:
    """Return seconds of work between checkpoints, to first order: sqrt(2 delta M) (Young 1974, CACM 17(9))."""
    return jnp.sqrt(2.0 * stall_s * mtbf_s)


def daly_interval_s(stall_s: Scalar, mtbf_s: Scalar) -> Scalar:
    """Return seconds of work between checkpoints to higher order (Daly 2006, FGCS 22(3)).

    sqrt(2 delta M) [1 + (delta / 2M)^(1/2) / 3 + (delta / 2M) / 9] - delta below delta = 2 M, and M from there on.
    """
    root = jnp.sqrt(stall_s / (2.0 * mtbf_s))
    series = 2.0 * mtbf_s * root * (1.0 + root / 3.0 + root**2 / 9.0) - stall_s
    return jnp.where(stall_s < 2.0 * mtbf_s, series, mtbf_s)


def best_interval_s(stall_s: Scalar, mtbf_s: Scalar) -> Scalar:
    """Return seconds of work between checkpoints that waste least, exactly; both times above 0.

    The root of x = 1 - exp(-(x + delta / M)), times M: where the derivative of Daly's expected time is 0.
    It stays below M however dear checkpoints are.
    """
    delta = stall_s / mtbf_s
    x = jnp.minimum(jnp.sqrt(2.0 * delta), 1.0)
    for _ in range(_NEWTON_STEPS):
        missed = -jnp.expm1(-(x + delta))
        x = x - (x - missed) / missed
    return x * mtbf_s


class Checkpoint(eqx.Module):
    """What is written so that a run can go on: ``size_bytes`` over a store of ``bytes_per_s``.

    The chips wait for ``blocking_fraction`` of the write, above 0 to 1: all of it unless a copy is made first.
    """

    size_bytes: Scalar
    bytes_per_s: Scalar
    blocking_fraction: Scalar = 1.0

    def write_s(self) -> Scalar:
        """Return seconds until the checkpoint can be restarted from."""
        return self.size_bytes / self.bytes_per_s

    def stall_s(self) -> Scalar:
        """Return seconds that the chips wait."""
        return self.write_s() * self.blocking_fraction


class Goodput(eqx.Module):
    """Useful time over wall-clock time of a synchronous job that any chip's failure interrupts.

    Interruptions come at random, one per ``chip_mtbf_s`` of a chip, so n chips run for M = chip_mtbf_s / n between two.
    Each costs ``restart_s`` (noticed, diagnosed, chips replaced, model loaded) and the work since the last whole
    checkpoint. ``planned_s`` is the mean time between stops that were announced: they cost a checkpoint and a restart,
    and no work; infinity where there are none. All other times are finite and above 0, in seconds.
    """

    chip_mtbf_s: Scalar
    restart_s: Scalar
    checkpoint: Checkpoint
    planned_s: Scalar = jnp.inf

    def with_interruptions(self, chip_mtbf_s: Scalar) -> "Goodput":
        """Return the same with another cause that interrupts a chip once per ``chip_mtbf_s``, such as spot recalls."""
        both = 1.0 / (1.0 / self.chip_mtbf_s + 1.0 / chip_mtbf_s)
        return Goodput(both, self.restart_s, self.checkpoint, self.planned_s)

    def mtbf_s(self, chips: Scalar) -> Scalar:
        """Return mean seconds between unplanned interruptions of the job."""
        return self.chip_mtbf_s / chips

    def interval_s(self, chips: Scalar) -> Scalar:
        """Return seconds of work between checkpoints: the best, unless one would start before the last is written."""
        stall, write = self.checkpoint.stall_s(), self.checkpoint.write_s()
        return jnp.maximum(best_interval_s(stall, self.mtbf_s(chips)), write - stall)

    def fraction(self, chips: Scalar) -> Scalar:
        """Return the useful fraction of wall-clock time on ``chips``, checkpoints taken as `interval_s` says."""
        return self.fraction_at(chips, self.interval_s(chips))

    def fraction_at(self, chips: Scalar, interval_s: Scalar) -> Scalar:
        """Return the useful fraction with ``interval_s`` seconds of work between checkpoints.

        Daly 2006: an interval tau takes M e^(R/M) (e^((tau + delta)/M) - 1) on average, restarts that fail
        included. What is written behind the work is lost for longer: the lag of a checkpoint counts as restart.
        """
        mtbf, stall = self.mtbf_s(chips), self.checkpoint.stall_s()
        restart = self.restart_s + self.checkpoint.write_s() - stall
        x = (interval_s + stall) / mtbf
        # In logarithms, so that a hopeless number of chips gives 0 and not infinity over infinity.
        log_fraction = jnp.log(interval_s / mtbf) - restart / mtbf - x - jnp.log(-jnp.expm1(-x))
        return jnp.exp(log_fraction) / (1.0 + (self.restart_s + stall) / self.planned_s)


def chips_for(goodput: Goodput, busy_chips: Scalar, doublings: int = 20) -> Scalar:
    """Return the fewest chips whose useful part amounts to ``busy_chips``; infinity where no number of chips has it.

    Chips times their goodput rises to a peak and falls, as failures come to eat more than a chip adds. The peak is
    sought up to ``doublings`` beyond ``busy_chips``, then the rise towards it is bisected, both in logarithms. The
    gradient is the implicit function's.
    """

    held = jax.lax.stop_gradient(goodput)
    target = jnp.log(busy_chips)
    start = jax.lax.stop_gradient(target)

    def useful(of: Goodput, log_chips: Scalar) -> Scalar:
        return log_chips + jnp.log(of.fraction(jnp.exp(log_chips)))

    slope = jax.grad(lambda log_chips: useful(held, log_chips))

    def halve(rises: Callable[[Scalar], Scalar], ends: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
        middle = 0.5 * (ends[0] + ends[1])
        right = rises(middle)
        return jnp.where(right, middle, ends[0]), jnp.where(right, ends[1], middle)

    def bisect(rises: Callable[[Scalar], Scalar], low: Scalar, high: Scalar) -> Scalar:
        return jax.lax.fori_loop(0, 60, lambda _, ends: halve(rises, ends), (low, high))[0]

    peak = bisect(lambda at: slope(at) > 0.0, start, start + doublings * jnp.log(2.0))
    root = bisect(lambda at: useful(held, at) < start, start, peak)
    enough = useful(held, peak) >= start
    # One Newton step from the root: its value is the root's, its gradient the implicit function's.
    missing = jnp.where(enough, (target - useful(goodput, root)) / jnp.where(enough, slope(root), 1.0), 0.0)
    return jnp.where(enough, jnp.exp(root + missing), jnp.inf)
