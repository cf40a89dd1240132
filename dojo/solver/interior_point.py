"""The interior-point iteration: predictor-corrector, then plain Newton at the target kappa.

One factorization an iteration serves several right-hand sides. The Newton direction is affine in
the centering targets t_n (orthant rows, [J s]) and t_f (cones, [J]) and linear in the weight w of
Mehrotra's second-order correction,

    d(t_n, t_f, w) = affine + t_n centering_n + t_f centering_f - w correction,

so a handful of candidates costs four back-substitutions and their step lengths.
Source: Howell et al., arXiv 2203.00806, section IV; Mehrotra, SIAM J. Optim. 2 (1992).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from dojo.math.vectors import dot, safe_norm
from dojo.solver.cones import cone_step, divide, jordan, orthant_step
from dojo.solver.linear_system import NewtonSystem, newton_system
from dojo.solver.problem import Point, Problem, Residual, Rows, cone_directions, cone_vectors, residual

_TO_BOUNDARY = 0.995
_SHORT_STEP = 0.1
_DECREASE = 0.2
_CLOSE = 0.1
_JAMMED = 0.001
_PATIENCE = 40
# Restarts: from the present v or from the first one, and how far inside.
_RESTARTS = (
    (True, 4.0),
    (False, 0.1),
    (False, 0.01),
    (False, 100.0),
    (True, 0.1),
    (False, 1e-3),
    (True, 100.0),
)


class Solution(NamedTuple):
    """Result of a solve."""

    x: Point
    error: Array  # scaled residual
    converged: Array
    iterations: Array
    finite: Array


class _Loop(NamedTuple):
    x: Point
    error: Array
    iterations: Array
    converged: Array
    finite: Array
    restarts: Array
    age: Array  # iterations since the last restart
    best: Point
    best_error: Array


def solve(
    problem: Problem, first: Point | None, kappa: Array, tolerance: float, max_iterations: int
) -> Solution:
    """Bring a point, the problem's own if None, to the kappa point of the problem."""
    # Single precision reaches its rounding limit before the tolerance squared.
    polish = jnp.finfo(kappa.dtype).eps < 1e-12
    v_start = problem.start()
    rows_start = problem.rows(v_start)
    one = jnp.ones((), kappa.dtype)
    if first is None:
        first = problem.centered(v_start, rows_start, one, kappa)

    def running(loop: _Loop) -> Array:
        return ~loop.converged & loop.finite & (loop.iterations < max_iterations)

    def restarted(loop: _Loop, rows: Rows) -> Point:
        stay, factor = (jnp.asarray(c)[loop.restarts % len(_RESTARTS)] for c in zip(*_RESTARTS))
        here = jnp.asarray(stay)
        v = jnp.where(here, loop.x.v, v_start)
        rows = jax.tree.map(lambda a, b: jnp.where(here, a, b), rows, rows_start)
        return problem.centered(v, rows, factor.astype(v.dtype), kappa)

    def body(loop: _Loop) -> _Loop:
        rows, tangent = problem.linearize(loop.x.v)
        equations = residual(problem, rows, loop.x, kappa)
        error = scaled_error(problem, loop.x, equations, kappa, tolerance)
        system = newton_system(problem, tangent, loop.x)
        x, length = _advance(problem, system, equations, loop.x, kappa)
        converged, jammed = error <= tolerance, length < _JAMMED
        # Jammed on the boundary of a cone, going round in circles, or lost: start afresh.
        stalled = jammed | (loop.age >= _PATIENCE) | ~_all_finite(x)
        x = _choose(stalled, restarted(loop, rows), x)
        finite = jnp.isfinite(error) & _all_finite(x)
        # The step from a converged point is the polish: it squares the residual, or, at the
        # rounding limit, is not taken.
        stay = ~finite | (converged & (stalled if polish else True))
        x = _choose(stay, loop.x, x)
        better = error < loop.best_error
        return _Loop(
            x=x,
            error=error,
            iterations=loop.iterations + 1,
            converged=converged,
            finite=finite | converged,
            restarts=loop.restarts + stalled,
            age=jnp.where(stalled, 0, loop.age + 1),
            best=_choose(better, loop.x, loop.best),
            best_error=jnp.where(better, error, loop.best_error),
        )

    zero, no = jnp.asarray(0), jnp.asarray(False)
    loop = _Loop(first, jnp.inf * one, zero, no, _all_finite(first), zero, zero, first, jnp.inf * one)
    last = lax.while_loop(running, body, loop)
    x = _choose(last.converged, last.x, last.best)
    error = scaled_error(
        problem, x, residual(problem, problem.rows(x.v), x, kappa), kappa, tolerance
    )
    finite = last.finite & jnp.isfinite(error)
    converged = (last.converged | (error <= tolerance)) & finite
    return Solution(x, error, converged, last.iterations, finite)


