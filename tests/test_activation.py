"""Actuators with a memory: activations beside MuJoCo's, and their derivatives."""

import dataclasses

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from differences import best_richardson

import dojo

ARM = """
<mujoco><option timestep="0.004"/><worldbody>
  <body><joint name="a" axis="0 1 0" damping=".1"/>
    <geom type="capsule" fromto="0 0 0 .5 0 0" size=".02"/>
  <body pos=".5 0 0"><joint name="b" axis="0 1 0" damping=".1" range="-60 60"/>
    <geom type="capsule" fromto="0 0 0 .4 0 0" size=".02"/></body></body>
</worldbody><actuator>
  <intvelocity name="integrated" joint="a" kp="8" kv=".1" actrange="-.3 .3"/>
  <motor name="direct" joint="b" ctrlrange="-.5 .5"/>
  <general name="slow" joint="b" dyntype="filterexact" dynprm=".05" gainprm="2" ctrlrange="-1 1"/>
  <general name="early" joint="a" dyntype="filterexact" dynprm=".02" actearly="true"/>
  <general name="filter" joint="a" dyntype="filter" dynprm=".03" gainprm=".5"/>
  <general name="instant" joint="b" dyntype="filterexact" dynprm="0" gainprm=".1"/>
</actuator>
<keyframe><key name="wound" qpos=".1 .2" act=".1 .2 .3 .4 .5" ctrl="1 2 3 4 5 6"/></keyframe>
</mujoco>
"""
ACTS = np.array([0.2, -0.1, 0.3, 0.1, -0.2])
CONTROLS = np.array([0.5, 0.3, -0.8, 0.4, 0.6, 0.7])


@pytest.fixture(scope="module")
def arm():
    return dojo.load(ARM)


@jax.jit
def step(model, state, u):
    return dojo.step(model, state, u, options=dojo.SolverOptions(kappa=1e-8))


@pytest.fixture(scope="module")
def start(arm):
    return dojo.init(arm, q=[0.3, -0.2], v=[0.5, 1.0], act=ACTS)


def test_activations_follow_the_controls_as_in_mujoco(arm, start):
    m = mujoco.MjModel.from_xml_string(ARM)
    d = mujoco.MjData(m)
    d.act = ACTS
    state, us = start, np.random.default_rng(0).normal(size=(30, 6))
    decay = np.exp(-0.004 / 0.03)
    for u in us:
        filtered = decay * state.act[3] + (1 - decay) * u[4]
        state, _ = step(arm, state, u)
        d.ctrl = u
        mujoco.mj_step(m, d)
        # MuJoCo takes an Euler step of the `filter`, here it is exact like `filterexact`.
        np.testing.assert_allclose(np.delete(state.act, 3), np.delete(d.act, 3), atol=1e-12)
        np.testing.assert_allclose(state.act[3], filtered, rtol=1e-12)
    assert abs(state.act[0]) <= 0.3
    np.testing.assert_allclose(state.act[4], us[-1][5], rtol=1e-12)


def test_a_force_is_that_of_the_activation(arm, start):
    """The same as of actuators without memory whose controls these are."""
    bare = ARM.replace("intvelocity", "position").replace('actrange="-.3 .3"', "")
    for words in ('dyntype="filterexact"', 'dyntype="filter"', 'actearly="true"'):
        bare = bare.replace(words, "")
    bare = bare.replace('act=".1 .2 .3 .4 .5"', "")
    early = CONTROLS[3] + np.exp(-0.004 / 0.02) * (ACTS[2] - CONTROLS[3])
    u = np.array([ACTS[0], CONTROLS[1], ACTS[1], early, ACTS[3], ACTS[4]])
    memoryless = dojo.load(bare)
    assert memoryless.na == 0
    state = dojo.init(memoryless, q=start.q, v=start.v)
    assert state.act is None
    expected, _ = step(memoryless, state, u)
    found, _ = step(arm, start, CONTROLS)
    np.testing.assert_allclose(found.v, expected.v, rtol=1e-12)


def flat(state):
    """(q, v, act): the arm has no quaternions."""
    return jnp.concatenate([state.q, state.v, state.act])


def unflat(x):
    return dojo.State(x[:2], x[2:4], x[4:])


