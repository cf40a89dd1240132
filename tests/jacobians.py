"""Closed-form Jacobians of a step beside central differences of the same step."""

import functools

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

        @jax.jit
        @functools.partial(jax.vmap, in_axes=(0, 0, 0, None))
        def moved(q, v, x, kappa):
            state = dojo.State(displace(model, q, x[: model.nv]), v + x[model.nv :])
            options = dojo.SolverOptions(kappa=kappa)
            return dojo.step_and_linearize(model, state, options=options)

        self._moved, self._kappa = moved, kappa

    def moved(self, q, v, x):
        """States after steps from q and v, displaced by x (lanes, 2 nv), infos and Jacobians."""
        return self._moved(q, v, x, self._kappa)

    def simulate(self, q, v, count, kappa):
        """States and infos of simulations from q and v, (count, lanes, ...) each, as numpy."""
        still, found = jnp.zeros((len(q), 2 * self.model.nv)), []
        for _ in range(count):
            state, info, _ = self._moved(q, v, still, kappa)
            q, v = state.q, state.v
            found.append((state, info))
        return jax.tree.map(lambda *x: np.stack(x), *found)

    def after(self, q, v, counts):
        """q (lanes, nq), v (lanes, nv) after so many steps, counts (lanes,)."""
        still, counts = jnp.zeros((len(q), 2 * self.model.nv)), np.asarray(counts)[:, None]
        for k in range(counts.max()):
            state, info, _ = self.moved(q, v, still)
            assert info.converged.all()
            q, v = jnp.where(k < counts, state.q, q), jnp.where(k < counts, state.v, v)
        return q, v

    def errors(self, q, v, directions=6, scales=(1e-7, 1e-6, 1e-5)):
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

            expected = best_richardson(ends, scales)
            error = np.abs(a @ x - expected).max(axis=1) / np.abs(expected).max(axis=1)
            worst = np.maximum(worst, error)
        return info, worst
