"""Mocap bodies: they go where they are told, and contacts and welds feel it."""

import functools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from differences import best_richardson
from scipy.spatial.transform import Rotation

import dojo
from dojo.physics.kinematics import difference, displace

H = 0.01
# Bodies on a plate, and a finger that goes along.
PLATE = """
<mujoco><option timestep="0.01" gravity="0 0 -9.81"/><default><geom friction="0.5"/></default>
  <worldbody>
  <body name="brick" pos="0 0 .2"><freejoint/><geom type="box" size=".1 .08 .1" mass="1"/></body>
  <body name="ball" pos="0 .6 .149"><freejoint/>
    <geom size=".05" mass=".3" friction=".5 .01 .001" condim="6"/></body>
  <body name="plate" mocap="true"><geom type="box" size="5 5 .1"/></body>
  <body name="finger" mocap="true" pos=".25 .02 .3"><geom type="capsule" size=".03 .2"/></body>
  </worldbody></mujoco>
"""
# A ball on a table that turns.
TABLE = """
<mujoco><option timestep="0.01"/><worldbody>
  <body name="ball" pos=".2 .1 .149"><freejoint/>
    <geom size=".05" mass=".3" friction=".5 .01 .001" condim="6"/></body>
  <body name="table" mocap="true"><geom type="box" size="1 1 .1" friction=".5"/></body>
  </worldbody></mujoco>
"""
# Two links that hang on a hand: welded to it, and rubbing along a wall.
HELD = """
<mujoco><option timestep="0.01"/><worldbody>
  <body name="arm" pos="0 0 1"><freejoint/><geom type="capsule" size=".05 .1" mass="1"/>
    <body pos=".2 0 0"><joint axis="0 0 1" damping=".01"/>
      <geom pos=".1 0 0" size=".05" mass=".5"/></body></body>
  <body name="hand" mocap="true" pos="0 .1 1.2"/>
  <body name="wall" mocap="true" pos=".2 .2 1"><geom type="box" size=".3 .148 .3"/></body>
  </worldbody>
  <contact><exclude body1="arm" body2="wall"/></contact>
  <equality><weld body1="hand" body2="arm"/></equality></mujoco>
"""


@functools.cache
def simulation(count):
    """Jitted simulations of so many steps: model, state, poses (count, nmocap, 7)."""

    def run(model, state, mocaps):
        return dojo.rollout(model, state, jnp.zeros((count, model.nu)), mocaps=mocaps)

    return jax.jit(run)


def simulate(model, state, mocaps):
    """States and infos as numpy; every step solved."""
    states, infos = simulation(len(mocaps))(model, state, mocaps)
    assert infos.converged.all()
    return jax.tree.map(np.array, (states, infos))


def moving(model, velocity, count):
    """Poses (count, nmocap, 7) of mocap bodies that all go at a velocity (3,) from rest poses."""
    rest = np.asarray(model.q_rest)[-7 * model.nmocap :].reshape(-1, 7)
    poses = np.tile(rest, (count, 1, 1))
    poses[..., :3] += H * np.arange(1, count + 1)[:, None, None] * np.asarray(velocity)
    return poses


def along_a_screw(count):
    """Poses of a hand that flies and turns, (count, 7)."""
    t = H * np.arange(count + 1)
    turns = Rotation.from_rotvec(np.stack([t, 0.3 * t, 0.5 * np.sin(3 * t)], axis=1))
    places = np.stack([np.sin(t), 0.1 - 0.2 * t, 1.2 + 0.3 * t**2], axis=1)
    return np.concatenate([places, turns.as_quat(scalar_first=True)], axis=1)


@pytest.fixture(scope="module")
def plate():
    return dojo.load(PLATE)


@pytest.fixture(scope="module")
def held():
    return dojo.load(HELD)


