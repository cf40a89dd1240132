"""Limits of ball joints: how far they turn, whatever the axis."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from differences import best_richardson
from jacobians import Steps

import dojo
from dojo.metrics import energy
from dojo.physics.kinematics import difference, displace

LIMIT = np.deg2rad(40.0)
# A pendulum on a ball that is turned in its link, and another ball below it.
SWING = """<mujoco><option timestep="0.005" gravity="0 0 {gravity}"/><worldbody>
  <body euler="10 20 30"><joint name="shoulder" type="ball" pos="0 .02 0" range="0 40"/>
    <geom type="box" size=".08 .1 .2" pos=".02 0 -.2" mass="1"/>
    <body pos="0 0 -.4"><joint name="wrist" type="ball" range="0 {wrist}"/>
      <geom type="box" size=".06 .05 .1" pos="0 .02 -.1" mass=".5"/></body></body>
</worldbody></mujoco>"""


def swing(gravity=-9.81, wrist=70):
    return dojo.load(SWING.format(gravity=gravity, wrist=wrist))


@pytest.fixture(scope="module")
def model():
    return swing()


def angles(q):
    """How far both balls are turned, (..., 2)."""
    w = np.abs(np.asarray(q).reshape(*q.shape[:-1], 2, 4)[..., 0])
    return 2.0 * np.arccos(np.minimum(w, 1.0))


def test_no_ball_is_turned_further(model):
    """Thrown about at up to 6 rad/s: each limit is met, none is passed, nothing gains energy."""
    starts = jax.vmap(lambda v: dojo.init(model, v=v))(
        jnp.asarray(np.random.default_rng(0).uniform(-6, 6, (8, model.nv)))
    )

    @jax.jit
    @jax.vmap
    def run(state):
        states, infos = dojo.rollout(model, state, jnp.zeros((200, 0)))
        return states, infos, jax.vmap(lambda s: sum(energy(model, s)))(states)

    states, infos, total = run(starts)
    assert infos.converged.all()
    most = angles(states.q).max(axis=(0, 1))
    limits = np.deg2rad([40.0, 70.0])
    assert (most <= limits + 1e-9).all()
    assert (most > limits - 1e-3).all()
    # The order of the step beside what impacts take.
    assert (total[:, -1] < total[:, 0]).all()
    assert np.diff(total, axis=1).max() < 0.05 * np.abs(total).max()


@pytest.mark.slow
def test_a_light_rod_gains_little_where_it_swings_along_its_limit():
    """At h = 0.01 a step gains up to 0.04 J of 10.8, about the axis of its start 0.8 J.

    Five steps of 800 have no solution, 22 about that axis; sixteen parts of them have one.
    """
    rods = SWING.replace('type="box" size=".06 .05 .1"', 'type="capsule" size=".03 .1"')
    model = dojo.load(rods.format(gravity=-9.81, wrist=70), timestep=0.01)
    starts = jax.vmap(lambda v: dojo.init(model, v=v))(
        jnp.asarray(np.random.default_rng(0).uniform(-12, 12, (8, model.nv)))
    )
    still = jnp.zeros((100, 0))
    run = jax.jit(jax.vmap(lambda state: dojo.rollout(model, state, still)))
    states, infos = run(starts)
    total = jax.jit(jax.vmap(jax.vmap(lambda s: sum(energy(model, s)))))(states)
    assert np.diff(total, axis=1).max() < 0.01 * np.abs(total).max()
    lane, k = np.nonzero(~np.asarray(infos.converged))
    assert 0 < len(lane) < 10
    failed = dojo.State(states.q[lane, k - 1], states.v[lane, k - 1])
    parts = dojo.SolverOptions(substeps=16)
    _, again = jax.jit(jax.vmap(lambda s: dojo.step(model, s, options=parts)))(failed)
    assert again.converged.all()


def test_it_leans_on_its_limit():
    """The torque of the limit about the axis of the turn is that of the weight."""
    model = swing(wrist=1)
    axis, tilt = np.array([0.6, 0.8, 0.0]), dojo.SolverOptions(kappa=1e-10)
    start = np.concatenate([[np.cos(LIMIT / 2)], np.sin(LIMIT / 2) * axis, [1, 0, 0, 0]])
    state = dojo.init(model.replace(gravity=0 * model.gravity), q=start)
    # Gravity that turns it on about the same axis.
    weight = model.replace(gravity=jnp.zeros(3), dof_damping=5.0)
    wrench = np.zeros((2, 6))
    pushed = jax.jit(lambda s, w: dojo.step(weight, s, wrench=w, options=tilt))
    poses = dojo.forward_kinematics(weight, state.q)
    world = np.asarray(poses.rot[0]) @ axis
    wrench[0, 3:] = 3.0 * world
    for _ in range(200):
        state, info = pushed(state, wrench)
    np.testing.assert_allclose(state.v, 0.0, atol=1e-6)
    np.testing.assert_allclose(angles(state.q)[0], LIMIT, atol=1e-6)
    low, high = np.asarray(info.limit_impulse).reshape(2, -1)
    np.testing.assert_allclose(high[0], 3.0 * float(model.timestep), rtol=1e-3)
    assert low.max() < 1e-9


@pytest.fixture(scope="module")
def at_limits(model):
    """States that come to their limits, at one, and away from them: q (4, nq), v (4, nv)."""
    rng, found = np.random.default_rng(1), []
    for angle in (LIMIT - 0.03, LIMIT - 1e-3, 0.3, 0.0):
        axes = rng.normal(size=(2, 3))
        turn = (axes / np.linalg.norm(axes, axis=1, keepdims=True)).ravel() * angle
        q = displace(model, model.q_rest, jnp.asarray(turn))
        found.append((q, np.concatenate([4.0 * turn[:3], turn[3:]]) + rng.normal(size=6)))
    return tuple(jnp.stack(x) for x in zip(*found, strict=True))


def test_jacobians(model, at_limits):
    info, error = Steps(model, kappa=1e-4).errors(*at_limits)
    assert info.converged.all()
    assert np.asarray(info.limit_impulse).max() > 1e-2
    assert (error < 1e-6).all(), error


def test_the_step_by_the_limit(model, at_limits):
    q, v = (x[0] for x in at_limits)
    options = dojo.SolverOptions(kappa=1e-4)

    @jax.jit
    def after(t):
        moved = dataclasses.replace(model, ball_range=model.ball_range + t * jnp.array([1.0, 0.5]))
        end, _ = dojo.step(moved, dojo.State(q, v), options=options)
        return jnp.concatenate([difference(model, q, end.q), end.v])

    expected = best_richardson(lambda t: np.asarray(after(t)), [1e-7, 1e-6, 1e-5])
    assert np.abs(expected).max() > 0.1
    found = jax.jit(jax.jacfwd(after))(0.0)
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


def test_limits_that_are_none_and_that_leave_nothing():
    assert len(swing(wrist=200).topology.limited_balls) == 1
    xml = SWING.format(gravity=0, wrist=70).replace('range="0 40"', 'range="0 40" margin="1"')
    with pytest.raises(dojo.ModelError, match="no ball is turned by more than pi"):
        swing().replace(ball_range=4.0)
    with pytest.raises(dojo.ModelError, match=r"ball joint shoulder may turn by -0.3\d* rad"):
        dojo.load(xml)
