"""The interior-point iteration: predictor-corrector, then plain Newton at the target kappa.

Each iteration factorizes the Newton system and takes the best of a few directions (`directions`).
Where that leads nowhere, the search starts afresh from another point of a fixed list.
Source: Howell et al., arXiv 2203.00806, section IV.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from dojo.solver.directions import advance
from dojo.solver.linear_system import newton_system
from dojo.solver.problem import Point, Problem, Residual, Rows, residual

# A step shorter than this share of its direction is a jam on the boundary of a cone.
_JAMMED = 0.01
# Iterations after which a search that has not converged counts as going round in circles.
_PATIENCE = 40
# Share of the iterations after which no search starts afresh. Where there is no solution the
# impulses of the last one grow along the direction that proves it.
_LAST_SEARCH = 0.9
# Where each search starts: at which of the problem's starts, or where the last one got to, and how
# far inside the cones. A path that follows contacts too strong to let go may fold; small impulses
# at the unhindered motion lie beyond the fold.
_HERE = -1
_SEARCHES = (
    (1, 0.1),
    (1, 3e-3),
    (1, 0.03),
    (_HERE, 4.0),
    (0, 0.03),
    (1, 0.3),
    (1, 1e-4),
    (0, 0.1),
    (0, 100.0),
    (_HERE, 0.1),
    (0, 0.01),
    (0, 1e-3),
    (_HERE, 100.0),
)


class Solution(NamedTuple):
    """Result of a solve; the best point met if it did not converge."""

    x: Point
    last: Point  # where the search ended
    error: Array  # scaled residual
    converged: Array
    iterations: Array
    finite: Array


class _Loop(NamedTuple):
    x: Point
    best: Point
    best_error: Array
    iterations: Array
    search: Array  # row of the list of searches
    age: Array  # iterations since it began
    converged: Array
    finite: Array


def solve(
    problem: Problem, first: Point | None, kappa: Array, tolerance: float, max_iterations: int
) -> Solution:
    """Bring a point, the problem's own if None, to the kappa point of the problem."""
    # Single precision reaches its rounding limit before the tolerance squared.
    polish = jnp.finfo(kappa.dtype).eps < 1e-12
    starts = problem.starts()
    places = starts, jax.vmap(problem.rows)(starts)
    one = jnp.ones((), kappa.dtype)

    def begun(search: Array, v: Array, rows: Rows) -> Point:
        which, factor = (jnp.asarray(c)[search] for c in zip(*_SEARCHES, strict=True))
        v, rows = jax.tree.map(
            lambda a, b: jnp.where(which == _HERE, a, b[which]), (v, rows), places
        )
        return problem.centered(v, rows, factor.astype(v.dtype), kappa)

    def running(loop: _Loop) -> Array:
        return ~loop.converged & loop.finite & (loop.iterations < max_iterations)

    def body(loop: _Loop) -> _Loop:
        rows, tangent = problem.linearize(loop.x.v)
        equations = residual(problem, rows, loop.x, kappa)
        error = scaled_error(problem, loop.x, equations, kappa, tolerance)
        converged, better = error <= tolerance, error < loop.best_error
        system = newton_system(problem, tangent, loop.x)
        x, length = advance(problem, system, equations, loop.x, kappa)
        fruitless = (length < _JAMMED) | (loop.age >= _PATIENCE)
        fruitless &= loop.iterations < _LAST_SEARCH * max_iterations
        stalled = fruitless | ~_all_finite(x)
        search = (loop.search + stalled) % len(_SEARCHES)
        x = _choose(stalled, begun(search, loop.x.v, rows), x)
        finite = jnp.isfinite(error) & _all_finite(x)
        # The step from a converged point is the polish: it squares the residual, or, at the
        # rounding limit, is not taken.
        stay = ~finite | (converged & (stalled if polish else True))
        return _Loop(
            x=_choose(stay, loop.x, x),
            best=_choose(better, loop.x, loop.best),
            best_error=jnp.where(better, error, loop.best_error),
            iterations=loop.iterations + 1,
            search=search,
            age=jnp.where(stalled, 0, loop.age + 1),
            converged=converged,
            finite=finite | converged,
        )

    zero = jnp.asarray(0)
    if first is None:
        first = begun(zero, *jax.tree.map(lambda a: a[0], places))
    finite = _all_finite(first)
    loop = _Loop(first, first, jnp.inf * one, zero, zero, zero, jnp.asarray(False), finite)
    last = lax.while_loop(running, body, loop)
    x = _choose(last.converged, last.x, last.best)
    final = residual(problem, problem.rows(x.v), x, kappa)
    error = scaled_error(problem, x, final, kappa, tolerance)
    finite = last.finite & jnp.isfinite(error)
    converged = (last.converged | (error <= tolerance)) & finite
    return Solution(x, last.x, error, converged, last.iterations, finite)


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


def _choose(first: Array, a: Point, b: Point) -> Point:
    return jax.tree.map(lambda x, y: jnp.where(first, x, y), a, b)


def _all_finite(x: Point) -> Array:
    return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(x)]))
