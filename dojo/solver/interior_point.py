"""The interior-point iteration: predictor-corrector, then plain Newton at the target kappa.

Each iteration factorizes the Newton system and takes the best of a few directions (`directions`).
Where that leads nowhere, the search starts afresh from another point of a fixed list.
Source: Howell et al., arXiv 2203.00806, section IV.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from dojo.math.trees import choose
from dojo.math.vectors import smallest
from dojo.solver import searches
from dojo.solver.directions import advance
from dojo.solver.linear_system import newton_system
from dojo.solver.problem import Point, Problem, Residual, equality_pull, residual
from dojo.solver.searches import AFRESH, HERE, Radii, Rows, Search, search_at

# A step shorter than this share of its direction is a jam on the boundary of a cone.
_JAMMED = 0.01
# Share of the iterations after which the last search begins.
_LAST_SEARCH = 0.9
# Impulses over the momentum of a step that only a step without solution leads to, if their sum is
# this small a share of them.
_OUTGROWN, _BALANCED = 1e4, 1e-4


class Solution(NamedTuple):
    """Result of a solve; the best point met if it did not converge."""

    x: Point
    last: Point  # where the search ended
    converged: Array
    refused: Array  # whether one that the problem refuses was met
    iterations: Array
    finite: Array


class _Seen(NamedTuple):
    """The present point, looked at."""

    trial: Any  # where its v leads
    left: Residual
    error: Array
    refused: Array  # as no solution, solved or not


class Loop(NamedTuple):
    """Where the iteration stands."""

    x: Point
    seen: _Seen
    best: Point
    best_error: Array
    counts: Array  # (3,): iterations, row of the list of searches, iterations since it began
    radii: Radii  # of the cones in searches that hold them
    converged: Array
    over: Array  # nothing is left to be done
    refused: Array
    finite: Array

    @property
    def iterations(self) -> Array:
        return self.counts[0]

    @property
    def search(self) -> Array:
        """Row of the list of searches."""
        return self.counts[1]

    @property
    def age(self) -> Array:
        """Iterations since the search began; at 0 nothing but x.v counts."""
        return self.counts[2]


class Task(NamedTuple):
    """What every iteration of a solve needs."""

    problem: Problem
    starts: Array
    kappa: Array
    tolerance: float
    last_search: int  # iteration at which it begins
    order: Array | None  # of v, for the factors
    searches: Rows

    def search(self, row: Array) -> Search:
        return search_at(self.searches, row)


def solve(
    problem: Problem, first: Point | None, kappa: Array, tolerance: float, max_iterations: int
) -> Solution:
    """Bring a point, the problem's own if None, to the kappa point of the problem."""
    task, loop = begin(problem, first, kappa, tolerance, max_iterations)

    def running(loop: Loop) -> Array:
        return ~loop.over & loop.finite & (loop.iterations < max_iterations)

    last = lax.while_loop(running, functools.partial(iterated, task), loop)
    x = choose(last.converged, last.x, last.best)
    return Solution(x, last.x, last.converged, last.refused, last.iterations, last.finite)


def begin(
    problem: Problem, first: Point | None, kappa: Array, tolerance: float, max_iterations: int
) -> tuple[Task, Loop]:
    """What `solve` iterates with, and where it begins."""
    starts = problem.starts()
    last_search = int(_LAST_SEARCH * max_iterations)
    rows = searches.AMONG_MANY if problem.of_many else searches.SEARCHES
    task = Task(problem, starts, kappa, tolerance, last_search, problem.order(), rows)
    little = problem.radius(jnp.full(problem.sizes[0], kappa / problem.scales.size[1]))
    counts = jnp.asarray([0, 0, 0 if first is None else 1])
    if first is None:
        first = _unset(problem, starts[rows[0][0]])
    worst, no, radii = jnp.asarray(jnp.inf, kappa.dtype), jnp.asarray(False), Radii.at(little)
    x, seen = _look(task, first, counts, radii)
    # What is lost later is a step too far; at the start it is the inputs.
    finite = jnp.isfinite(seen.error)
    begun = Loop(x, seen, x, worst, counts, radii, no, no, refused=no, finite=finite)
    return task, _batched(_judged(task, begun), starts)


