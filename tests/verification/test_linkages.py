"""Mechanisms closed by equality constraints, against closed forms and the same without them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rollouts import simulate

import dojo
from dojo.physics.equality import violation
from dojo.physics.kinematics import link_frames, local_maps

# Crank, coupler, rocker and ground of 0.2, 0.5, 0.4 and 0.45 m: the crank can turn round (Grashof).
CRANK, COUPLER, ROCKER, GROUND = 0.2, 0.5, 0.4, 0.45
ROD = '<geom type="capsule" fromto="0 0 0 {0} 0 0" size=".02" mass="1"/>'
FOUR_BAR = f"""
<mujoco><option gravity="0 0 {{}}"><flag contact="disable"/></option><worldbody>
  <body name="crank"><joint name="a" axis="0 -1 0"/>{ROD.format(CRANK)}
    <body name="coupler" pos="{CRANK} 0 0"><joint name="b" axis="0 -1 0"/>{ROD.format(COUPLER)}
      <site name="end" pos="{COUPLER} 0 0"/></body></body>
  <body name="rocker" pos="{GROUND} 0 0"><joint name="c" axis="0 -1 0"/>{ROD.format(ROCKER)}
    <site name="tip" pos="{ROCKER} 0 0"/></body>
</worldbody>
<equality><connect site1="end" site2="tip"/></equality></mujoco>"""


def four_bar_angles(crank):
    """Angles of the joints b and c for one of a, the rocker above the line of the ends.

    From the triangle of crank end, rocker foot and rocker tip (law of cosines).
    """
    end = CRANK * np.array([np.cos(crank), np.sin(crank)])
    to_foot = np.array([GROUND, 0.0]) - end
    distance, direction = np.hypot(*to_foot), np.arctan2(to_foot[1], to_foot[0])
    at_end = np.arccos((COUPLER**2 + distance**2 - ROCKER**2) / (2 * COUPLER * distance))
    tip = end + COUPLER * np.array([np.cos(direction + at_end), np.sin(direction + at_end)])
    rocker = np.arctan2(tip[1], tip[0] - GROUND)
    return direction + at_end - crank, rocker


def rates_of(crank, speed):
    """Speeds of all three joints for one of the crank, from the angles by differences."""
    step = 1e-5
    ahead, behind = (np.array(four_bar_angles(crank + s)) for s in (step, -step))
    return np.array([speed, *(ahead - behind) / (2 * step) * speed])


@pytest.fixture(scope="module")
def four_bar():
    return dojo.load(FOUR_BAR.format(0))


def run(model, seconds, h, start=0.3, speed=3.0):
    """States and infos from a crank angle and speed."""
    q = [start, *four_bar_angles(start)]
    state = dojo.init(model, q=q, v=rates_of(start, speed))
    return simulate(model.replace(timestep=h), state, round(seconds / h))


@jax.jit
def gaps(model, q):
    """How far the constraints are violated, (T, ne)."""
    maps = local_maps(model)
    return jax.vmap(lambda q: violation(model, link_frames(model, maps, q), q))(q)


@jax.jit
def energies(model, states):
    return jax.vmap(lambda q, v: sum(dojo.energy(model, dojo.State(q, v))))(states.q, states.v)


@pytest.mark.parametrize("h", [0.1, 0.05, 0.02, 0.01, 0.005])
def test_four_bar_stays_closed(four_bar, measured, h):
    """Within 1e-10 m at every timestep (Dojo's own test), and its angles are those of triangles.

    Its crank turns by up to a third of a radian a step.
    """
    states, infos = run(four_bar, 5.0, h)
    apart = np.abs(gaps(four_bar, states.q)).max()
    measured("gap", apart)
    assert infos.converged.all()
    assert apart < 1e-10
    expected = np.array([four_bar_angles(a) for a in states.q[:, 0]])
    turned = np.remainder(states.q[:, 1:] - expected + np.pi, 2 * np.pi) - np.pi
    assert np.abs(turned).max() < 1e-8


def test_four_bar_keeps_its_energy(four_bar, measured):
    """Ten seconds: what the masses exchange swings as h^2, without trend."""
    swings = []
    for h in (0.02, 0.01, 0.005):
        states, _ = run(four_bar, 10.0, h)
        energy = energies(four_bar, states)
        halves = np.array_split(np.asarray(energy), 2)
        swings.append(np.ptp(energy))
        assert abs(halves[0].mean() - halves[1].mean()) < 0.1 * swings[-1]
    order = np.log2(swings[0] / swings[1]), np.log2(swings[1] / swings[2])
    measured("energy_swing", swings)
    measured("order", order)
    assert np.allclose(order, 2.0, atol=0.2)


PIN = """<mujoco><option><flag contact="disable"/></option><worldbody>
  <body name="rod" pos=".5 0 0">{joint}<geom type="box" size=".5 .05 .02" mass="2"/></body>
</worldbody>{equality}</mujoco>"""


def test_a_connected_body_swings_as_one_on_a_ball_joint(measured):
    """A free body pinned to the world, and the same on a ball joint: one discretization."""
    pinned = dojo.load(
        PIN.format(
            joint="<freejoint/>",
            equality='<equality><connect body1="rod" anchor="-.5 0 0"/></equality>',
        )
    )
    joint = '<joint type="ball" pos="-.5 0 0"/>'
    hung = dojo.load(PIN.format(joint=joint, equality=""))
    spin, apart = np.array([1.0, 0.5, 2.0]), []
    for h in (0.02, 0.01):
        steps = round(1.0 / h)
        velocity = np.concatenate([np.cross(spin, [0.5, 0, 0]), spin])
        free, info = simulate(pinned.replace(timestep=h), dojo.init(pinned, v=velocity), steps)
        ball, _ = simulate(hung.replace(timestep=h), dojo.init(hung, v=spin), steps)
        assert info.converged.all()
        assert np.abs(gaps(pinned, free.q)).max() < 1e-10
        sign = np.sign(np.sum(free.q[-1, 3:] * ball.q[-1]))
        apart.append(np.abs(free.q[-1, 3:] - sign * ball.q[-1]).max())
        np.testing.assert_allclose(free.v[-1, 3:], ball.v[-1], atol=1e-9)
    measured("orientation_apart", apart)
    assert max(apart) < 1e-10


def test_four_bar_falls_and_swings(measured):
    """In gravity, where the energy of a step is that of its two ends to O(h) alone."""
    model, swings = dojo.load(FOUR_BAR.format(-9.81)), []
    for h in (0.01, 0.005):
        states, infos = run(model, 5.0, h, speed=0.0)
        energy = np.asarray(energies(model, states))
        assert infos.converged.all()
        assert np.abs(gaps(model, states.q)).max() < 1e-10
        assert np.ptp(states.v[:, 0]) > 5.0
        swings.append(np.ptp(energy))
    measured("energy_swing", swings)
    assert np.log2(swings[0] / swings[1]) == pytest.approx(1.0, abs=0.1)


BOX = '<geom type="box" size=".1 .2 .05" mass="2"/>'
PLATE = '<geom type="box" size=".3 .1 .02" mass="1" {}/>'
TURNED = 'pos=".3 .2 .1" euler="20 30 40"'


def test_welded_bodies_move_as_one(measured):
    """Tumbling in gravity, against one body with both geoms; momentum as well."""
    head = '<mujoco><option><flag contact="disable"/></option><worldbody>'
    welded = dojo.load(
        f"""{head}<body name="one"><freejoint/>{BOX}</body>
        <body name="two" {TURNED}><freejoint/>{PLATE.format("")}</body></worldbody>
        <equality><weld body1="one" body2="two"/></equality></mujoco>"""
    )
    whole = dojo.load(
        f"{head}<body><freejoint/>{BOX}{PLATE.format(TURNED)}</body></worldbody></mujoco>"
    )
    spin, speed, apart = np.array([2.0, -1.0, 3.0]), np.array([0.3, 0.2, 1.0]), []
    start = dojo.init(welded)
    arm = np.asarray(start.q)[7:10]
    frame = dojo.forward_kinematics(welded, start.q).rot[1]
    other = np.concatenate([speed + np.cross(spin, arm), np.asarray(frame).T @ spin])
    for h in (0.02, 0.01):
        steps = round(1.0 / h)
        velocity = np.concatenate([speed, spin, other])
        two, info = simulate(welded.replace(timestep=h), dojo.init(welded, v=velocity), steps)
        one, _ = simulate(whole.replace(timestep=h), dojo.init(whole, v=velocity[:6]), steps)
        assert info.converged.all()
        assert np.abs(gaps(welded, two.q)).max() < 1e-10
        sign = np.sign(two.q[-1, 3:7] @ one.q[-1, 3:])
        apart.append(np.abs(two.q[-1, 3:7] - sign * one.q[-1, 3:]).max())
        np.testing.assert_allclose(two.q[-1, :3], one.q[-1, :3], atol=20 * h**2)
    measured("orientation_apart", apart)
    assert apart[1] < 1e-3
    assert np.log2(apart[0] / apart[1]) == pytest.approx(2.0, abs=0.3)


RING = """<mujoco><option timestep="0.01" gravity="0 0 0"><flag contact="disable"/></option>
<worldbody>
  <body name="base"><freejoint/><geom type="box" size=".2 .1 .1" mass="2"/>
    <body pos=".3 0 0"><joint type="ball"/><geom type="box" size=".2 .03 .05" pos=".2 0 0"/>
      <body name="end" pos=".4 0 0"><joint axis="0 0 1"/><geom type="box" size=".2 .03 .02"
        pos="0 .2 0"/></body></body></body>
  <body name="far" pos=".7 .4 0"><freejoint/><geom type="box" size=".1 .2 .1" mass="1"/></body>
</worldbody>
<equality><connect body1="end" body2="far" anchor="0 .4 0"/>
  <weld body1="base" body2="far" active="false"/></equality></mujoco>"""


def test_constraints_are_internal_forces(measured):
    """Linear and angular momentum of a linkage in space, controlled by nothing: 10 s."""
    model = dojo.load(RING)
    velocity = np.random.default_rng(0).normal(size=model.nv)
    states, infos = simulate(model, dojo.init(model, v=velocity), 1000)
    assert infos.converged.all()

    @jax.jit
    @jax.vmap
    def momentum(q, v):
        return jnp.concatenate(dojo.momentum(model, dojo.State(q, v)))

    found = np.asarray(momentum(states.q, states.v))
    drift = np.abs(found - found[0]).max()
    measured("drift", drift)
    assert drift < 1e-10
    # The velocity it started with did not fit the constraint.
    assert np.abs(gaps(model, states.q)).max() < 1e-10


GEARS = """<mujoco><option timestep="0.01" gravity="0 0 0"/><worldbody>
  <body><joint name="pinion" axis="0 0 1"/><inertial pos="0 0 0" mass="1" diaginertia=".1 .1 .1"/>
  </body>
  <body><joint name="wheel" axis="0 0 1"/><inertial pos="0 0 0" mass="1" diaginertia=".5 .5 .5"/>
  </body></worldbody>
<equality><joint joint1="wheel" joint2="pinion" polycoef="0 -.25 0 0 0"/></equality>
<actuator><motor joint="pinion"/></actuator></mujoco>"""


def test_gears_share_their_inertia(measured):
    """Torque on the pinion meets I1 + r^2 I2; the wheel feels r I2 times its acceleration."""
    model, torque, ratio = dojo.load(GEARS), 2.0, -0.25
    states, infos = simulate(model, dojo.init(model), 100, us=np.full((100, 1), torque))
    acceleration = torque / (0.1 + ratio**2 * 0.5)
    measured("speed_error", states.v[-1, 0] / acceleration - 1.0)
    np.testing.assert_allclose(states.v[-1], [acceleration, ratio * acceleration], rtol=1e-9)
    on_wheel = infos.equality_impulse[:, 0] / model.timestep
    np.testing.assert_allclose(on_wheel, 0.5 * ratio * acceleration, rtol=1e-6)