def test_poses_are_the_last_of_q_and_mujocos():
    xml = PLATE.replace(
        "</mujoco>",
        '<keyframe><key name="up" mpos="1 2 3 4 5 6" mquat="0 1 0 0 .6 0 .8 0"/></keyframe>'
        "</mujoco>",
    )
    model, m = dojo.load(xml), mujoco.MjModel.from_xml_string(xml)
    assert (model.nq, model.nv, model.nmocap) == (m.nq + 14, m.nv, 2)
    assert model.mocap("finger") == 1
    assert model.topology.link_names[3] == "finger"
    state = dojo.init(model, keyframe="up")
    np.testing.assert_array_equal(state.q[model.joint("finger/mocap").q], [4, 5, 6, 0.6, 0, 0.8, 0])
    data = mujoco.MjData(m)
    mujoco.mj_resetDataKeyframe(m, data, 0)
    mujoco.mj_kinematics(m, data)
    poses = dojo.geom_poses(model, state.q)
    np.testing.assert_allclose(poses.pos, data.geom_xpos, atol=1e-14)
    np.testing.assert_allclose(poses.rot.reshape(-1, 9), data.geom_xmat, atol=1e-14)


@pytest.mark.parametrize("restitution", [None, pytest.param(0.6, marks=pytest.mark.slow)])
def test_the_same_motion_seen_from_a_train(restitution):
    """Contacts know of relative motion alone: bodies fall, slide, roll and are pushed."""
    model, count = dojo.load(PLATE, restitution=restitution), 80
    q, train = model.q_rest, np.array([0.9, -0.4, 0.0])
    q = q.at[2].add(0.02).at[9].add(0.04)
    v = np.zeros(12)
    v[:6], v[6:9] = [1.2, 0.2, -0.5, 0.3, 0.0, 0.5], [0.5, -1.5, 0.0]
    still, _ = simulate(model, dojo.State(q, jnp.asarray(v)), moving(model, np.zeros(3), count))
    v[:3], v[6:9] = v[:3] + train, v[6:9] + train
    seen, infos = simulate(model, dojo.State(q, jnp.asarray(v)), moving(model, train, count))
    assert (infos.contacts.impulse[..., 0].sum(0) > 0.01).sum() > 4, "what touches is little"
    way = H * np.arange(1, count + 1)[:, None] * train
    for start in range(0, 28, 7):
        seen.q[:, start : start + 3] -= way
    np.testing.assert_allclose(seen.q, still.q, rtol=0, atol=1e-7)
    seen.v[:, :3], seen.v[:, 6:9] = seen.v[:, :3] - train, seen.v[:, 6:9] - train
    np.testing.assert_allclose(seen.v, still.v, rtol=0, atol=1e-6)


def test_a_plate_that_starts_takes_a_box_along_by_friction(plate):
    """It slips at mu g until it is as fast as the plate, then it stays where it is on it."""
    count, speed = 60, 1.0
    state = dojo.State(plate.q_rest, jnp.zeros(12))
    settled, _ = simulate(plate, state, moving(plate, np.zeros(3), count))
    state = dojo.State(jnp.asarray(settled.q[-1]), jnp.asarray(settled.v[-1]))
    states, _ = simulate(plate, state, moving(plate, [0.0, -speed, 0.0], count))
    slips = int(speed / (0.5 * 9.81) / H) - 1
    # The box rocks a little as it is seized.
    expected = -0.5 * 9.81 * H * np.arange(1, slips + 1)
    np.testing.assert_allclose(states.v[:slips, 1], expected, atol=2e-3)
    np.testing.assert_allclose(states.v[slips + 4 :, 1], -speed, atol=1e-3)


def test_a_finger_pushes(plate):
    """What it meets goes as fast as it does, and is never entered."""
    count = 60
    mocaps = moving(plate, np.zeros(3), count)
    mocaps[:, 1, 0] -= 0.8 * H * np.arange(1, count + 1)
    states, infos = simulate(plate, dojo.init(plate), mocaps)
    assert infos.contacts.gap.min() > -1e-9
    reached = int((0.25 - 0.03 - 0.1) / 0.8 / H) + 1
    assert abs(states.q[reached + 1 :, 0] - mocaps[reached + 1 :, 1, 0] + 0.13).max() < 0.02


