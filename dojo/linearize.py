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
from dojo.step import shaped, step


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
        model: the robot.
        state: the state to linearize at.
        u: controls (nu,); None is zero.
        wrench: external forces (nl, 6), see `step`.
        options: see `SolverOptions`; derivatives are those at `grad_kappa`.

    Returns:
        A (2 nv, 2 nv) and B (2 nv, nu): d[dq'; dv'] = A d[dq; dv] + B du, with dq the tangent
        vector of mj_differentiatePos (body-frame rotation vectors for quaternions). The same
        convention as MuJoCo's mjd_transitionFD.

    Raises:
        ValueError: wrong shapes.
    """
    u = shaped("u", np.zeros(model.nu) if u is None else u, (model.nu,), model)
    q = normalize_configuration(model, shaped("state.q", state.q, (model.nq,), model))
    v = shaped("state.v", state.v, (model.nv,), model)

    def moved(x: Array, u: Array) -> Array:
        start = State(displace(model, q, x[: model.nv]), v + x[model.nv :])
        after, _ = step(model, start, u, wrench=wrench, options=options)
        # The tangent space at the end of the undisturbed step, where the derivative is taken.
        q_end = jax.lax.stop_gradient(after.q)
        return jnp.concatenate([difference(model, q_end, after.q), after.v])

    a, b = jax.jacfwd(moved, argnums=(0, 1))(jnp.zeros(2 * model.nv, model.dtype), u)
    return a, b
