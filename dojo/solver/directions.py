"""One step of the interior point: which way, and how far.

The Newton direction is affine in the centering targets t_n (orthant rows, [J s]) and t_f (cones,
[J]) and linear in the weight w of Mehrotra's second-order correction,

    d(t_n, t_f, w) = affine + t_n centering_n + t_f centering_f - w correction,

so a handful of candidates costs four back-substitutions, their step lengths, and a look at the
products they lead to. Source: Mehrotra, SIAM J. Optim. 2 (1992).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from dojo.math.vectors import dot, reduced, safe_norm, smallest
from dojo.solver.cones import cone_step, divide, identity, jordan, orthant_step
from dojo.solver.linear_system import NewtonSystem
from dojo.solver.problem import Point, Problem, Residual, cone_directions, cone_vectors

# How far towards the boundary of the cones a step goes.
_TO_BOUNDARY = 0.995
# A candidate is taken if its step is at least this long ...
_SHORT_STEP = 0.1
# ... and brings the products nearer to its targets, by this share of its length at least ...
_DECREASE = 0.2
# ... or within this share of the targets.
_CLOSE = 0.1
# Mean products within this multiple of kappa: plain Newton from there on.
_NEAR = 10.0
# A contact slides if its slip is this share of its multiplier.
_SLIDING = 0.9


class _Directions(NamedTuple):
    """The parts that every candidate direction is a sum of."""

    affine: Point
    to_impact: Point
    to_cone: Point
    second: Point

    def combined(self, target: Array, weight: Array) -> Point:
        return jax.tree.map(
            lambda a, n, f, s: a + target[0] * n + target[1] * f - weight * s, *self
        )


def advance(
    problem: Problem, system: NewtonSystem, r: Residual, x: Point, kappa: Array
) -> tuple[Point, Array]:
    """The point after one iteration, and the length of the step there."""
    directions = _directions(problem, system, r, x)
    targets, weights = _choices(problem, x, directions.affine, kappa)

    def outcome(target: Array, weight: Array) -> tuple[Point, Array, Array]:
        d = directions.combined(target, weight)
        length = step_length(problem, x, d)
        y = _moved(problem, x, d, length, target[1])
        return y, length, _shortfall(problem, x, y, length, target, kappa)

    points, lengths, shortfalls = jax.vmap(outcome)(targets, weights)
    # The last one only centers: at the centre already there is nothing to gain from it.
    centered = (_spread(problem, x, targets[-1]) <= _CLOSE * targets[-1].max()).all()
    last = jnp.arange(len(weights)) == len(weights) - 1
    shortfalls = jnp.where(centered & last, jnp.inf, shortfalls)
    good = (lengths >= _SHORT_STEP) & (shortfalls <= 1.0)
    choice = jnp.where(good.any(), jnp.argmax(good), jnp.argmin(shortfalls))
    return jax.tree.map(lambda a: a[choice], points), lengths[choice]


def _directions(problem: Problem, system: NewtonSystem, r: Residual, x: Point) -> _Directions:
    beta, eta = cone_vectors(problem, x)
    zero = jax.tree.map(jnp.zeros_like, r)
    to_zero = r._replace(impact=x.gamma * x.slack, cone=beta)
    affine = jax.tree.map(jnp.negative, system.solve_scaled(to_zero))
    sides = [
        zero._replace(impact=jnp.ones_like(r.impact)),
        zero._replace(cone=divide(jnp.broadcast_to(identity(eta.dtype), eta.shape), eta)),
        _second_order(problem, system, affine, zero),
    ]
    stacked = jax.vmap(system.solve_scaled)(jax.tree.map(lambda *a: jnp.stack(a), *sides))
    return _Directions(affine, *(jax.tree.map(lambda a, k=k: a[k], stacked) for k in range(3)))


def _second_order(problem: Problem, system: NewtonSystem, d: Point, zero: Residual) -> Residual:
    """Second-order part of the products along d, in the scaled form of the system."""
    _, eta = cone_vectors(problem, system.x)
    d_beta, d_eta = cone_directions(problem, d)
    scaled = system.scaling
    product = jordan(scaled.over(d_beta), scaled.times(d_eta))
    cone = scaled.times(divide(product, scaled.times(eta)))
    return zero._replace(impact=d.gamma * d.slack, cone=cone)


def _choices(problem: Problem, x: Point, affine: Point, kappa: Array) -> tuple[Array, Array]:
    """Targets (5, 2) of the two kinds and weights (5,) of the correction, best liked first."""
    length = step_length(problem, x, affine)
    nu = _mean_products(problem, x)
    end = _moved(problem, x, affine, length, jnp.zeros_like(kappa))
    sigma = jnp.clip(_mean_products(problem, end) / jnp.maximum(nu, kappa), 0.0, 1.0) ** 3
    near = (nu <= _NEAR * kappa).all()
    target = jnp.where(near, kappa, jnp.maximum(kappa, sigma * nu))
    half, full = jnp.maximum(kappa, 0.5 * nu), jnp.maximum(kappa, nu)
    zero = jnp.zeros_like(kappa)
    one = jnp.where(near, zero, 1.0)
    targets = jnp.stack([target, target, target, half, full])
    return targets, jnp.stack([one, one * length**2, zero, zero, zero])


def step_length(problem: Problem, x: Point, d: Point) -> Array:
    """Length of the step along d that stays inside all cones, at most 1."""
    rows = orthant_step(x.orthant, d.orthant)
    pairs = cone_vectors(problem, x), cone_directions(problem, d)
    cones = cone_step(*(jnp.stack(pair, axis=1) for pair in pairs))
    cones = jnp.where(_sliding(x, d), jnp.inf, cones)
    bound = jnp.minimum(smallest(rows, (0, 1)), smallest(cones, (0, 1)))
    return jnp.minimum(1.0, _TO_BOUNDARY * bound)


def _sliding(x: Point, d: Point) -> Array:
    """Cones that a step may follow round their boundary instead of being stopped by it, (f,).

    A sliding contact lies so close to the boundary that turning by the square root of its margin
    leaves the cone. Its friction is a function of its slip: no need to step in it.
    """
    size = safe_norm(x.eta)
    return (size > _SLIDING * x.psi) & (safe_norm(d.eta) < 0.5 * size)


def _moved(problem: Problem, x: Point, d: Point, length: Array, target: Array) -> Point:
    """x + length d; sliding cones on the boundary's arc, their product on the way to target."""
    y = jax.tree.map(lambda p, q: p + length * q, x, d)
    product = (1 - length) * dot(*cone_vectors(problem, x)) + length * target
    radius = problem.radius(y.gamma)
    half = 0.5 * jnp.maximum(product, 0.0) / radius
    psi = half + jnp.sqrt(half * half + dot(y.eta, y.eta))
    free = _sliding(x, d)
    arc = jnp.concatenate([-radius * y.eta / psi, psi[None], y.eta])
    return y._replace(cones=jnp.where(free, arc, y.cones))


def _shortfall(
    problem: Problem, x: Point, y: Point, length: Array, target: Array, kappa: Array
) -> Array:
    """Distance of the products from their targets after a step to y, over what is allowed."""
    decreased = (1 - _DECREASE * length) * _spread(problem, x, target)
    close = jnp.maximum(_CLOSE * target.max(), kappa)
    return (_spread(problem, y, target) / jnp.maximum(decreased, close)).max()


def _spread(problem: Problem, x: Point, target: Array) -> Array:
    """Mean distance of the products from their targets, of the orthant rows and the cones: (2,)."""
    orthant = jnp.abs(x.gamma * x.slack - target[0])
    cone = safe_norm(jordan(*cone_vectors(problem, x)) - target[1] * identity(target.dtype))
    return jnp.stack([reduced(p, 0) / max(p.shape[0], 1) for p in (orthant, cone)])


def _mean_products(problem: Problem, x: Point) -> Array:
    """Mean complementarity products of the orthant rows [J s] and of the cones [J]: (2,)."""
    products = x.gamma * x.slack, dot(*cone_vectors(problem, x))
    return jnp.stack([reduced(p, 0) / max(p.shape[0], 1) for p in products])
