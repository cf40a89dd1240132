"""Jacobians of a step in the tangent space of the configuration."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from dojo.model.model import Model
from dojo.model.state import State, normalize_configuration
from dojo.physics.kinematics import difference, displace
from dojo.solver.options import SolverOptions
from dojo.step import step


def linearize(
    model: Model,
    state: State,
    u: ArrayLike | None = None,
    *,
    wrench: ArrayLike | None = None,
    options: SolverOptions | None = None,
) -> tuple[Array, Array]:
    """Derivatives of the next state by state and control.

    Args:
        model, state, u, wrench, options: as in `step`.

    Returns:
        A (2 nv, 2 nv) and B (2 nv, nu): d[dq'; dv'] = A d[dq; dv] + B du, with dq the tangent
        vector of mj_differentiatePos (body-frame rotation vectors for quaternions). The same
        convention as MuJoCo's mjd_transitionFD.

    Raises:
        ValueError: wrong shapes.
    """
    u = jnp.asarray(np.zeros(model.nu) if u is None else u, model.dtype)
    q = normalize_configuration(model, jnp.asarray(state.q, model.dtype))
    v = jnp.asarray(state.v, model.dtype)
    if u.shape != (model.nu,):
        raise ValueError(f"u: shape {u.shape}, expected {(model.nu,)}.")

    def moved(x: Array, u: Array) -> Array:
        start = State(displace(model, q, x[: model.nv]), v + x[model.nv :])
        after, _ = step(model, start, u, wrench=wrench, options=options)
        # The tangent space at the end of the undisturbed step, where the derivative is taken.
        q_end = jax.lax.stop_gradient(after.q)
        return jnp.concatenate([difference(model, q_end, after.q), after.v])

    a, b = jax.jacfwd(moved, argnums=(0, 1))(jnp.zeros(2 * model.nv, model.dtype), u)
    return a, b