def test_what_is_welded_to_a_hand_goes_along_exactly(held):
    count = 40
    path = along_a_screw(count)
    # The wall stands aside.
    start = dojo.init(held, q=held.q_rest.at[-14:-7].set(path[0]).at[-6].set(2.0))
    mocaps = np.tile(np.asarray(start.q[-7:]), (count, 2, 1))
    mocaps[:, 0] = path[1:]
    states, infos = simulate(held, start, mocaps)
    np.testing.assert_allclose(states.q[:, -14:], mocaps.reshape(count, 14), atol=1e-14)
    hand, arm = (Rotation.from_quat(states.q[:, k : k + 4], scalar_first=True) for k in (-11, 3))
    apart = states.q[:, :3] - states.q[:, -14:-11]
    np.testing.assert_allclose(hand.inv().apply(apart), [[0, -0.1, -0.2]] * count, atol=1e-10)
    assert (hand.inv() * arm).magnitude().max() < 1e-9
    assert abs(infos.equality_impulse).max() > 0.1
    # The twist of the last step, at its end.
    before = Rotation.from_quat(path[-2, 3:], scalar_first=True)
    turn = (hand[-1] * before.inv()).as_rotvec() / H
    speed = (path[-1, :3] - path[-2, :3]) / H + np.cross(turn, apart[-1])
    np.testing.assert_allclose(states.v[-1, :3], speed, atol=1e-9)
    np.testing.assert_allclose(states.v[-1, 3:6], arm[-1].inv().apply(turn), atol=1e-9)


def test_parts_of_a_step_share_the_way(held):
    path = along_a_screw(6)
    mocap = np.stack([path[5], np.asarray(held.q_rest[-7:])])
    options = dojo.SolverOptions(substeps=3)
    after, info = jax.jit(functools.partial(dojo.step, options=options))(
        held, dojo.init(held), mocap=mocap
    )
    assert info.converged
    assert info.parts == 3
    np.testing.assert_allclose(after.q[-14:], mocap.ravel(), atol=1e-14)


def test_a_hand_that_crushes_is_told_of(plate):
    """Nothing lets a finger through a box that stands on a plate."""
    mocap = np.asarray(plate.q_rest[-14:]).reshape(2, 7).copy()
    q = plate.q_rest.at[-7:-4].set([0.0, 0.0, 0.54])
    mocap[1, :3] = [0.0, 0.0, 0.4]
    after, info = jax.jit(dojo.step)(plate, dojo.State(q, jnp.zeros(12)), mocap=mocap)
    assert dojo.Status(int(info.status)) == dojo.Status.INFEASIBLE
    assert jnp.isfinite(after.q).all()


@pytest.mark.parametrize(
    "case", [pytest.param("weld and wall", marks=pytest.mark.slow), "ball on a table"]
)
def test_jacobians(case, held):
    """By the state in closed form, by where bodies go too in forward mode: against differences."""
    model = held if case == "weld and wall" else dojo.load(TABLE)
    rng, count = np.random.default_rng(2), 25
    mocaps = moving(model, [0.3, -0.2, 0.1] if model is held else [0.3, 0.1, 0.0], count)
    if model is held:
        mocaps[:, 1, 1] -= 0.05 * H * np.arange(1, count + 1)
    states, _infos = simulate(model, dojo.init(model), mocaps[:-1])
    q, v = jnp.asarray(states.q[-1]), jnp.asarray(states.v[-1])
    turn = Rotation.from_rotvec([0.004, -0.003, 0.01]).as_quat(scalar_first=True)
    mocaps[-1, :, 3:] = turn
    n, poses, options = model.nv, jnp.asarray(mocaps[-1]), dojo.SolverOptions(kappa=1e-3)

    def start(x):
        state = dojo.State(displace(model, q, x[:n]), v + x[n : 2 * n])
        return state, {"mocap": poses + x[2 * n :].reshape(poses.shape), "options": options}

    @jax.jit
    def linearized(x):
        state, others = start(x)
        return dojo.step_and_linearize(model, state, **others)

    @jax.jit
    def rate(x):
        def end(x):
            state, others = start(x)
            after, _ = dojo.step(model, state, **others)
            return jnp.concatenate([difference(model, to, after.q), after.v])

        return jax.jvp(end, (jnp.zeros_like(x),), (x,))[1]

    after, info, (a, _) = linearized(jnp.zeros(2 * n + poses.size))
    to = after.q
    assert info.converged
    assert info.contacts.impulse[:, 0].max() > 1e-3
    tangent = jax.jit(functools.partial(difference, model, to))
    for part in (slice(2 * n), slice(2 * n, None)):
        x = np.zeros(2 * n + poses.size)
        x[part] = rng.normal(size=len(x[part]))

        def moved(t, x=x):
            after, *_ = linearized(t * x)
            return np.concatenate([tangent(after.q), after.v])

        expected = best_richardson(moved, 10.0 ** np.arange(-8, -4))
        scale, forward = np.abs(expected).max(), rate(jnp.asarray(x))
        assert np.abs(forward - expected).max() < 1e-6 * scale
        if part.start is None:
            assert np.abs(a @ x[part] - forward).max() < 1e-9 * scale