def _look(task: Task, x: Point, counts: Array, radii: Radii) -> tuple[Point, _Seen]:
    """The point that a loop goes on from, put inside the cones at age 0, and what it is like."""
    problem, kappa = task.problem, task.kappa
    _, row, age = counts
    search = task.search(row)
    here = problem.held(radii.held, search.holds)
    trial = problem.move(x.v)
    rows = here.rows_after(x.v, trial)
    begun = here.centered(x.v, rows, search.factor.astype(kappa.dtype), kappa, row == 0)
    x = choose(age == 0, begun, x)
    left = residual(here, rows, x, kappa)
    error = scaled_error(here, x, left, kappa, task.tolerance)
    return x, _Seen(trial, left, error, ~search.holds & problem.refused(x, rows, left))


def _judged(task: Task, loop: Loop) -> Loop:
    """The loop, aware of whether its point is the solution or the best one so far."""
    error, refused = loop.seen.error, loop.seen.refused
    solved, counts = error <= task.tolerance, ~task.search(loop.search).holds & ~refused
    better = (error < loop.best_error) & counts
    converged = loop.converged | (solved & counts)
    return loop._replace(
        best=choose(better, loop.x, loop.best),
        best_error=jnp.where(better, error, loop.best_error),
        converged=converged,
        # In double precision a last step from there squares the residual. Single precision is at
        # its rounding limit before.
        over=loop.converged if jnp.finfo(error.dtype).eps < 1e-12 else converged,
        refused=loop.refused | (solved & refused),
    )


def iterated(task: Task, loop: Loop) -> Loop:
    """The loop after one iteration."""
    search, seen = task.search(loop.search), loop.seen
    holding = search.holds
    here = task.problem.held(loop.radii.held, holding)
    tangent = here.tangent_after(loop.x.v, seen.trial)
    system = newton_system(here, tangent, loop.x, task.order)
    x, length, finite = advance(here, system, seen.left, loop.x, task.kappa)

    solved, lost = seen.error <= task.tolerance, ~jnp.isfinite(seen.error)
    fruitless = ((length < _JAMMED) & ~holding) | (loop.age >= search.patience)
    ended = (solved & (holding | seen.refused)) | lost | ~finite
    ended |= fruitless & (loop.iterations < task.last_search)
    # A converged point stays where the step from it jams.
    after = loop._replace(
        x=choose(loop.converged & ended, loop.x, x), counts=loop.counts + jnp.asarray([1, 0, 1])
    )
    given_up = ended | (loop.iterations == task.last_search) & (loop.search > 0)
    searched = choose(
        given_up & ~loop.converged, _following(task, loop, after, solved, ~lost), after
    )
    # There it stays: impulses that go on to grow lose their balance in rounding.
    outgrown = _outgrown(task.problem, loop.x, seen.left)
    proved = holding & (loop.iterations > task.last_search) & outgrown
    following = choose(proved, loop._replace(counts=after.counts), searched)
    x, seen = _look(task, following.x, following.counts, following.radii)
    return _judged(task, following._replace(x=x, seen=seen))


def _outgrown(problem: Problem, x: Point, left: Residual) -> Array:
    """Whether the impulses of a point are beyond all momentum, yet balanced: enough for a proof.

    With friction, or without: bounds that contradict each other leave friction no time to settle.
    """
    largest = jnp.max(x.gamma, initial=0.0)
    alone = problem.pull(x.gamma, jnp.zeros_like(x.b)) + equality_pull(problem, x.multiplier)
    sums = (jnp.max(jnp.abs(part)) for part in (left.balance, alone))
    balanced = jnp.minimum(*sums) < _BALANCED * largest
    return balanced & (largest > _OUTGROWN * problem.scales.size[0])


