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


@pytest.mark.slow
def test_atlas_stands_in_its_home_pose():
    """The same of 174 kg on servos."""
    model = dojo.models.load("atlas")
    start = dojo.init(model, keyframe="home")
    states, infos = simulate(model, start, held(model, 5, home(model).ctrl))
    assert np.abs(states.v[-1]).max() < 1e-3
    assert np.abs(states.q - start.q).max() < 0.05
    force, point = support(model, infos)
    assert force == pytest.approx(174.25 * G, rel=1e-4)
    assert point == pytest.approx(center_of_mass("atlas", states.q[-1])[:2], abs=1e-3)


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


def gravity_torque(name, q):
    """[N m] of the joints, by MuJoCo, at rest; gravcomp not counted."""
    m = mujoco.MjModel.from_xml_path(str(MODELS / f"{name}.xml"))
    data = mujoco.MjData(m)
    data.qpos[:] = q
    mujoco.mj_forward(m, data)
    return data.qfrc_bias


@pytest.mark.slow
def test_the_panda_holds_its_pose_and_its_fingers_move_alike():
    """At home the grip is where the Denavit-Hartenberg parameters put it, and stays there, since
    gravcomp carries the weight. Fingers told to half of their stroke are there, both."""
    model = dojo.models.load("panda")
    start = dojo.init(model, keyframe="home")
    grip = dojo.frame_poses(model, start.q).pos[model.frame("grip")]
    expected = [0.0825 + 0.384 + 0.088, 0, 0.333 + 0.316 + 0.0825 - 0.107 - 0.1034]
    assert grip == pytest.approx(expected, abs=1e-9)
    us = held(model, 3, home(model).ctrl)
    us[:, 7] = 0.02
    states, _ = simulate(model, start, us)
    assert np.abs(states.q - start.q)[:, :7].max() < 1e-4
    assert np.abs(states.q[:, 7] - states.q[:, 8]).max() < 1e-9
    assert states.q[-1, 7:] == pytest.approx([0.02, 0.02], abs=1e-4)


@pytest.mark.slow
def test_the_panda_sags_without_gravity_compensation():
    """Then the servos hold it where their springs balance the weight."""
    model = dojo.models.load("panda")
    model = model.replace(link_gravcomp=0.0 * model.link_gravcomp)
    ctrl = home(model).ctrl
    states, _ = simulate(model, dojo.init(model, keyframe="home"), held(model, 3, ctrl))
    stiffness = np.array([600, 600, 600, 600, 250, 150, 50])
    weight = gravity_torque("panda", states.q[-1])[:7]
    assert np.abs(weight).max() > 20
    assert stiffness * (ctrl[:7] - states.q[-1, :7]) == pytest.approx(weight, abs=0.01)


def xarm_joints(x, z):
    """The joint angles of the xArm with its flange at x, z [m] and the rod upright."""
    upper, fore = np.array([0.0535, 0.2845]), np.array([0.0775, -0.3425])
    wrist = np.array([x - 0.076, z + 0.097 - 0.267])
    a, b, c = (np.linalg.norm(side) for side in (upper, fore, wrist))
    angle = np.arctan2(wrist[1], wrist[0]) + np.arccos((a**2 + c**2 - b**2) / (2 * a * c))
    elbow = wrist - a * np.array([np.cos(angle), np.sin(angle)])
    shoulder = np.arctan2(upper[1], upper[0]) - angle
    forearm = np.arctan2(fore[1], fore[0]) - np.arctan2(elbow[1], elbow[0])
    return [0.0, shoulder, forearm - shoulder, 0.0, -forearm, 0.0]


@pytest.mark.slow
def test_the_xarm_pushes_its_block():
    """The rod goes straight on at 0.1 m/s and takes the block along. Then it pushes with mu times
    the force on the table, and the table carries the block."""
    model = dojo.models.load("xarm6_push")
    h = float(model.timestep)
    assert xarm_joints(0.3, 0.2) == pytest.approx(home(model).ctrl, abs=1e-8)
    us = np.array([xarm_joints(0.3 + 0.1 * h * k, 0.2) for k in range(1, 201)])
    states, infos = simulate(model, dojo.init(model, keyframe="home"), us)
    late = slice(150, 200)
    impulse, frame = infos.contacts.impulse[late], infos.contacts.frame[late]
    geoms = infos.contacts.geoms[late]
    force = np.einsum("tci,tcij->tcj", impulse, frame) / h  # on the second body, world axes
    block, rod, table = map(model.geom, ("block", "rod", "table"))
    on_block = np.where((geoms[..., 1] == block)[..., None], force, -force)
    push = on_block[(geoms == rod).any(-1)].reshape(50, -1, 3).sum(1)
    carried = on_block[(geoms == table).any(-1)].reshape(50, -1, 3).sum(1)
    assert states.v[late, 6] == pytest.approx(0.1, rel=1e-2)
    assert push[:, 0] == pytest.approx(0.5 * carried[:, 2], rel=1e-2)
    assert carried[:, 2] + push[:, 2] == pytest.approx(0.5 * G, rel=1e-3)


@pytest.mark.slow
def test_the_mobile_arm_drives_in_a_circle():
    """At 0.3 m/s ahead and 0.5 rad/s to the left the base goes round a circle of 0.6 m, but for
    what the servos lag behind to hold 27 kg in it; the fingers close meanwhile, both alike."""
    model = dojo.models.load("mobile_arm")
    ctrl = np.array(home(model).ctrl)
    ctrl[[0, 2, 8]] = 0.3, 0.5, 0.002
    states, _ = simulate(model, dojo.init(model, keyframe="home"), held(model, 8, ctrl))
    assert states.v[-1, 2] == pytest.approx(0.5, rel=2e-2)
    speed = np.hypot(*states.v[-1, :2])
    assert speed == pytest.approx(0.3, rel=2e-2)
    # The centre of the circle lies to the left of the velocity, and stays where it is.
    centers = states.q[:, :2] + np.stack([-states.v[:, 1], states.v[:, 0]], 1) / 0.5
    assert np.abs(centers[400:] - centers[-1]).max() < 0.02
    assert np.abs(states.q[:, 8] - states.q[:, 9]).max() < 1e-9
    assert states.q[-1, 8:] == pytest.approx([0.002, 0.002], abs=1e-4)


@pytest.mark.slow
def test_the_mobile_arm_sags_under_its_weight():
    """At rest, stretched out, the springs of the servos balance the weight of the arm."""
    model = dojo.models.load("mobile_arm")
    ctrl = np.array(home(model).ctrl)
    ctrl[3:8] = 0, 0.9, 0.5, 0.3, 0
    states, _ = simulate(model, dojo.init(model, keyframe="home"), held(model, 8, ctrl))
    stiffness = np.array([200, 200, 200, 100, 50])
    weight = gravity_torque("mobile_arm", states.q[-1])[3:8]
    assert np.abs(weight[1:4]).min() > 0.5
    assert stiffness * (ctrl[3:8] - states.q[-1, 3:8]) == pytest.approx(weight, abs=5e-3)
    assert np.abs(states.q[-1, :3]).max() < 1e-3