@pytest.mark.parametrize("substeps", [1, 2])
def test_jacobians(arm, start, substeps):
    """A and B hold the activations, in mjd_transitionFD's order."""
    options = dojo.SolverOptions(kappa=1e-8, substeps=substeps)
    x = np.concatenate([flat(start), CONTROLS])

    @jax.jit
    def moved(x):
        return flat(dojo.step(arm, unflat(x[:9]), x[9:], options=options)[0])

    found = np.concatenate(jax.jit(dojo.linearize)(arm, start, CONTROLS, options=options), axis=1)
    assert found.shape == (9, 15)
    expected = [
        best_richardson(lambda h, e=e: np.asarray(moved(x + h * e)), [1e-6, 1e-5, 1e-4])
        for e in np.eye(15)
    ]
    np.testing.assert_allclose(found, np.stack(expected, axis=1), atol=1e-7)
    np.testing.assert_allclose(found, jax.jit(jax.jacrev(moved))(x), atol=1e-10)


def test_parameter_derivatives(arm, start):
    """Of the state two steps on; the integrator is at the end of its range."""
    wound = dataclasses.replace(start, act=start.act.at[0].set(0.5))

    @jax.jit
    def after(h, timeconst, limits):
        model = dataclasses.replace(
            arm,
            activation_timeconst=arm.activation_timeconst + h * timeconst,
            activation_range=arm.activation_range + h * limits,
        )
        state, _ = step(model, wound, CONTROLS)
        return flat(step(model, state, CONTROLS)[0])

    rng, slope = np.random.default_rng(1), jax.jit(jax.jacfwd(after))
    # A filter without a time constant has no negative one either.
    timeconst = rng.normal(size=arm.na) * (np.asarray(arm.activation_timeconst) > 0)
    limits = rng.normal(size=(arm.na, 2))
    for changes in ((timeconst, 0 * limits), (0 * timeconst, limits)):
        expected = best_richardson(
            lambda h, c=changes: np.asarray(after(h, *c)), [1e-6, 1e-5, 1e-4]
        )
        assert np.abs(expected).max() > 1e-2
        np.testing.assert_allclose(slope(0.0, *changes), expected, atol=1e-6)


def test_keyframes_and_rollouts(arm):
    state = dojo.init(arm, keyframe="wound")
    np.testing.assert_array_equal(state.act, [0.1, 0.2, 0.3, 0.4, 0.5])
    us = np.tile(CONTROLS, (3, 1))
    states, infos = jax.jit(dojo.rollout)(arm, state, us)
    assert infos.converged.all()
    assert states.act.shape == (3, 5)
    first, _ = jax.jit(dojo.step)(arm, state, us[0])
    np.testing.assert_allclose(states.act[0], first.act, rtol=1e-12)


def test_a_bounce_keeps_activations():
    """A step with an impact advances them just the same, and so does its linearization."""
    model = dojo.load(
        """<mujoco><option timestep="0.004"/><worldbody><geom type="plane" size="1 1 .1"/>
        <body pos="0 0 .101"><joint name="z" type="slide" axis="0 0 1"/><geom size=".1"/></body>
        </worldbody><actuator><general joint="z" dyntype="filter" dynprm=".05"/></actuator>
        </mujoco>""",
        restitution=0.5,
    )
    passed = 1 - np.exp(-0.004 / 0.05)
    after, info, (a, b) = dojo.step_and_linearize(
        model, dojo.init(model, v=[-1.0], act=[0.2]), [0.7]
    )
    assert info.converged
    assert after.v[0] > 0.4
    np.testing.assert_allclose(after.act, [0.2 + passed * 0.5], rtol=1e-12)
    np.testing.assert_allclose([a[2, 2], b[2, 0]], [1 - passed, passed], rtol=1e-9)


def test_bad_input(arm, start):
    with pytest.raises(ValueError, match="state.act: missing"):
        dojo.step(arm, dojo.State(start.q, start.v))
    with pytest.raises(ValueError, match="state.act: shape"):
        dojo.step(arm, dataclasses.replace(start, act=jnp.zeros(2)))
    with pytest.raises(ValueError, match="act: shape"):
        dojo.init(arm, act=[1.0])
    after, info = step(arm, start, np.array([0, 0, np.nan, 0, 0, 0.0]))
    assert info.status == dojo.Status.NONFINITE
    np.testing.assert_array_equal(flat(after), flat(start))
    muscle = ARM.replace("<motor", '<muscle name="grip" joint="a" lengthrange="0 1"/><motor')
    with pytest.raises(dojo.UnsupportedFeature, match=r"grip \(muscle dynamics\)"):
        dojo.load(muscle)
