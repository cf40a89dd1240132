"""Compiled rollouts of the verification suite.

Parameters, timestep, kappa and wrenches are traced, the length of a chunk is fixed: one
compilation serves every case of a topology. Results are numpy arrays, stacked over the steps.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import dojo

CHUNK = 50


@functools.partial(jax.jit, static_argnames="tolerance")
def _one(model, state, us, wrenches, kappa, tolerance):
    options = dojo.SolverOptions(kappa=kappa, tolerance=tolerance)
    return dojo.rollout(model, state, us, wrenches=wrenches, options=options)


@functools.partial(jax.jit, static_argnames="tolerance")
def _many(models, states, us, wrenches, kappa, tolerance):
    lanes = jax.vmap(_one.__wrapped__, (0, 0, None, None, None, None))
    return lanes(models, states, us, wrenches, kappa, tolerance)


def simulate(model, state, steps, kappa=1e-6, *, us=None, wrenches=None, tolerance=None):
    """(states, infos) of `steps` steps; controls and wrenches end with zeros."""
    us = _padded(np.zeros((0, model.nu)) if us is None else us, steps)
    wrenches = None if wrenches is None else _padded(wrenches, steps)
    return _chunks(_one, model, state, steps, us, wrenches, kappa, tolerance, axis=0)


def simulate_many(models, states, steps, kappa=1e-6, *, tolerance=None):
    """The same for a batch of models and states of one topology: arrays (lanes, steps, ...)."""
    us = _padded(np.zeros((0, 0)), steps)
    return _chunks(_many, models, states, steps, us, None, kappa, tolerance, axis=1)


def stacked(trees):
    """One tree of many: models or states of a batch."""
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(x) for x in leaves]), *trees)


def _padded(rows, steps):
    rows = np.asarray(rows, float)[:steps]
    length = -(-steps // CHUNK) * CHUNK
    return np.concatenate([rows, np.zeros((length - len(rows), *rows.shape[1:]))])


def _chunks(run, model, state, steps, us, wrenches, kappa, tolerance, *, axis):
    parts = []
    for k in range(0, len(us), CHUNK):
        some = slice(k, k + CHUNK)
        pushes = None if wrenches is None else wrenches[some]
        parts.append(jax.device_get(run(model, state, us[some], pushes, kappa, tolerance)))
        state = jax.tree.map(lambda x: np.take(x, -1, axis), parts[-1][0])
    keep = (slice(None),) * axis + (slice(steps),)
    return jax.tree.map(lambda *x: np.concatenate(x, axis)[keep], *parts)
