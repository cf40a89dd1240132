"""What the robots of the library do: they stand, fly, float and push as their figures say."""

import jax
import mujoco
import numpy as np
import pytest
from paths import MODELS

import dojo

# Codegen dominates; a few seconds of simulation are short.
FAST_COMPILE = {"xla_backend_optimization_level": 0}
G = 9.81
rollout = jax.jit(dojo.rollout, compiler_options=FAST_COMPILE)


def simulate(model, state, us, kappa=1e-6):
    """(states, infos) in numpy; every step converges, and nothing penetrates."""
    options = dojo.SolverOptions(kappa=kappa)
    states, infos = jax.device_get(rollout(model, state, us, options=options))
    assert infos.converged.all()
    assert (infos.status == dojo.Status.CONVERGED).all()
    assert infos.contacts.gap.min(initial=np.inf) >= -1e-9
    return states, infos


def held(model, seconds, ctrl):
    return np.tile(ctrl, (round(seconds / float(model.timestep)), 1))


def home(model):
    return {key.name: key for key in model.topology.keyframes}["home"]


def center_of_mass(name, q):
    """By MuJoCo, from the same file."""
    m = mujoco.MjModel.from_xml_path(str(MODELS / f"{name}.xml"))
    data = mujoco.MjData(m)
    data.qpos[:] = q
    mujoco.mj_kinematics(m, data)
    mujoco.mj_comPos(m, data)
    return data.subtree_com[0]


def support(model, infos):
    """The floor's normal force [N] in the last step, and the point where it acts [m]."""
    contacts = jax.tree.map(lambda x: x[-1], infos.contacts)
    force = contacts.impulse[:, 0] / float(model.timestep)
    assert np.allclose(contacts.frame[force > 1e-3, 0], [0, 0, 1])
    return force.sum(), force @ contacts.point[:, :2] / force.sum()


@pytest.mark.slow
def test_the_walker_stands_on_springs():
    """At rest the feet carry the weight, right under the centre of mass."""
    model = dojo.models.load("walker")
    legs = np.arange(model.nv) >= 3
    model = model.replace(joint_stiffness=2000.0 * legs, dof_damping=50.0 * legs)
    states, infos = simulate(model, dojo.init(model), held(model, 2, np.zeros(6)))
    assert np.abs(states.v[-1]).max() < 1e-4
    assert states.q[-1, 1] == pytest.approx(-0.001, abs=0.001)
    force, point = support(model, infos)
    assert force == pytest.approx(23.677 * G, rel=1e-4)
    assert point[0] == pytest.approx(center_of_mass("walker", states.q[-1])[0], abs=1e-4)


# 27 g feel the log barrier between feet and floor, 4 kappa / (timestep gap) = 1.6 mN by default.
HARD = 1e-12


@pytest.mark.slow
def test_the_quadrotor_hovers():
    model = dojo.models.load("quadrotor")
    start = dojo.init(model, keyframe="home")
    states, _ = simulate(model, start, held(model, 2, home(model).ctrl), HARD)
    assert np.abs(states.q - start.q).max() < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("axis", range(3), ids=["roll", "pitch", "yaw"])
def test_the_quadrotor_turns_as_its_rotors_say(axis):
    """More thrust on the left rolls it to the right, more behind pitches it down, and rotors that
    turn clockwise yaw it anticlockwise: after a step the angular velocity is h J^-1 torque."""
    model = dojo.models.load("quadrotor")
    # front right, back right, back left, front left
    more = 0.001 * np.array([[-1, -1, 1, 1], [-1, 1, 1, -1], [-1, 1, -1, 1]])[axis]
    lever = 0.046 / np.sqrt(2), 0.046 / np.sqrt(2), 0.005964552
    inertia = 1e-6 * np.array(
        [
            [16.571710, 0.830806, 0.718277],
            [0.830806, 16.655602, 1.800197],
            [0.718277, 1.800197, 29.261652],
        ]
    )
    torque = 4 * 0.001 * lever[axis] * np.eye(3)[axis]
    us = held(model, 2, home(model).ctrl + more)
    states, _ = simulate(model, dojo.init(model, keyframe="home"), us, HARD)
    expected = float(model.timestep) * np.linalg.solve(inertia, torque)
    assert states.v[0, 3:] == pytest.approx(expected, rel=1e-3, abs=1e-3 * np.abs(expected).max())


BUOYANCY = 13.735 * G  # of 0.0134 m^3 of water of 1025 kg/m^3


def test_the_underwater_vehicle_rises():
    """Its thrusters off, it rises as fast as buoyancy less weight drives it against the drag."""
    model = dojo.models.load("uuv")
    states, _ = simulate(model, dojo.init(model), held(model, 10, np.zeros(14)))
    assert states.v[-1, 2] == pytest.approx((BUOYANCY - 13.5 * G) / 80.5, rel=1e-6)
    assert np.abs(states.q[-1, 3:7] - [1, 0, 0, 0]).max() < 1e-9


def test_the_underwater_vehicle_heels_and_rights_itself():
    """Buoyancy acts 10 mm above the centre of mass: thrusters hold it at a heel whose sine is
    their torque over buoyancy times 10 mm, and without them it comes back upright."""
    model = dojo.models.load("uuv")
    push = np.zeros(14)
    push[4:8] = 0.5, -0.5, 0.5, -0.5  # upright thrusters: left, right, left, right
    states, _ = simulate(model, dojo.init(model), held(model, 10, push))
    heel = 2 * np.arctan2(states.q[-1, 4], states.q[-1, 3])
    assert np.sin(heel) == pytest.approx(4 * 0.5 * 0.218 / (BUOYANCY * 0.01), rel=1e-3)
    states, _ = simulate(
        model, jax.tree.map(lambda x: x[-1], states), held(model, 10, np.zeros(14))
    )
    assert np.abs(states.q[-1, 3:7] - [1, 0, 0, 0]).max() < 1e-3
