"""Closed-form Jacobians of a step beside central differences of the same step."""

import jax
import jax.numpy as jnp
import numpy as np
from differences import best_richardson

import dojo
from dojo.physics.kinematics import difference, displace


def jacobian_errors(model, q, v, kappa=1e-3):
    """Infos of steps from q (lanes, nq), v (lanes, nv), and the relative errors of A, (lanes,)."""
    lanes = len(q)

    @jax.jit
    @jax.vmap
    def moved(q, v, x):
        state = dojo.State(displace(model, q, x[: model.nv]), v + x[model.nv :])
        return dojo.step_and_linearize(model, state, options=dojo.SolverOptions(kappa=kappa))

    after, info, (a, _) = moved(q, v, jnp.zeros((lanes, 2 * model.nv)))
    tangent = jax.jit(jax.vmap(lambda q, to: difference(model, q, to)))

    def ends(x):
        at, _, _ = moved(q, v, x)
        return np.concatenate([tangent(after.q, at.q), at.v], axis=1)

    columns = [
        best_richardson(lambda t, x=x: ends(t * jnp.tile(x, (lanes, 1))), [1e-7, 1e-6, 1e-5])
        for x in jnp.eye(2 * model.nv)
    ]
    error = np.abs(a - np.stack(columns, axis=2)).max(axis=(1, 2))
    return info, error / np.abs(a).max(axis=(1, 2))
