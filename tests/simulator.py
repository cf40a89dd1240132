"""Compiled rollouts shared by the tests.

Parameters, timestep and kappa are traced, the length of a chunk is fixed: one compilation serves
every case of a topology.
"""

import jax
import jax.numpy as jnp
import numpy as np

import dojo

CHUNK = 50


@jax.jit
def _chunk(model, state, us, kappa):
    options = dojo.SolverOptions(kappa=kappa)
    return dojo.rollout(model, state, us, options=options)


def simulate(model, state, steps, kappa=1e-6, us=None):
    """States and step infos (numpy, stacked) of a whole simulation."""
    us = np.zeros((steps, model.nu)) if us is None else np.asarray(us)
    padded = np.concatenate([us, np.zeros((-steps % CHUNK, model.nu))])
    parts = []
    for k in range(0, len(padded), CHUNK):
        parts.append(_chunk(model, state, jnp.asarray(padded[k : k + CHUNK]), kappa))
        state = jax.tree.map(lambda x: x[-1], parts[-1][0])
    return jax.tree.map(lambda *x: np.concatenate(x)[:steps], *parts)


@jax.jit
def energies(model, states):
    """Mechanical energy of stacked states, (T,)."""
    return jax.vmap(lambda q, v: sum(dojo.energy(model, dojo.State(q, v))))(states.q, states.v)


@jax.jit
def momenta(model, states):
    """Linear and angular momentum of stacked states, (T, 6)."""

    def one(q, v):
        return jnp.concatenate(dojo.momentum(model, dojo.State(q, v)))

    return jax.vmap(one)(states.q, states.v)