def scaled_error(problem: Problem, x: Point, r: Residual, kappa: Array, tolerance: float) -> Array:
    """Largest residual in units of its scale, rounding noise discounted.

    Impulses and slips are added up, so their own size counts; a product is not known better than
    its gap or its slip; and in a sliding contact two terms cancel down to kappa.
    """
    s = problem.scales
    rounding = 16 * jnp.finfo(kappa.dtype).eps
    radius = problem.radius(x.gamma)
    gap_noise = s.gap_noise
    slip_noise = s.slip_noise + rounding * jnp.max(jnp.abs(x.eta), initial=0.0)
    balance_noise = s.balance_noise + rounding * jnp.max(x.gamma, initial=0.0)

    def part(value: Array, scale: Array, noise: Array) -> Array:
        return jnp.max(jnp.abs(value) / (scale + noise / tolerance), initial=0.0)

    blocks = [
        part(r.balance, s.balance, balance_noise),
        part(r.gap, s.gap, gap_noise),
        part(r.slip, s.slip, slip_noise),
        part(r.impact, kappa, x.gamma * gap_noise),
        part(r.cone, kappa, radius * slip_noise + rounding * radius * x.psi),
    ]
    return jnp.max(jnp.stack(blocks))


def step_length(problem: Problem, x: Point, d: Point) -> Array:
    """Largest step along d that keeps x in all cones, infinite where unbounded."""
    cones = zip(cone_vectors(problem, x), cone_directions(problem, d), strict=True)
    free = _sliding(x, d)
    lengths = [orthant_step(x.gamma, d.gamma), orthant_step(x.slack, d.slack)]
    lengths += [jnp.where(free, jnp.inf, cone_step(*pair)) for pair in cones]
    return jnp.min(jnp.concatenate(lengths), initial=jnp.inf)


def _sliding(x: Point, d: Point) -> Array:
    """Cones that a step may follow round their boundary instead of being stopped by it, (f,).

    A sliding contact lies so close to the boundary that turning by the square root of its margin
    leaves the cone. Its friction is a function of its slip: no need to step in it.
    """
    size = safe_norm(x.eta)
    return (size > 0.9 * x.psi) & (safe_norm(d.eta) < 0.5 * size)


def _move(problem: Problem, x: Point, d: Point, length: Array, target: Array) -> Point:
    """x + length d, sliding cones on the boundary's arc with their product on the way to target."""
    y = jax.tree.map(lambda p, q: p + length * q, x, d)
    product = (1 - length) * dot(*cone_vectors(problem, x)) + length * target
    radius = problem.radius(y.gamma)
    half = 0.5 * jnp.maximum(product, 0.0) / radius
    psi = half + jnp.sqrt(half * half + dot(y.eta, y.eta))
    b = -radius * y.eta / psi
    free = _sliding(x, d)
    return y._replace(psi=jnp.where(free, psi, y.psi), b=jnp.where(free, b, y.b))


