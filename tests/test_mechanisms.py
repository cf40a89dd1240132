"""The mechanisms among the models: each moves as its mechanics says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import eigh
from scipy.spatial.transform import Rotation
from scipy.special import ellipk

import dojo

G = 9.81
# Codegen dominates; most of these simulations are short.
FAST_COMPILE = {"xla_backend_optimization_level": 0}
rollout = jax.jit(dojo.rollout, compiler_options=FAST_COMPILE)
step = jax.jit(dojo.step, compiler_options=FAST_COMPILE)
energy = jax.jit(dojo.energy)
mass_matrix = jax.jit(dojo.mass_matrix)


def run(model, state, seconds, u=None, options=None):
    """States and infos under a constant control, or one for each step; all steps are solved."""
    steps = round(seconds / float(model.timestep))
    us = np.broadcast_to(np.zeros(model.nu) if u is None else u, (steps, model.nu))
    states, infos = rollout(model, state, us, options=options)
    assert (infos.status == dojo.Status.CONVERGED).all()
    assert jnp.min(infos.contacts.gap, initial=np.inf) >= -1e-9
    return jax.device_get((states, infos))


@jax.jit
def energies(model, states):
    """Kinetic and potential energy [J] of a trajectory."""
    return jax.vmap(lambda q, v: dojo.energy(model, dojo.State(q, v)))(states.q, states.v)


@jax.jit
def momenta(model, states):
    """Linear and angular momentum of a trajectory [kg m/s, kg m2/s]."""
    return jax.vmap(lambda q, v: dojo.momentum(model, dojo.State(q, v)))(states.q, states.v)


def crossings(x, h):
    """Times at which a signal changes its sign; entry k is of time h (k + 1)."""
    k = np.flatnonzero(np.diff(np.sign(x)))
    return h * (1 + k + x[k] / (x[k] - x[k + 1]))


def home_controls(model):
    return {key.name: key for key in model.topology.keyframes}["home"].ctrl


@pytest.mark.slow
def test_the_npendulum_swings_in_its_slowest_mode():
    """Shape and period of the linear equations, within (h w)^2 / 12; in angles to the vertical.

    Of two rods i < j, all that hangs below moves with i: mass m l^2 (n - j - 1/2).
    """
    model = dojo.models.load("npendulum")
    h, n, i = float(model.timestep), 5, np.arange(5)
    about_hinge = (1 + 0.05**2) / 12 + 1 / 4  # a rod of 1 kg and 1 m [kg m^2]
    hanging = n - i - 0.5
    mass = np.minimum.outer(hanging, hanging) + (about_hinge - 0.5) * np.eye(n)
    squares, modes = eigh(mass, np.diag(G * hanging))
    slowest = modes[:, -1] / modes[-1, -1]
    period = 2 * np.pi * np.sqrt(squares[-1])
    states, _ = run(model, dojo.init(model, q=1e-3 * np.diff(slowest, prepend=0)), 7.0)
    angles = np.cumsum(states.q, axis=1)
    zeros = crossings(angles[:, 0], h)
    assert zeros[2] - zeros[0] == pytest.approx(period, rel=(2 * np.pi * h / period) ** 2 / 12)
    assert np.abs(angles - angles[:, -1:] * slowest).max() < 1e-3 * 1e-3


@pytest.mark.slow
def test_the_npendulum_keeps_its_energy():
    """Ten seconds of chaos from its pose home: energy swings by h times the power of gravity."""
    model = dojo.models.load("npendulum")
    h = float(model.timestep)
    states, _ = run(model, dojo.init(model, keyframe="home"), 10.0)
    kinetic, potential = energies(model, states)
    power = np.abs(np.gradient(potential, h))
    assert power.max() > 50  # W: it does swing
    assert np.ptp(kinetic + potential) < 1.05 * h * power.max()


def test_the_slider_falls_and_rests_at_the_end_of_its_rail():
    """Within the g h t/2 by which a step of forces comes late; then the end carries the weight."""
    model = dojo.models.load("slider")
    h = float(model.timestep)
    states, infos = run(model, dojo.init(model), 1.0)
    t = h * np.arange(1, 101)
    late = np.abs(states.q[:, 0] + G * t**2 / 2)
    assert (late < 1.01 * G * h * t / 2)[t < np.sqrt(2 / G) - h].all()
    assert states.q[-1] == pytest.approx(-1, abs=2e-5)
    assert infos.limit_impulse[-1, 0] == pytest.approx(G * h, rel=1e-4)
    assert np.abs(states.v[-1]).max() < 1e-9


def test_the_slider_hovers_when_its_motor_carries_the_weight():
    model = dojo.models.load("slider")
    states, _ = run(model, dojo.init(model), 1.0, [G])
    assert np.abs(states.q).max() < 1e-9


@pytest.mark.slow
def test_the_nslider_falls_open_and_hangs():
    """Every end carries the stages below it."""
    model = dojo.models.load("nslider")
    states, infos = run(model, dojo.init(model), 2.0)
    carried = infos.limit_impulse[-1, :5] / float(model.timestep)
    np.testing.assert_allclose(states.q[-1], -0.8, atol=2e-5)
    np.testing.assert_allclose(carried, G * np.arange(5, 0, -1), rtol=1e-4)
    assert np.abs(states.v[-1]).max() < 1e-9


@pytest.mark.slow
def test_the_nslider_moves_as_its_motors_pull():
    """Stage i is pulled up by its own motor and down by the next one's."""
    model = dojo.models.load("nslider")
    home = dojo.init(model, keyframe="home")
    states, _ = run(model, home, 2.0, home_controls(model))
    assert np.abs(states.q - home.q).max() < 1e-9
    more = np.array([0.2, 0.1, 0.0, 0.1, -0.1])
    states, _ = run(model, home, 0.5, home_controls(model) + more)
    expected = 0.5 * (more - np.append(more[1:], 0))
    np.testing.assert_allclose(np.cumsum(states.v[-1]), expected, atol=2e-3)


