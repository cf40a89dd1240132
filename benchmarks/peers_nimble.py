"""Models in Nimble; see gradients_peers.py for what differs from the files."""

from importlib.metadata import version
from typing import Any

import mujoco
import numpy as np
from peers import Peer, contact_spheres, friction, rotation

MASSLESS = 1e-9  # kg and kg m^2, of the links between the joints of one body


def nimble_peer(m: mujoco.MjModel) -> Peer:
    """A model in Nimble, whose degrees of freedom are MuJoCo's in number and order."""
    from nimblephysics_libs._nimblephysics.neural import forwardPass

    world, count = nimble_world(m), 2 * m.nv
    dofs = m.jnt_dofadr[m.actuator_trnid[:, 0]]
    world.setActionSpace(dofs.tolist())

    def put(x: np.ndarray) -> None:
        world.setState(x[:count])
        world.setAction(x[count:])
        world.setCachedLCPSolution(np.zeros(0))  # a warm start makes a step depend on the last

    def step(x: np.ndarray) -> np.ndarray:
        put(x)
        world.step()
        return world.getState()

    def jacobians(x: np.ndarray) -> np.ndarray:
        put(x)
        snapshot = forwardPass(world)
        put(x)  # else they are taken at the state after the step, and wrong
        return np.hstack([snapshot.getStateJacobian(world), snapshot.getActionJacobian(world)])

    def contacts(x: np.ndarray) -> int:
        step(x)
        impulses = world.getCachedLCPSolution().reshape(-1, 3)  # along the normal, two tangents
        if not impulses[:, 1:].any():  # without contact, or friction was dropped
            return 0
        return int(np.count_nonzero(impulses[:, 0] > 0))

    start = np.zeros(count + m.nu)
    if m.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE:
        start[3:6] = m.qpos0[:3]
    engine = f"Nimble {version('nimblephysics')}"
    return Peer(engine, start, dofs, m.nv + dofs, step, jacobians, contacts)


# Nimble's friction directions are singular at a normal along z, so that its world has y up.
UPRIGHT = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def nimble_world(m: mujoco.MjModel) -> Any:
    """A world of the robot and a box for the floor."""
    import nimblephysics as nimble

    world = nimble.simulation.World()
    world.setTimeStep(m.opt.timestep)
    world.setGravity(UPRIGHT @ m.opt.gravity)
    world.addSkeleton(nimble_skeleton(m))
    ground = nimble.dynamics.Skeleton()
    joint, body = ground.createWeldJointAndBodyNodePair()
    joint.setTransformFromParentBodyNode(nimble.math.Isometry3(np.eye(3), np.array([0, -0.5, 0])))
    body.createShapeNode(nimble.dynamics.BoxShape([100, 1, 100])).createCollisionAspect()
    body.setFrictionCoeff(10)  # the smaller one of a pair counts
    world.addSkeleton(ground)
    return world


def nimble_skeleton(m: mujoco.MjModel) -> Any:
    """One link for each joint; the last one of a body carries its mass and spheres."""
    from nimblephysics_libs._nimblephysics import dynamics

    skeleton = dynamics.Skeleton()
    rotors = lumped_armature(m)
    links: list[Any] = []
    for j, b in enumerate(m.jnt_bodyid):
        parent = parent_joint(m, j)
        link = nimble_link(skeleton, m, j, None if parent is None else links[parent])
        links.append(link)
        if j < m.body_jntadr[b] + m.body_jntnum[b] - 1:
            moment = MASSLESS * np.eye(3) + rotors[j]
            link.setInertia(dynamics.Inertia(MASSLESS, np.zeros(3), moment))
            continue
        axes = rotation(m.body_iquat[b])
        moment = axes @ np.diag(m.body_inertia[b]) @ axes.T + rotors[j]
        link.setInertia(dynamics.Inertia(m.body_mass[b], m.body_ipos[b], moment))
        link.setFrictionCoeff(friction(m, b))
        for centre, radius in contact_spheres(m, b):
            shape = link.createShapeNode(dynamics.SphereShape(radius))
            shape.setRelativeTranslation(centre)
            shape.createCollisionAspect()
    return skeleton


def nimble_link(skeleton: Any, m: mujoco.MjModel, j: int, parent: Any) -> Any:
    """A link behind a joint, with the joint's frame, axis, damping and spring."""
    from nimblephysics_libs._nimblephysics.math import Isometry3

    kinds = {
        mujoco.mjtJoint.mjJNT_FREE: skeleton.createFreeJointAndBodyNodePair,
        mujoco.mjtJoint.mjJNT_SLIDE: skeleton.createPrismaticJointAndBodyNodePair,
        mujoco.mjtJoint.mjJNT_HINGE: skeleton.createRevoluteJointAndBodyNodePair,
    }
    create = kinds[mujoco.mjtJoint(m.jnt_type[j])]
    joint, link = create() if parent is None else create(parent)
    turn, offset = joint_frame(m, j)
    base = UPRIGHT if parent is None else np.eye(3)
    joint.setTransformFromParentBodyNode(Isometry3(base @ turn, base @ offset))
    if m.jnt_type[j] != mujoco.mjtJoint.mjJNT_FREE:
        joint.setAxis(m.jnt_axis[j])
        joint.setDampingCoefficient(0, m.dof_damping[m.jnt_dofadr[j]])
        joint.setSpringStiffness(0, m.jnt_stiffness[j])
        joint.setRestPosition(0, m.qpos_spring[m.jnt_qposadr[j]])
    return link


def lumped_armature(m: mujoco.MjModel) -> np.ndarray:
    """Inertia about the axis of each hinge, added to the links on both sides; (njnt, 3, 3)."""
    total = np.zeros((m.njnt, 3, 3))
    for j in np.flatnonzero(m.jnt_type == mujoco.mjtJoint.mjJNT_HINGE):
        axis, parent = m.jnt_axis[j], parent_joint(m, j)
        armature = m.dof_armature[m.jnt_dofadr[j]]
        total[j] += armature * np.outer(axis, axis)
        if parent is not None:
            seen = joint_frame(m, j)[0] @ axis
            total[parent] += armature * np.outer(seen, seen)
    return total


def parent_joint(m: mujoco.MjModel, j: int) -> int | None:
    """The joint before this one on the way from the world."""
    body = m.jnt_bodyid[j]
    if j > m.body_jntadr[body]:
        return j - 1
    parent = m.body_parentid[body]
    return m.body_jntadr[parent] + m.body_jntnum[parent] - 1 if parent else None


def joint_frame(m: mujoco.MjModel, j: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotation and origin of a joint's frame in the link before it."""
    body = m.jnt_bodyid[j]
    if j > m.body_jntadr[body] or m.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE:
        return np.eye(3), np.zeros(3)
    return rotation(m.body_quat[body]), m.body_pos[body]