@pytest.mark.slow
def test_backward_mode(held):
    """Through a rollout, by the poses of all steps."""
    mocaps = moving(held, [0.3, -0.2, 0.1], 3)

    def place(x):
        states, _ = dojo.rollout(held, dojo.init(held), jnp.zeros((3, 0)), mocaps=mocaps + x)
        return states.q[-1, 7] + states.q[-1, 0]

    zero = jnp.zeros(mocaps.shape)
    along = jnp.asarray(np.random.default_rng(0).normal(size=mocaps.shape))
    slope, gradient = jax.jit(lambda z: (jax.jvp(place, (z,), (along,))[1], jax.grad(place)(z)))(
        zero
    )
    assert abs(slope) > 0.1
    assert float(jnp.sum(gradient * along)) == pytest.approx(float(slope), rel=1e-10)


BODIES = """<mujoco><worldbody><body name="hand" mocap="true">{}</body>
  <body><freejoint/><geom size=".1"/></body></worldbody></mujoco>"""


@pytest.mark.parametrize(
    ("inside", "named"),
    [
        ('<body name="leaf"><joint/><geom size=".1"/></body>', "below a mocap body: leaf"),
        ('<geom name="table" type="plane" size="1 1 1"/>', "table, a plane on a mocap body"),
    ],
)
def test_what_is_refused(inside, named):
    xml = BODIES.format(inside)
    with pytest.raises(dojo.UnsupportedFeature, match=named):
        dojo.load(xml)
    assert dojo.load(xml, ignore="mocap").nmocap == 1


def test_bodies_that_nothing_moves_do_not_touch():
    xml = BODIES.format('<geom size=".1"/>').replace(
        "<worldbody>", '<worldbody><geom type="plane" size="1 1 1"/><geom size=".3"/>'
    )
    groups = dojo.load(xml).topology.contacts
    pairs = {(int(a), int(b)) for g in groups for a, b in zip(g.first, g.second, strict=True)}
    assert {frozenset(p) for p in pairs} == {frozenset(p) for p in [(0, 3), (1, 3), (2, 3)]}


def test_bad_poses_are_named(plate):
    state = dojo.init(plate)
    with pytest.raises(ValueError, match=r"mocap: shape \(7,\), expected \(2, 7\)"):
        dojo.step(plate, state, mocap=np.zeros(7))
    with pytest.raises(ValueError, match=r"mocap: body 'plate' has a zero quaternion"):
        dojo.step(plate, state, mocap=np.zeros((2, 7)))
    with pytest.raises(ValueError, match=r"mocaps has shape \(3, 1, 7\), expected \(5, 2, 7\)"):
        dojo.rollout(plate, state, np.zeros((5, 0)), mocaps=np.zeros((3, 1, 7)))
    with pytest.raises(dojo.ModelError, match=r"no mocap body 'plat'. Did you mean 'plate'"):
        plate.mocap("plat")


def test_a_paddle_strikes():
    """A ball at rest leaves a paddle of speed 1 at 1 + e, Newton's law for relative velocities."""
    model = dojo.load(
        """<mujoco><option timestep="0.01" gravity="0 0 0"/><worldbody>
        <body><freejoint/><geom size=".1" mass="1"/></body>
        <body name="paddle" mocap="true" pos="-.3 0 0"><geom type="box" size=".05 .3 .3"/></body>
        </worldbody></mujoco>""",
        restitution=0.5,
    )
    states, _ = simulate(model, dojo.init(model), moving(model, [1.0, 0.0, 0.0], 30))
    np.testing.assert_allclose(states.v[-1], [1.5, 0, 0, 0, 0, 0], atol=1e-2)
