"""One step of the interior point: which way, and how far.

The Newton direction is affine in the centering targets t_n (orthant rows, [J s]) and t_f (cones,
[J]) and linear in the weight w of Mehrotra's second-order correction,

    d(t_n, t_f, w) = newton + (t_n - kappa) centering_n + (t_f - kappa) centering_f - w correction,

so a handful of candidates costs four back-substitutions, their step lengths, and a look at the
products they lead to. It is not the affine direction (t = 0) that they are built upon: of a gap of
a nanometre between large impulses, what it takes away and centering gives back again would leave
more than the tolerance to rounding. Source: Mehrotra, SIAM J. Optim. 2 (1992).
"""

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math.vectors import contract, dot, reduced, safe_norm, smallest
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


_Tree = TypeVar("_Tree")


class _Directions(NamedTuple):
    """The parts that every candidate direction is a sum of."""

    first: Point  # (3, ...): to the targets kappa, then by more of each target
    second: Point

    def combined(self, further: Array, weights: Array) -> Point:
        """Directions (k, ...) to targets kappa + `further` (k, 2), by weights (k,) of second."""
        parts = jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), self.first, self.second)
        return _sums(jnp.stack([jnp.ones_like(weights), *further.T, -weights], axis=1), parts)


def _sums(shares: Array, parts: _Tree) -> _Tree:
    """Sums (k, ...) of parts (n, ...) with shares (k, n).

    Products of matrices: written out, a compiler makes them anew for all that they go into.
    """

    def summed(a: Array) -> Array:
        return contract(shares, a.reshape(len(a), -1)).reshape(len(shares), *a.shape[1:])

    return jax.tree.map(summed, parts)


def advance(
    problem: Problem, system: NewtonSystem, r: Residual, x: Point, kappa: Array
) -> tuple[Point, Array, Array]:
    """The point after one iteration, the length of the step there, and whether it is finite."""
    directions, affine, curvature = _directions(problem, system, r, x, kappa)
    targets, weights = _choices(problem, x, affine, curvature, kappa)

    def outcome(d: Point, target: Array) -> tuple[Point, Array, Array, Array]:
        length = step_length(problem, x, d)
        y = _moved(problem, x, d, length, target[1])
        before, after = _spread(problem, x, target), _spread(problem, y, target)
        return y, length, before, _shortfall(before, after, length, target, kappa)

    candidates = directions.combined(targets - kappa, weights)
    points, lengths, before, shortfalls = jax.vmap(outcome)(candidates, targets)
    # The last one only centers: at the centre already there is nothing to gain from it.
    centered = (before[-1] <= _CLOSE * targets[-1].max()).all()
    last = jnp.arange(len(weights)) == len(weights) - 1
    useless = (centered & last) | ~jnp.isfinite(shortfalls)
    misses = jnp.where(useless, jnp.inf, shortfalls)
    good = (lengths >= _SHORT_STEP) & (misses <= 1.0)
    choice = jnp.where(good.any(), jnp.argmax(good), jnp.argmin(misses))
    y, length, shortfall = _picked(choice, (points, lengths, shortfalls))
    # The shortfall has looked at everything but v and the multipliers.
    rest = reduced(y.v, 0) + jnp.sum(y.multiplier)
    return y, length, jnp.isfinite(shortfall + rest)


def _picked(choice: Array, candidates: _Tree) -> _Tree:
    """One of the candidates."""

    # A sum of one term: XLA needs more kernels for an index that it does not know.
    def entry(a: Array) -> Array:
        chosen = jnp.arange(len(a)) == choice
        return reduced(jnp.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), a, 0.0), 0)

    return jax.tree.map(entry, candidates)


class _Curvature(NamedTuple):
    """Second-order part of the products along a direction."""

    orthant: Array  # (m,) [J s]
    cone: Array  # (1 + d, c) [J] in the scaling of the system, which keeps the first component


