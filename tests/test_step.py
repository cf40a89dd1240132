"""The step as a function: batches, transformations, outputs, single precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chains import CHAIN
from paths import MODELS

import dojo
from dojo.physics.collision import candidates, touch
from dojo.physics.kinematics import displace, link_frames, local_maps


@pytest.fixture(scope="module")
def model():
    return dojo.load(MODELS / "hopper.xml", timestep=0.01)


def stirred(model, count, seed=0):
    """Random configurations resting within 2 cm of the floor, velocities and controls."""
    rng = np.random.default_rng(seed)
    q0 = dojo.init(model).q
    dq = jnp.asarray(0.3 * rng.normal(size=(count, model.nv)), model.dtype)
    q = jax.vmap(lambda d: displace(model, q0, d))(dq)

    def lowest(q):
        frames = link_frames(model, local_maps(model), q)
        return touch(model, candidates(model), frames).gap.min()

    height = 2 if model.topology.joint_kind[0] == "free" else 1
    q = q.at[:, height].add(jnp.asarray(rng.choice([0, 0.002, 0.02], count)) - jax.vmap(lowest)(q))
    v = jnp.asarray(rng.normal(size=(count, model.nv)) * rng.choice([0.1, 1, 4], (count, 1)))
    u = jnp.asarray(rng.uniform(-1, 1, (count, model.nu)))
    return q, v.astype(model.dtype), u.astype(model.dtype)


def test_a_batch_gives_each_lane_what_it_gives_alone(model):
    q, v, u = stirred(model, 8)
    single = jax.jit(lambda q, v, u: dojo.step(model, dojo.State(q, v), u))
    batched = jax.jit(jax.vmap(lambda q, v, u: dojo.step(model, dojo.State(q, v), u)))
    states, infos = batched(q, v, u)
    for k in range(8):
        state, info = single(q[k], v[k], u[k])
        np.testing.assert_allclose(states.q[k], state.q, rtol=0, atol=1e-11)
        np.testing.assert_allclose(states.v[k], state.v, rtol=0, atol=1e-9)
        assert int(infos.status[k]) == int(info.status) == dojo.Status.CONVERGED
        assert abs(int(infos.iterations[k]) - int(info.iterations)) <= 1
    assert len(set(np.asarray(infos.iterations).tolist())) > 1


def test_random_states_converge(model):
    q, v, u = stirred(model, 200, seed=1)
    batched = jax.jit(
        jax.vmap(
            lambda q, v, u, k: dojo.step(
                model, dojo.State(q, v), u, options=dojo.SolverOptions(kappa=k)
            ),
            in_axes=(0, 0, 0, None),
        )
    )
    for kappa in (1e-2, 1e-4, 1e-6, 1e-8):
        _, info = batched(q, v, u, kappa)
        assert info.converged.all(), np.asarray(info.status)
        assert info.residual.max() < 1e-8
        # Farther away the impulses fade; in deep overlap the gap recovers from below zero.
        near = (info.contacts.gap < 0.5) & (info.contacts.gap > 0)
        products = (info.contacts.gap * info.contacts.impulse[:, :, 0])[near]
        np.testing.assert_allclose(products, kappa, rtol=1e-4)


def test_control_is_clipped_to_its_range(model):
    state = dojo.init(model)
    inside, _ = dojo.step(model, state, np.ones(3))
    beyond, _ = dojo.step(model, state, np.full(3, 7.0))
    np.testing.assert_array_equal(inside.v, beyond.v)
    other, _ = dojo.step(model, state, np.zeros(3))
    assert np.abs(other.v - inside.v).max() > 1e-3


def test_quaternions_are_normalized_inside():
    model = dojo.load(MODELS / "box.xml")
    state = dojo.init(model, q=[0, 0, 1, 0.9, 0.2, 0.3, 0.1], v=[0, 0, 0, 1, 2, 3])
    scaled = dojo.State(state.q.at[3:].multiply(1.7), state.v)
    after, _ = dojo.step(model, state)
    same, _ = dojo.step(model, scaled)
    np.testing.assert_allclose(after.q, same.q, atol=1e-14)
    assert jnp.linalg.norm(after.q[3:]) == pytest.approx(1.0, abs=1e-14)


def test_a_turn_of_a_radian_a_step_is_called_too_large():
    """A long pendulum flung around: its link would turn by more than a radian."""
    xml = """<mujoco><worldbody><body><joint axis="0 1 0"/>
      <geom type="capsule" fromto="0 0 0 0 0 -1" size=".02" mass="1"/>
      </body></worldbody></mujoco>"""
    model = dojo.load(xml, timestep=0.1)
    _, info = dojo.step(model, dojo.init(model, v=[40.0]))
    assert not bool(info.converged)
    assert int(info.status) == dojo.Status.STEP_TOO_LARGE
    assert "smaller timestep" in dojo.Status(int(info.status)).message
    assert np.isfinite(np.asarray(info.residual))
    parts = dojo.SolverOptions(substeps=10)
    cured, info = dojo.step(model, dojo.init(model, v=[40.0]), options=parts)
    assert bool(info.converged)
    tenth = model.replace(timestep=0.01)
    states, infos = dojo.rollout(tenth, dojo.init(model, v=[40.0]), np.zeros((10, 0)))
    np.testing.assert_allclose(cured.v, states.v[-1], rtol=1e-9)
    assert int(info.iterations) == int(infos.iterations.sum())


@pytest.mark.slow
def test_a_chain_that_cannot_take_its_momentum_is_called_too_large():
    """Two light links with a heavy end, about to be stretched: the best iterates turn no link by a
    radian, but the momentum of the end saturates where they are straight. Substeps solve it."""
    model = dojo.load(CHAIN)

    def last(speeds, **parts):
        options = dojo.SolverOptions(max_iterations=300, **parts)

        def stretched(angle, speed):
            ends = jnp.asarray([1.0, -2.0])
            state = dojo.init(model, q=angle * ends, v=speed * ends)
            return dojo.step(model, state, options=options)

        angles = jnp.asarray([0.2, 0.1, 0.1, 0.4])
        return jax.jit(jax.vmap(stretched))(angles, jnp.asarray(speeds))

    fast, slow = [-1.4, -2.2, -2.4, -2.2], [-0.5] * 4
    _, failed = last(fast)
    assert (failed.status == dojo.Status.STEP_TOO_LARGE).all()
    in_parts, report = last(fast, substeps=16)
    assert report.converged.all()
    # Only what fails is taken again, and then as if it had been asked for in parts.
    mixed = [fast[0], slow[1], fast[2], slow[3]]
    whole, solved = last(slow)
    assert solved.converged.all()
    after, info = last(mixed, retry_substeps=16)
    assert info.converged.all()
    assert info.parts.tolist() == [16, 1, 16, 1]
    for k, (expected, its) in enumerate([(in_parts, report), (whole, solved)] * 2):
        np.testing.assert_allclose(after.v[k], expected.v[k], rtol=1e-9)
        vain = int(failed.iterations[k]) if info.parts[k] == 16 else 0
        assert int(info.iterations[k]) == int(its.iterations[k]) + vain


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_half_a_turn_is_too_large_and_no_nonfinite_input(dtype):
    """A motor that would turn a link on by half a turn within the step, to the last digit."""
    xml = """<mujoco><option timestep="0.1" gravity="0 0 0"/><worldbody><body>
      <joint name="axle" axis="0 0 1"/><inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/>
      </body></worldbody><actuator><motor joint="axle"/></actuator></mujoco>"""
    model = dojo.load(xml, dtype=dtype)
    for torque in (100 * np.pi, -100 * np.pi):
        after, info = dojo.step(model, dojo.init(model), [torque])
        assert int(info.status) == dojo.Status.STEP_TOO_LARGE
        assert np.isfinite(np.asarray([*after.q, *after.v, info.residual])).all()


def test_failures_are_raised_on_request():
    model = dojo.load(MODELS / "pendulum.xml", timestep=0.01)
    state = dojo.init(model)
    options = dojo.SolverOptions(raise_on_failure=True)
    dojo.step(model, state, options=options)
    spoilt = dojo.State(state.q, state.v + np.nan)
    with pytest.raises(dojo.SolverError, match="NONFINITE"):
        dojo.step(model, spoilt, options=options)
    compiled = jax.jit(lambda s: dojo.step(model, s, options=options)[0].v)
    with pytest.raises(jax.errors.JaxRuntimeError, match="NONFINITE"):
        jax.block_until_ready(compiled(spoilt))


def test_the_first_failure_of_a_rollout_is_found(model):
    us = np.zeros((6, 3))
    us[4:] = np.nan
    _, infos = jax.jit(lambda us: dojo.rollout(model, dojo.init(model), us))(us)
    step, status = dojo.first_failure(infos)
    assert (int(step), int(status)) == (4, dojo.Status.NONFINITE)
    good = jax.tree.map(lambda x: x[:4], infos)
    step, status = dojo.first_failure(good)
    assert (int(step), int(status)) == (-1, dojo.Status.CONVERGED)


def test_a_spoilt_lane_leaves_the_others_as_they_were(model):
    """Bit for bit, whatever the neighbour holds."""
    q, v, u = stirred(model, 4, seed=5)
    batched = jax.jit(jax.vmap(lambda q, v, u: dojo.step(model, dojo.State(q, v), u)))
    before = batched(q, v, u)
    for bad in (np.nan, np.inf):
        after = batched(q, v.at[1, 0].set(bad), u)
        assert int(after[1].status[1]) == dojo.Status.NONFINITE
        others = np.array([0, 2, 3])
        for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
            np.testing.assert_array_equal(np.asarray(a)[others], np.asarray(b)[others])


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("box", marks=pytest.mark.slow),
        "quadruped",
        pytest.param("humanoid", marks=pytest.mark.slow),
    ],
)
def test_single_precision(name):
    """float32 at its default kappa follows float64 at the same kappa."""
    double = dojo.load(MODELS / f"{name}.xml", timestep=0.01)
    single = dojo.load(MODELS / f"{name}.xml", timestep=0.01, dtype=jnp.float32)
    assert single.dtype == np.float32
    q, v, u = stirred(double, 64, seed=2)

    def batch(model, q, v, u):
        options = dojo.SolverOptions(kappa=1e-4)
        return jax.vmap(lambda q, v, u: dojo.step(model, dojo.State(q, v), u, options=options))(
            q, v, u
        )

    states, infos = jax.jit(batch)(single, *(x.astype(jnp.float32) for x in (q, v, u)))
    expected, _ = jax.jit(batch)(double, q, v, u)
    assert states.v.dtype == jnp.float32
    assert infos.kappa[0] == np.float32(1e-4)
    assert infos.converged.all(), np.asarray(infos.status)
    scale = 1 + np.abs(expected.v).max(axis=1, keepdims=True)
    assert (np.abs(states.v - expected.v) / scale).max() < 2e-2


def test_rollout_stacks_what_steps_give(model):
    us = np.random.default_rng(0).uniform(-1, 1, (5, 3))
    states, infos = jax.jit(lambda us: dojo.rollout(model, dojo.init(model), us))(us)
    state = dojo.init(model)
    for k in range(5):
        state, _ = dojo.step(model, state, us[k])
    np.testing.assert_allclose(states.v[-1], state.v, atol=1e-9)
    assert states.q.shape == (5, model.nq)
    assert infos.contacts.impulse.shape == (5, model.topology.nc, 3)


def test_linearize_shapes_without_controls():
    model = dojo.load(MODELS / "sphere.xml")
    a, b = jax.jit(lambda s: dojo.linearize(model, s))(dojo.init(model))
    assert a.shape == (12, 12)
    assert b.shape == (12, 0)


@pytest.mark.slow
@pytest.mark.usefixtures("optimized_alone")
def test_what_begins_with_numbers_is_never_called_not_finite():
    """Violated limits, legs in the floor, servos at full range at h = 0.1 in float32: searches that
    leave the range of the numbers are given up, not the step."""
    quadruped = dojo.load(MODELS / "quadruped.xml", timestep=0.1, dtype="float32")
    rng, n = np.random.default_rng(0), 512
    low, high = np.asarray(quadruped.joint_range).T
    q = np.tile(np.asarray(quadruped.q_rest), (n, 1))
    q[:, 2] = rng.uniform(0.05, 0.4, n)
    q[:, 3:7] = rng.normal(size=(n, 4))
    q[:, 7:] = rng.uniform(low - 0.1 * (high - low), high + 0.1 * (high - low), (n, len(low)))
    v = 3 * rng.uniform(-1, 1, (n, quadruped.nv))
    ends = np.asarray(quadruped.actuator_ctrl_range)
    u = np.where(rng.random((n, quadruped.nu)) < 0.5, *ends.T)
    starts = jax.jit(jax.vmap(lambda q, v: dojo.init(quadruped, q, v)))(q, v)
    options = dojo.SolverOptions(kappa=1e-3)
    run = jax.jit(jax.vmap(lambda s, u: dojo.step(quadruped, s, u, options=options)))
    after, info = run(starts, u)
    assert set(np.asarray(info.status)) == {dojo.Status.CONVERGED, dojo.Status.STEP_TOO_LARGE}
    assert jnp.isfinite(after.q).all()
    assert jnp.isfinite(after.v).all()
