"""Many steps in a row."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from dojo.model.model import Model
from dojo.model.state import State
from dojo.report import StepInfo
from dojo.solver.implicit import SOLUTION
from dojo.solver.options import SolverOptions
from dojo.step import step


def rollout(
    model: Model,
    state: State,
    us: ArrayLike,
    *,
    wrenches: ArrayLike | None = None,
    mocaps: ArrayLike | None = None,
    options: SolverOptions | None = None,
) -> tuple[State, StepInfo]:
    """Simulate len(us) steps.

    Args:
        model: the robot.
        state: the state at the start.
        us: controls (T, nu); (T, 0) for a model without actuators.
        wrenches: external forces (T, nl, 6), see `step`.
        mocaps: poses (T, nmocap, 7) of the mocap bodies at the end of each step, see `step`.
        options: see `SolverOptions`.

    Returns:
        The states after each step and what each step reported, stacked: leading axis T.

    Raises:
        ValueError: wrong shapes.
    """
    us = jnp.asarray(us, model.dtype)
    if us.ndim != 2 or us.shape[1] != model.nu:
        raise ValueError(
            f"rollout: us has shape {us.shape}, expected (T, {model.nu}). For a batch, wrap "
            "rollout in jax.vmap."
        )
    wrenches = _each("wrenches", wrenches, (len(us), model.topology.nl, 6), model)
    mocaps = _each("mocaps", mocaps, (len(us), model.nmocap, 7), model)
    start = jax.tree.map(lambda x: jnp.asarray(x, model.dtype), state)

    def advance(
        at: State, inputs: tuple[Array, Array | None, Array | None]
    ) -> tuple[State, tuple[State, StepInfo]]:
        u, wrench, mocap = inputs
        after, info = step(model, at, u, wrench=wrench, mocap=mocap, options=options)
        return after, (after, info)

    # What is differentiated keeps the solved points and evaluates the rest again on the way back.
    keep = jax.checkpoint_policies.save_only_these_names(SOLUTION)
    remembering = jax.checkpoint(advance, policy=keep, prevent_cse=False)
    _, (states, infos) = jax.lax.scan(remembering, start, (us, wrenches, mocaps))
    return states, infos


def _each(
    name: str, values: ArrayLike | None, shape: tuple[int, ...], model: Model
) -> Array | None:
    """An input of every step; ValueError unless it has this shape."""
    if values is None:
        return None
    array = jnp.asarray(values, model.dtype)
    if array.shape != shape:
        raise ValueError(f"rollout: {name} has shape {array.shape}, expected {shape}.")
    return array


def first_failure(infos: StepInfo) -> tuple[Array, Array]:
    """When and how a rollout first failed.

    Args:
        infos: what a rollout reported, leading axis T; for a batch, `jax.vmap(first_failure)`.

    Returns:
        step: () index of the first step that did not converge, -1 if all did.
        status: () its `dojo.Status`.
    """
    failed = ~infos.converged
    first = jnp.argmax(failed)
    return jnp.where(failed.any(), first, -1), infos.status[first]