def _following(task: Task, loop: Loop, after: Loop, solved: Array, found: Array) -> Loop:
    """The loop after this iteration, at the search that follows what ended at the loop's point.

    `solved`: whether it is what the search was for; `found`: whether it is one to go on from.
    """
    at = loop.x
    problem, ended, rows = task.problem, task.search(loop.search), task.searches
    last, growing = loop.iterations == task.last_search, loop.iterations > task.last_search
    led_on = ended.holds & jnp.where(ended.strict, solved, found)
    radii = choose(led_on, loop.radii.found(problem.radius(at.gamma)), loop.radii)
    enough = problem.radius(jnp.full_like(at.gamma, _OUTGROWN * problem.scales.size[0]))
    radii = choose(last, Radii.at(jnp.minimum(loop.radii.held, enough)), radii)
    row = jnp.where(last, searches.last_row(rows), (loop.search + 1) % len(rows))
    row = jnp.where(growing, searches.last_row(rows) + 1, row)
    afresh = found & (task.search(row).kind == AFRESH)
    radii = choose(afresh, Radii.at(problem.radius(at.gamma)), radii)
    unit = at.with_b(at.b / problem.held(loop.radii.held, ended.holds).radius(at.gamma))
    return _begun(task, after._replace(radii=radii), row, unit, led_on & radii.near() | growing)


def _begun(task: Task, loop: Loop, row: Array, reached: Point, near: Array) -> Loop:
    """The loop at the beginning of a search, from what the last one reached.

    `reached` has b in units of the radius of its cones; `near`, whether a search that holds the
    radii goes on from there.
    """
    search = task.search(row)
    here = task.problem.held(loop.radii.held, search.holds)
    goes_on = search.goes_on(near)
    v = jnp.where(goes_on | (search.start == HERE), reached.v, task.starts[search.start])
    x = reached.with_b(reached.b * here.radius(reached.gamma))._replace(v=v)
    return loop._replace(
        x=x, counts=jnp.stack([loop.iterations, row, jnp.where(goes_on, search.age_nearby, 0)])
    )


def _batched(loop: Loop, data: Array) -> Loop:
    """The same values, under `vmap` one each for every lane of `data`.

    Carries that become batched in the loop alone make JAX trace its body once more.
    """
    own = data.ravel()[0] > 0
    return jax.tree.map(lambda a: jnp.where(own, a, a), loop)


def _unset(problem: Problem, v: Array) -> Point:
    """A point with nothing but v."""
    m, c, d = problem.sizes
    ones = jnp.ones((2 * d + 1, m + c), v.dtype)
    none = jnp.zeros(len(problem.bonds.rows), v.dtype)
    return Point(v=v, orthant=ones[:2, :m], cones=ones[:, m:], multiplier=none)


def scaled_error(problem: Problem, x: Point, r: Residual, kappa: Array, tolerance: float) -> Array:
    """Largest residual in units of its scale, rounding noise discounted.

    Impulses, gaps and slips are added up, so their own size counts; a product is not known better
    than its gap or its slip; and in a sliding contact two terms cancel down to kappa.
    """
    balance, gap, slip = problem.scales.size
    balance_noise, gap_noise, slip_noise = problem.scales.noise
    rounding = 16 * jnp.finfo(kappa.dtype).eps
    impulses = jnp.concatenate([x.gamma, jnp.abs(x.multiplier)])
    balance_noise += rounding * jnp.max(impulses, initial=0.0)
    gap_noise += rounding * x.slack
    slip_noise += rounding * jnp.max(jnp.abs(x.eta), initial=0.0)
    cone_noise = problem.radius(x.gamma) * (slip_noise + rounding * x.psi)
    d = len(x.b)
    scale = Residual(
        balance=balance,
        orthant=jnp.stack([gap, kappa])[:, None],
        cones=jnp.stack([*d * [slip], *(1 + d) * [kappa]])[:, None],
        equality=gap,
    )
    noise = Residual(
        balance=balance_noise,
        equality=problem.scales.noise[1],
        orthant=gap_noise * jnp.stack([jnp.ones_like(x.gamma), x.gamma]),
        cones=jnp.stack([*d * [slip_noise * jnp.ones_like(x.psi)], *(1 + d) * [cone_noise]]),
    )
    parts = jax.tree.map(
        lambda r, s, n: (jnp.abs(r) / (s + n / tolerance)).ravel(), r, scale, noise
    )
    return -smallest(-jnp.concatenate(parts), 0)