def four_bar_angles(crank):
    """Angles of coupler and rocker to the vertical, for one of the crank, by the law of cosines."""
    end = 0.1 * np.array([np.sin(crank), np.cos(crank)])
    to_foot = np.array([0.2, 0.0]) - end
    distance = np.hypot(*to_foot)
    at_end = np.arccos(distance / (2 * 0.25))  # coupler and rocker are equal
    coupler = np.arctan2(*to_foot) - at_end
    tip = end + 0.25 * np.array([np.sin(coupler), np.cos(coupler)])
    return coupler, np.arctan2(tip[0] - 0.2, tip[1])


@pytest.fixture(scope="module")
def cranked():
    """The four-bar linkage from rest, its crank driven by 0.4 N m: model, states of two turns."""
    model = dojo.models.load("fourbar")
    return model, run(model, dojo.init(model), 1.6, [0.4])[0]


def test_the_fourbar_turns_round_and_stays_closed(cranked):
    """Coupler and rocker have the angles of the triangle that they close."""
    _, states = cranked
    crank, coupler, rocker = states.q.T
    assert crank[-1] > 4 * np.pi
    expected = np.array([four_bar_angles(angle) for angle in crank])
    at_zero = np.arctan2(0.4, 0.3)  # of the coupler to the vertical
    assert np.abs(np.sin(crank + coupler + at_zero - expected[:, 0])).max() < 1e-8
    assert np.abs(np.sin(rocker - expected[:, 1])).max() < 1e-8


@pytest.mark.slow
def test_the_fourbar_gains_the_work_of_its_motor(cranked):
    """Within h times the power of gravity and motor."""
    model, states = cranked
    h, start = float(model.timestep), energy(model, dojo.init(model))
    kinetic, potential = energies(model, states)
    gain = kinetic + potential - start.kinetic - start.potential
    work = 0.4 * states.q[:, 0]
    assert work[-1] > 5
    assert np.abs(gain - work).max() < h * np.abs(np.gradient(potential - work, h)).max()


@pytest.mark.slow
def test_the_fourbar_draws_a_line(cranked):
    """While the crank's pin is on the side away from the rocker: four cranks long.

    Its ends are those of the crank upright and upside down, at the same height.
    """
    model, states = cranked
    poses = jax.vmap(lambda q: dojo.frame_poses(model, q).pos)(states.q)
    tracer = np.asarray(poses)[:, model.frame("tracer")]
    length, _, deviation = np.ptp(tracer[np.sin(states.q[:, 0]) < 0], axis=0)
    assert length == pytest.approx(0.4, abs=0.005)
    assert deviation < 1.2e-3


