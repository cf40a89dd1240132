"""Derivatives compose: both modes, second order, jit, vmap, scan, checkpoint."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from differences import best_richardson
from paths import MODELS
from programs import equations

import dojo

OPTIONS = dojo.SolverOptions(kappa=1e-3)


@pytest.fixture(scope="module")
def box():
    return dojo.load(MODELS / "box.xml", timestep=0.02)


def start(model, v):
    return dojo.init(model, q=jnp.array([0, 0, 0.26, 1, 0.02, 0.01, 0]), v=v)


def loss(model, inputs):
    """A number that depends on everything a step leads to: inputs are v (6,), mu."""
    changed = model.replace(geom_friction=inputs[6])
    after, info = dojo.step(changed, start(model, inputs[:6]), options=OPTIONS)
    c = info.contacts
    return after.q @ after.q + after.v @ after.v + jnp.sum(c.impulse**2) + jnp.sum(c.gap * c.gap)


INPUTS = jnp.array([0.5, 0.2, -1.0, 0.1, 0.2, 0.3, 0.4])


def test_hessian(box):
    """Second derivatives of a loss over a step, against differences of the gradient."""
    hessian = jax.jit(jax.hessian(lambda x: loss(box, x)))(INPUTS)
    gradient = jax.jit(jax.grad(lambda x: loss(box, x)))
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-8, atol=1e-10)
    scale = np.abs(hessian).max()
    for k in range(7):
        unit = np.eye(7)[k]

        def moved(h, unit=unit):
            return np.asarray(gradient(INPUTS + h * unit))

        expected = best_richardson(moved, 4.0 ** np.arange(-10, -3))
        assert np.abs(hessian[k] - expected).max() < 1e-6 * scale


def rolled(model, v, us):
    states, infos = dojo.rollout(model, start(model, v), us, options=OPTIONS)
    return jnp.sum(states.v[-1] ** 2) + states.q[-1, 0], infos.converged.all()


def test_modes_agree_through_a_rollout(box):
    """Reverse mode, which evaluates the steps again, against forward mode, which does not."""
    v, us = INPUTS[:6], jnp.zeros((12, 0))
    reverse, converged = jax.jit(jax.grad(lambda v: rolled(box, v, us), has_aux=True))(v)
    assert converged
    forward = jax.jit(jax.jacfwd(lambda v: rolled(box, v, us)[0]))(v)
    assert np.abs(reverse - forward).max() < 1e-10 * np.abs(reverse).max()


def test_checkpoint_scan_vmap_jit(box):
    """A user's own scan of checkpointed steps, batched, gives the gradient of `rollout`."""

    @jax.checkpoint
    def advance(state, _):
        after, _ = dojo.step(box, state, options=OPTIONS)
        return after, None

    def own(v):
        last, _ = jax.lax.scan(advance, start(box, v), length=12)
        return jnp.sum(last.v**2) + last.q[0]

    vs = INPUTS[:6] * jnp.array([[1.0], [0.5]])
    mine = jax.jit(jax.vmap(jax.grad(own)))(vs)
    theirs = jax.jit(jax.vmap(jax.grad(lambda v: rolled(box, v, jnp.zeros((12, 0)))[0])))(vs)
    np.testing.assert_allclose(mine, theirs, rtol=1e-9)


def test_memory_of_a_rollout(box):
    """Reverse mode keeps the states and solved points: a few numbers a step."""

    def bytes_of(steps):
        us = jnp.zeros((steps, 0))
        gradient = jax.jit(jax.grad(lambda v: rolled(box, v, us)[0]))
        return gradient.lower(INPUTS[:6]).compile().memory_analysis().temp_size_in_bytes

    short, long = bytes_of(20), bytes_of(220)
    # State 13, velocity 6, four corners with 7 numbers each; XLA holds some of it twice.
    assert (long - short) / 200 < 4 * 8 * (13 + 6 + 4 * 7)


def test_the_way_back_solves_nothing(box):
    """One loop of Newton iterations in the gradient of a rollout: that of the way there."""

    def loops(program):
        return sum(e.primitive.name == "while" for e in equations(program))

    us = jnp.zeros((12, 0))
    gradient = jax.make_jaxpr(jax.grad(lambda v: rolled(box, v, us)[0]))(INPUTS[:6])
    forward = jax.make_jaxpr(lambda v: rolled(box, v, us)[0])(INPUTS[:6])
    assert loops(gradient) == loops(forward) == 1
