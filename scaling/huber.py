"""What fits minimise: Huber's loss of residuals, with its exact gradient and Hessian for many fits at once.

Residuals are ln(predicted / measured loss), or their difference in nats. A sum of monomials is taken as the
log-sum-exp it is, its sums over runs as products of matrices; any other form goes through automatic differentiation.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .forms import Form
from .newton import Local, Oracle

_LOG_SIX = 1.791759469228055


def centred(form: Form, columns: Mapping[str, Array], means: Mapping[str, Any]) -> dict[str, Array]:
    """Return logarithms of runs' sizes about ``means``, by the names that forms use."""
    half = 0.5 * _LOG_SIX
    logs = {"log_params": jnp.log(columns["params"]), "log_tokens": jnp.log(columns["tokens"])}
    logs |= {f"{name}_6": log + half for name, log in logs.items()}
    return {"one": jnp.ones_like(columns["params"])} | {name: log - means[name] for name, log in logs.items()}


def coefficients(form: Form, theta: Float[Array, "p n"], means: Mapping[str, Any]) -> dict[str, Array]:
    """Return the coefficients that fitted vectors stand for: units put back, logarithms undone."""
    value = dict(zip(form.names, theta, strict=True))
    for name, moves in form.shifts.items():
        value[name] = value[name] + sum(
            sign * (1.0 if by == "one" else value[by]) * means[column] for by, sign, column in moves
        )
    return {name: jnp.exp(value[name]) if name in form.logs else value[name] for name in form.names}


def vector(form: Form, values: Mapping[str, Any], means: Mapping[str, Any]) -> Float[Array, "p n"]:
    """Return the fitted vectors of coefficients, the inverse of `coefficients`."""
    value = {name: jnp.log(values[name]) if name in form.logs else jnp.asarray(values[name]) for name in form.names}
    out = dict(value)
    for name, moves in form.shifts.items():
        shift = sum(sign * (1.0 if by == "one" else value[by]) * means[column] for by, sign, column in moves)
        out[name] = value[name] - shift
    return jnp.stack(jnp.broadcast_arrays(*(out[name] for name in form.names)))


def oracle(form: Form, columns: Mapping[str, Array], options: Mapping[str, Any], means: Mapping[str, Any]) -> Oracle:
    """Return the objective: the weighted sum of Huber's losses at ``delta``, halved squares within it.

    ``columns`` hold r runs each. ``options`` has ``delta``, and ``nats``: 1 for residuals in nats, 0 for logarithms.
    """
    if form.terms is not None:
        return _of_monomials(form, columns, options, means)
    return _differentiated(form, columns, options, means)


def _of_monomials(form: Form, columns: Mapping[str, Array], options: Mapping[str, Any], means: Any) -> Oracle:
    assert form.terms is not None
    logs = centred(form, columns, means)
    order, terms = form.names, form.terms
    delta, nats = options["delta"], options["nats"]
    measured = columns["loss"][:, None]
    # Sums over runs of a weight times a power, or two, of sizes: one product of matrices for all.
    powers = sorted(
        {tuple(sorted((one[1], two[1]))) for t in terms for u in terms for one in t.values() for two in u.values()}
    )
    index = {pair: i for i, pair in enumerate(powers)}
    table = jnp.stack([logs[one] * logs[two] for one, two in powers])
    count = len(terms)
    pairs = [(k, m) for k in range(count) for m in range(k, count)]

    def at(name: str, other: str = "one") -> int:
        return index[tuple(sorted((name, other)))]

    def local(theta: Float[Array, "p n"], weights: Float[Array, "r n"]) -> Local:
        value = dict(zip(order, theta, strict=True))
        logarithms = [
            sum(
                sign * value[name] * (1.0 if column == "one" else logs[column][:, None])
                for name, (sign, column) in term.items()
            )
            + jnp.zeros_like(weights)
            for term in terms
        ]
        top = logarithms[0]
        for one in logarithms[1:]:
            top = jnp.maximum(top, one)
        shares = [jnp.exp(one - top) for one in logarithms]
        whole = sum(shares[1:], shares[0])
        log_loss = top + jnp.log(whole)
        shares = [one / whole for one in shares]
        lever = jnp.where(nats > 0, jnp.exp(log_loss), 1.0)  # d residual / d ln(loss)
        residual = jnp.where(nats > 0, lever - measured, log_loss - jnp.log(measured))
        size = jnp.abs(residual)
        inside = size <= delta
        cost = jnp.where(inside, 0.5 * residual**2, delta * (size - 0.5 * jnp.where(inside, 0.0, delta)))
        pull = weights * jnp.where(inside, residual, jnp.sign(residual) * delta)
        hold = weights * jnp.where(inside, lever**2, 0.0) - jnp.where(nats > 0, 0.0, pull)
        pull = pull * lever
        rows = [weights * cost, jnp.abs(pull)]
        rows += [pull * share for share in shares] + [hold * shares[k] * shares[m] for k, m in pairs]
        n = theta.shape[1]
        sums = (table @ jnp.stack(rows, axis=1).reshape(table.shape[1], -1)).reshape(len(powers), len(rows), n)
        one = at("one")
        slot = {pair: 2 + count + i for i, pair in enumerate(pairs)}
        gradient = {name: jnp.zeros(n) for name in order}
        hessian = {(a, b): jnp.zeros(n) for a in order for b in order}
        for k, term in enumerate(terms):
            for a, (sign, column) in term.items():
                gradient[a] = gradient[a] + sign * sums[at(column), 2 + k]
                for b, (other, second) in term.items():
                    hessian[a, b] = hessian[a, b] + sign * other * sums[at(column, second), 2 + k]
            for m, another in enumerate(terms):
                both = slot[min(k, m), max(k, m)]
                for a, (sign, column) in term.items():
                    for b, (other, second) in another.items():
                        hessian[a, b] = hessian[a, b] + sign * other * sums[at(column, second), both]
        return Local(
            sums[one, 0],
            sums[one, 1],
            jnp.stack([gradient[name] for name in order]),
            jnp.stack([jnp.stack([hessian[a, b] for b in order]) for a in order]),
        )

    return local


def _differentiated(form: Form, columns: Mapping[str, Array], options: Mapping[str, Any], means: Any) -> Oracle:
    delta, nats = options["delta"], options["nats"]

    def objective(theta: Float[Array, " p"], weights: Float[Array, " r"]) -> tuple[Array, Array]:
        loss = form.loss(coefficients(form, theta, means), columns)
        residual = jnp.where(nats > 0, loss - columns["loss"], jnp.log(loss) - jnp.log(columns["loss"]))
        size = jnp.abs(residual)
        inside = size <= delta
        cost = jnp.where(inside, 0.5 * residual**2, delta * (size - 0.5 * jnp.where(inside, 0.0, delta)))
        pull = weights * jnp.minimum(size, delta) * jnp.where(nats > 0, loss, 1.0)
        return (weights * cost).sum(), pull.sum()

    def value(theta: Array, weights: Array) -> Array:
        return objective(theta, weights)[0]

    def one(theta: Array, weights: Array) -> tuple[Array, ...]:
        return *objective(theta, weights), jax.grad(value)(theta, weights), jax.hessian(value)(theta, weights)

    every = jax.vmap(one, in_axes=(1, 1), out_axes=(0, 0, -1, -1))
    return lambda theta, weights: Local(*every(theta, weights))