def _advance(
    problem: Problem, system: NewtonSystem, r: Residual, x: Point, kappa: Array
) -> tuple[Point, Array]:
    """One iteration: directions, candidates, the best of their steps, and its length."""
    beta, eta = cone_vectors(problem, x)
    zero = jax.tree.map(jnp.zeros_like, r)
    affine = _negate(system.solve_scaled(r._replace(impact=x.gamma * x.slack, cone=beta)))
    length = jnp.minimum(1.0, _TO_BOUNDARY * step_length(problem, x, affine))
    nu = _mean_products(problem, x)
    predicted = _mean_products(problem, _move(problem, x, affine, length, jnp.zeros_like(kappa)))
    sigma = jnp.clip(predicted / jnp.maximum(nu, kappa), 0.0, 1.0) ** 3

    identity = jnp.zeros_like(beta).at[0].set(1.0)
    to_impact, to_cone, second = _solve_all(
        system,
        [
            zero._replace(impact=jnp.ones_like(r.impact)),
            zero._replace(cone=divide(identity, eta)),
            _second_order(problem, system, affine),
        ],
    )
    near = (nu <= 10.0 * kappa).all()
    target = jnp.where(near, kappa, jnp.maximum(kappa, sigma * nu))
    half, full = jnp.maximum(kappa, 0.5 * nu), jnp.maximum(kappa, nu)
    # (targets of the two kinds, weight of the correction), in the order of preference.
    choices = [
        (target, jnp.where(near, 0.0, 1.0)),
        (target, jnp.where(near, 0.0, length**2)),
        (target, jnp.zeros_like(length)),
        (half, jnp.zeros_like(length)),
        (full, jnp.zeros_like(length)),
    ]

    def candidate(t: Array, w: Array) -> Point:
        return jax.tree.map(
            lambda a, n, f, s: a + t[0] * n + t[1] * f - w * s, affine, to_impact, to_cone, second
        )

    directions = [candidate(t, w) for t, w in choices]
    lengths = jnp.stack([step_length(problem, x, d) for d in directions])
    lengths = jnp.minimum(1.0, _TO_BOUNDARY * lengths)

    def decrease(d: Point, length: Array, target: Array) -> Array:
        """Distance from the targets after the step, over the distance allowed."""
        allowed = (1 - _DECREASE * length) * _spread(problem, x, target)
        after = _spread(problem, _move(problem, x, d, length, target[1]), target)
        return (after / jnp.maximum(allowed, jnp.maximum(_CLOSE * target.max(), kappa))).max()

    targets = [t for t, _ in choices]
    steps = zip(directions, lengths, targets, strict=True)
    decreases = jnp.stack([decrease(*step) for step in steps])
    # At the centre already there is nothing to gain from centering.
    centered = (_spread(problem, x, full) <= _CLOSE * full.max()).all()
    useless = jnp.arange(len(choices)) == jnp.where(centered, len(choices) - 1, -1)
    decreases = jnp.where(useless, jnp.inf, decreases)
    good = (lengths >= _SHORT_STEP) & (decreases <= 1.0)
    choice = jnp.where(good.any(), jnp.argmax(good), jnp.argmin(decreases))
    best_t, best_w = (jnp.stack(column)[choice] for column in zip(*choices, strict=True))
    end = _move(problem, x, candidate(best_t, best_w), lengths[choice], best_t[1])
    return end, lengths[choice]


def _spread(problem: Problem, x: Point, target: Array) -> Array:
    """Mean distance of the products from their targets, of the orthant rows and the cones: (2,)."""
    orthant = jnp.abs(x.gamma * x.slack - target[0])
    cone = safe_norm(jordan(*cone_vectors(problem, x)).at[0].add(-target[1]))
    return jnp.stack([jnp.sum(p) / max(p.shape[0], 1) for p in (orthant, cone)])


def _mean_products(problem: Problem, x: Point) -> Array:
    """Mean complementarity products of the orthant rows [J s] and of the cones [J]: (2,)."""
    products = x.gamma * x.slack, dot(*cone_vectors(problem, x))
    return jnp.stack([jnp.sum(p) / max(p.shape[0], 1) for p in products])


def _second_order(problem: Problem, system: NewtonSystem, d: Point) -> Residual:
    """Second-order part of the products along d, in the scaled form of the system."""
    _, eta = cone_vectors(problem, system.x)
    d_beta, d_eta = cone_directions(problem, d)
    scaled = system.scaling
    product = jordan(scaled.over(d_beta), scaled.times(d_eta))
    return Residual(
        balance=jnp.zeros_like(d.v),
        gap=jnp.zeros_like(d.gamma),
        slip=jnp.zeros_like(d.eta),
        impact=d.gamma * d.slack,
        cone=scaled.times(divide(product, scaled.times(eta))),
    )


def _solve_all(system: NewtonSystem, rhs: list[Residual]) -> list[Point]:
    """Directions for several right-hand sides."""
    stacked = jax.vmap(system.solve_scaled)(jax.tree.map(lambda *leaves: jnp.stack(leaves), *rhs))
    return [jax.tree.map(lambda leaf, k=k: leaf[k], stacked) for k in range(len(rhs))]


def _negate(x: Point) -> Point:
    return jax.tree.map(jnp.negative, x)


def _choose(first: Array, a: Point, b: Point) -> Point:
    return jax.tree.map(lambda x, y: jnp.where(first, x, y), a, b)


def _all_finite(x: Point) -> Array:
    return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(x)]))