@pytest.mark.slow
def test_the_block_in_a_plane_slides_to_a_stop():
    """Within v^2 / (2 mu g), less v h/2 as each step brakes from its beginning."""
    model = dojo.models.load("block2d")
    v = 2.0
    states, _ = run(model, dojo.init(model, v=[v, 0, 0]), 1.0)
    stop = v**2 / (2 * 0.8 * G) - v * float(model.timestep) / 2
    assert states.q[-1, 0] == pytest.approx(stop, rel=1e-3)
    assert np.abs(states.v[-1]).max() < 1e-9


@pytest.mark.slow
def test_the_block_in_a_plane_falls_onto_its_face():
    """From standing on an edge; no step gains more than the contacts' barriers, kappa / h."""
    model = dojo.models.load("block2d")
    start = dojo.init(model, keyframe="home")
    states, _ = run(model, start, 1.0)
    total = sum(energies(model, states))
    assert np.diff(total).max() < 1e-6 / float(model.timestep)
    assert np.ptp(total) > 0.5  # J, of the fall
    assert np.abs(states.q[-1, 1:]).max() < 1e-4
    assert np.abs(states.v[-1]).max() < 1e-9


@pytest.mark.slow
def test_the_tippe_top_turns_over_onto_its_stem():
    """Until the stem touches, Jellett's integral, L . (centre of mass to contact), is kept.

    Then it stands on the stem alone.
    """
    model = dojo.models.load("tippetop")
    mass, radius, eccentricity = 0.02, 0.02, 0.3
    start = dojo.init(model, keyframe="home")
    states, infos = run(model, start, 4.0, options=dojo.SolverOptions(kappa=1e-10))
    turn = Rotation.from_quat(states.q[:, [4, 5, 6, 3]])
    axis = turn.apply([0, 0, 1])
    inertia = np.array([131 / 350, 131 / 350, 2 / 5]) * mass * radius**2
    momentum = turn.apply(inertia * states.v[:, 3:])
    jellett = (momentum * (eccentricity * axis - [0, 0, 1])).sum(axis=1)
    ball, tip = infos.contacts.gap.T
    before = np.flatnonzero(tip < 1e-4)[0]
    assert np.abs(jellett[:before] / jellett[0] - 1).max() < 5e-4
    assert axis[:500, 2].min() > 0.9
    assert axis[-500:, 2].max() < -0.99
    assert ball[-500:].min() > 2e-3


def flip_period(inertia, w):
    """Time between two flips of a free body, Jacobi's elliptic functions (Landau, section 37)."""
    energy2, momentum2 = (inertia * w**2).sum(), ((inertia * w) ** 2).sum()
    a, b, c = inertia if momentum2 > energy2 * inertia[1] else inertia[::-1]
    rate = np.sqrt((c - b) * (momentum2 - energy2 * a) / (a * b * c))
    modulus2 = (b - a) * (energy2 * c - momentum2) / ((c - b) * (momentum2 - energy2 * a))
    return 2 * ellipk(modulus2) / rate


def test_the_t_handle_flips_with_its_period():
    """That of Jacobi's elliptic functions, within (h w)^2 / 10; momentum is kept."""
    model = dojo.models.load("dzhanibekov")
    h, start = float(model.timestep), dojo.init(model, keyframe="home")
    inertia = np.diag(mass_matrix(model, start.q))[3:]
    states, _ = run(model, start, 10.0)
    by_size = np.argsort(inertia)
    exact = flip_period(inertia[by_size], np.asarray(start.v[3:])[by_size])
    flips = crossings(states.v[:, 5], h)
    assert len(flips) == 4
    np.testing.assert_allclose(np.diff(flips), exact, rtol=1e-3)
    turn = Rotation.from_quat(states.q[:, [4, 5, 6, 3]])
    momentum = turn.apply(inertia * states.v[:, 3:])
    assert np.abs(momentum - momentum[0]).max() < 1e-10 * np.linalg.norm(momentum[0])