def _directions(
    problem: Problem, system: NewtonSystem, r: Residual, x: Point, kappa: Array
) -> tuple[_Directions, Point, _Curvature]:
    """The parts of the directions, the affine one, and the curvature along it."""
    beta, eta = cone_vectors(problem, x)
    zero = jax.tree.map(jnp.zeros_like, r)
    unit = divide(jnp.broadcast_to(identity(eta), eta.shape), eta)
    sides = [
        jax.tree.map(jnp.negative, r.with_products(r.impact, beta - kappa * unit)),
        zero.with_products(jnp.ones_like(r.impact), zero.cone),
        zero.with_products(zero.impact, unit),
    ]
    stacked = jax.vmap(system.solve_scaled)(jax.tree.map(lambda *a: jnp.stack(a), *sides))
    shares = jnp.stack([jnp.ones_like(kappa), -kappa, -kappa])
    affine = jax.tree.map(lambda a: a[0], _sums(shares[None], stacked))
    curvature = _curvature(problem, system, affine)
    weighed = divide(curvature.cone, system.scaling.times(eta))
    bend = zero.with_products(curvature.orthant, system.scaling.times(weighed))
    directions = _Directions(stacked, system.solve_scaled(bend))
    return directions, affine, curvature


def _curvature(problem: Problem, system: NewtonSystem, d: Point) -> _Curvature:
    d_beta, d_eta = cone_directions(problem, d)
    scaled = system.scaling
    return _Curvature(d.gamma * d.slack, jordan(scaled.over(d_beta), scaled.times(d_eta)))


def _choices(
    problem: Problem, x: Point, affine: Point, curvature: _Curvature, kappa: Array
) -> tuple[Array, Array]:
    """Targets (5, 2) of the two kinds and weights (5,) of the correction, best liked first."""
    length = step_length(problem, x, affine)
    nu = _means(x.gamma * x.slack, dot(*cone_vectors(problem, x)))
    bend = _means(curvature.orthant, jnp.where(_sliding(x, affine), 0.0, curvature.cone[0]))
    end = (1 - length) * nu + length**2 * bend
    sigma = jnp.clip(end / jnp.maximum(nu, kappa), 0.0, 1.0) ** 3
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
    bound = smallest(jnp.concatenate([rows.ravel(), cones.ravel()]), 0)
    return jnp.minimum(1.0, _TO_BOUNDARY * bound)


def _sliding(x: Point, d: Point) -> Array:
    """Cones that a step may follow round their boundary instead of being stopped by it, (f,).

    A sliding contact lies so close to the boundary that turning by the square root of its margin
    leaves the cone. Its friction is a function of its slip: no need to step in it.
    """
    square = dot(x.eta, x.eta)
    return (square > (_SLIDING * x.psi) ** 2) & (dot(d.eta, d.eta) < 0.25 * square)


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


def _shortfall(before: Array, after: Array, length: Array, target: Array, kappa: Array) -> Array:
    """The `_spread` after a step over what is allowed."""
    decreased = (1 - _DECREASE * length) * before
    close = jnp.maximum(_CLOSE * target.max(), kappa)
    return (after / jnp.maximum(decreased, close)).max()


def _spread(problem: Problem, x: Point, target: Array) -> Array:
    """Mean distance of the products from their targets, of the orthant rows and the cones: (2,)."""
    orthant = jnp.abs(x.gamma * x.slack - target[0])
    cone = jordan(*cone_vectors(problem, x))
    cone = cone - target[1] * identity(cone)
    return _means(orthant, safe_norm(cone))


def _means(orthant: Array, cones: Array) -> Array:
    """Means of what the orthant rows [J s] and the cones [J] have: (2,)."""
    m, c = orthant.shape[0], cones.shape[0]
    share = np.zeros((m + c, 2))
    share[:m, 0], share[m:, 1] = 1 / max(m, 1), 1 / max(c, 1)
    # A product: XLA cuts long sums in two.
    return contract(jnp.concatenate([orthant, cones]), jnp.asarray(share, orthant.dtype))
