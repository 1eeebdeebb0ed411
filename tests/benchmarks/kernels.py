"""How fast kernel times are predicted: both GEMM forms and their gradients, beside interpolation in a table.

    python tests/benchmarks/kernels.py

Prints evaluations per second in float32 on all cores, the cost of a gradient against one evaluation, the time
of one fit after compiling, and scipy's interpolation of a table of the same shapes in the same run.
"""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import RegularGridInterpolator

import configs
from hw.fit import fit_jit
from hw.kernels import GemmShape, Rates, gemm

COUNT = 400_000
AXES = [2.0 ** np.arange(15), 2.0 ** np.arange(5, 17), 2.0 ** np.arange(5, 17)]


def best(run, repeats=7):
    run()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)


def row_seconds(model, row):
    return model.seconds(*row)


def main():
    chip = configs.load_chip("h100-sxm")
    sets = configs.kernels_of(chip).sets
    rng = np.random.default_rng(0)
    m, n, k = (rng.uniform(np.log2(a[0]), np.log2(a[-1]), COUNT) for a in AXES)
    f32 = jnp.float32
    rates = Rates(
        *(f32(x) for x in (chip.peak_flops_per_s["bf16"], chip.hbm_bytes_per_s, chip.cores, chip.cache_bytes, 1.0))
    )
    shape = GemmShape(*(jnp.asarray(2.0**x, f32) for x in (m, n, k)), f32(2.0), f32(6.0))
    value = eqx.filter_jit(lambda model, shape: model.seconds(rates, shape))
    slope = eqx.filter_jit(
        lambda model, shape: eqx.filter_grad(lambda p: p[0].seconds(rates, p[1]).sum())((model, shape))
    )
    speeds = {}
    for name, kind, family in (("sharp", gemm.Gemm, "gemm"), ("closed", gemm.ClosedGemm, "gemm_closed")):
        model = kind(**{key: f32(v) for key, v in sets[family]["bf16"].value.items()})
        forward = best(lambda: jax.block_until_ready(value(model, shape)))  # noqa: B023
        backward = best(lambda: jax.block_until_ready(slope(model, shape)))  # noqa: B023
        speeds[name] = COUNT / forward
        print(f"{name:7s} {speeds[name] / 1e6:6.2f} M GEMMs/s; full gradient {backward / forward:.1f} x")
    grid = np.stack(np.meshgrid(*AXES, indexing="ij"), -1).reshape(-1, 3)
    table = np.asarray(value(model, GemmShape(*(jnp.asarray(c, f32) for c in grid.T), f32(2.0), f32(6.0))))
    lookup = RegularGridInterpolator([np.log2(a) for a in AXES], np.log(table).reshape([len(a) for a in AXES]))
    points = np.stack([m, n, k], -1)
    looked_up = COUNT / best(lambda: np.exp(lookup(points)), 3)
    print(f"scipy's interpolation in a table {looked_up / 1e6:.2f} M/s: sharp {speeds['sharp'] / looked_up:.1f} x, "
          f"closed {speeds['closed'] / looked_up:.1f} x")  # fmt: skip
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: np.broadcast_to(np.asarray(x, float), COUNT)[:3000], (rates, shape))
        rows = jax.tree.map(jnp.asarray, wide)
        model = gemm.Gemm(**{key: jnp.asarray(v) for key, v in sets["gemm"]["bf16"].value.items()})
        y = jax.vmap(row_seconds, (None, 0))(model, rows) * jnp.asarray(np.exp(0.1 * rng.standard_normal(3000)))
        start = jax.tree.map(jnp.asarray, gemm.START)
        for what in ("compiling", "compiled"):
            begin = time.perf_counter()
            jax.block_until_ready(fit_jit(row_seconds, start, rows, y, jnp.arange(3000), jnp.ones(3000)))
            print(f"fit of 3,000 timings, {what}: {time.perf_counter() - begin:.1f} s")


if __name__ == "__main__":
    main()
