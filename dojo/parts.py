"""A step in equal parts: always, or where it was not solved as a whole."""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax

from dojo.math.trees import choose
from dojo.report import StepInfo, joined
from dojo.solver.options import SolverOptions

_T = TypeVar("_T")
# From what a step starts from and its length [s], what it leads to, and the report.
Advance = Callable[[_T, Array], tuple[_T, StepInfo]]


def advanced(
    advance: Advance[_T], start: _T, timestep: Array, options: SolverOptions, budgeted: bool
) -> tuple[_T, StepInfo]:
    """A step of that length, in the parts that the options ask for.

    budgeted: parts may have different contacts.
    """

    def part(at: _T, length: Array) -> tuple[_T, StepInfo]:
        if options.retry_substeps == 1:
            return advance(at, length)
        return _retried(advance, at, length, options.retry_substeps, budgeted)

    if options.substeps == 1:
        return part(start, timestep)
    lengths = jnp.full(options.substeps, timestep / options.substeps)
    after, infos = lax.scan(part, start, lengths)
    return after, joined(infos, budgeted)


def _retried(
    advance: Advance[_T], start: _T, timestep: Array, parts: int, budgeted: bool
) -> tuple[_T, StepInfo]:
    """The step as a whole or, where that is not solved, in parts.

    One loop for both: the step is compiled once.
    """
    shape = jax.eval_shape(advance, start, timestep)[1]
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shape)

    def attempt(
        carry: tuple[_T, Array], trial: tuple[Array, Array]
    ) -> tuple[tuple[_T, Array], StepInfo]:
        (at, done), (length, whole) = carry, trial
        after, info = lax.cond(done, lambda at, _: (at, nothing), advance, at, length)
        at = choose(whole & ~info.converged, at, after)
        return (at, done | (whole & info.converged)), info

    trials = jnp.stack([timestep, *parts * [timestep / parts]]), jnp.arange(parts + 1) == 0
    (after, done), infos = lax.scan(attempt, (start, jnp.asarray(False)), trials)
    first, others = (jax.tree.map(lambda x, s=s: x[s], infos) for s in (0, slice(1, None)))
    again = joined(others, budgeted)
    again = dataclasses.replace(again, iterations=first.iterations + again.iterations)
    return after, choose(done, first, again)