def hop(state, wanted):
    """Raibert's three parts: hip torque and leg force, for a wanted speed [m/s].

    The leg pushes as it extends. On the ground the hip levels the body. In the air it puts the
    foot where the body will be in the middle of a stance of 0.35 s, further if it is too fast.
    """
    _, _, pitch, hip, leg = np.asarray(state.q)
    speed, _, pitch_rate, hip_rate, leg_rate = np.asarray(state.v)
    if leg < -0.003:  # its spring is compressed: on the ground
        return [400 * pitch + 60 * pitch_rate, 18.0 if leg_rate > 0 else 0.0]
    ahead = 0.175 * speed + 0.1 * (speed - wanted)
    angle = -np.arcsin(np.clip(ahead, -0.6, 0.6))
    return [500 * (angle - pitch - hip) - 50 * (pitch_rate + hip_rate), 0.0]


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [0.0, 1.0])
def test_raiberts_hopper_hops_with_the_wanted_speed(wanted):
    """Within 0.15 m/s after eight seconds, level, and hop for hop to the same height.

    It starts with 0.5 m/s.
    """
    model = dojo.models.load("raibert_hopper")
    state = dojo.init(model, q=[0, 0.2, 0, 0, 0], v=[0.5, 0, 0, 0, 0])
    trajectory = []
    for _ in range(1600):
        state, info = step(model, state, hop(state, wanted))
        assert info.status == dojo.Status.CONVERGED
        assert info.contacts.gap.min() >= -1e-9
        trajectory.append(state.q)
    x, z, pitch = np.array(trajectory)[:, :3].T
    apex = np.flatnonzero((z[1:-1] > z[:-2]) & (z[1:-1] >= z[2:]))[-2:] + 1
    speed = np.diff(x[apex]) / np.diff(apex) / float(model.timestep)
    assert speed == pytest.approx(wanted, abs=0.15)
    assert np.abs(pitch).max() < 0.1
    assert z[apex].min() > 0.15
    assert np.ptp(z[apex]) < 0.01


@pytest.mark.slow
def test_raiberts_hopper_stands_on_its_spring():
    """In its pose home spring and motor share the weight of the body, and the foot bears all."""
    model = dojo.models.load("raibert_hopper")
    start = dojo.init(model, keyframe="home")
    states, infos = run(model, start, 0.5, home_controls(model))
    weight = 11 * G * float(model.timestep)
    assert infos.contacts.impulse[-1, -1, 0] == pytest.approx(weight, rel=1e-4)
    assert np.abs(states.q - start.q).max() < 1e-3
    assert np.abs(states.v[-1]).max() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("turn", [1, -1])
def test_the_snake_rolls_sideways(turn):
    """Bent a little, to an arc that stays level while the links turn, it rolls as a cylinder.

    Two turns are two circumferences; what is more, 4 %, falls with the bend.
    """
    model = dojo.models.load("snake")
    bend, radius, h = 0.05, 0.03, float(model.timestep)
    t = h * np.arange(1, 1201)
    angle = turn * np.pi * np.maximum(t - 2, 0)
    bends = bend * np.minimum(t, 1) * np.array([np.cos(angle), np.sin(angle)])
    yaw, pitch = bends[..., None]
    us = np.where([True, False, True, False, True], yaw, pitch)
    states, _ = run(model, dojo.init(model, keyframe="home"), 6.0, us)
    path = states.q[-1, :2] - states.q[399, :2]
    assert path[1] == pytest.approx(-turn * 2 * (2 * np.pi * radius), rel=0.05)
    assert abs(path[0]) < 0.01


@pytest.mark.slow
def test_the_twister_twists_in_the_air_and_comes_to_rest():
    """Its motors change no momentum; on the floor it ends, all balls down, carrying its weight."""
    model = dojo.models.load("twister")
    h, mass, flight = float(model.timestep), 5.0, 100
    t = h * np.arange(800)[:, None]
    us = 4 * np.sin(4 * np.pi * t + np.arange(4)) * (t < 0.5)
    start = dojo.init(model, q=np.r_[0, 0, 4, 1, np.zeros(7)])
    states, infos = run(model, start, 4.0, us)
    linear, angular = momenta(model, states)
    falling = -mass * G * h * np.arange(1, flight + 1)
    assert np.abs(states.v[flight, 6:]).min() > 1
    assert np.abs(angular[:flight]).max() < 1e-10
    assert np.abs(linear[:flight, 2] - falling).max() < 1e-10
    assert infos.contacts.impulse[-1, :, 0].sum() == pytest.approx(mass * G * h, rel=1e-6)
    assert infos.contacts.gap[-1].max() < 1e-4
    assert np.abs(states.v[-1]).max() < 1e-6
