"""Closed-form Jacobians of a step beside central differences of the same step."""

import jax
import jax.numpy as jnp
import numpy as np
from differences import best_richardson

import dojo
from dojo.physics.kinematics import difference, displace


class Steps:
    """Steps of a model with their Jacobians, at one kappa: one compilation for all that follows."""

    def __init__(self, model, kappa=1e-3):
        self.model = model
        options = dojo.SolverOptions(kappa=kappa)

        @jax.jit
        @jax.vmap
        def moved(q, v, x):
            state = dojo.State(displace(model, q, x[: model.nv]), v + x[model.nv :])
            return dojo.step_and_linearize(model, state, options=options)

        self.moved = moved

    def after(self, q, v, counts):
        """q (lanes, nq), v (lanes, nv) after so many steps, counts (lanes,)."""
        still, counts = jnp.zeros((len(q), 2 * self.model.nv)), np.asarray(counts)[:, None]
        for k in range(counts.max()):
            state, info, _ = self.moved(q, v, still)
            assert info.converged.all()
            q, v = jnp.where(k < counts, state.q, q), jnp.where(k < counts, state.v, v)
        return q, v

    def errors(self, q, v, directions=6):
        """Infos of steps from here, and relative errors of A along random directions, (lanes,)."""
        model, lanes = self.model, len(q)
        after, info, (a, _) = self.moved(q, v, jnp.zeros((lanes, 2 * model.nv)))
        tangent = jax.jit(jax.vmap(lambda q, to: difference(model, q, to)))
        worst = np.zeros(lanes)
        for x in np.random.default_rng(0).normal(size=(directions, 2 * model.nv)):
            x /= np.linalg.norm(x)

            def ends(t, x=x):
                at, _, _ = self.moved(q, v, jnp.tile(t * x, (lanes, 1)))
                return np.concatenate([tangent(after.q, at.q), at.v], axis=1)

            expected = best_richardson(ends, [1e-7, 1e-6, 1e-5])
            error = np.abs(a @ x - expected).max(axis=1) / np.abs(expected).max(axis=1)
            worst = np.maximum(worst, error)
        return info, worst
