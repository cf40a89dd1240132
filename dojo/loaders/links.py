"""Bodies and joints to links: one joint each, fixed bodies merged into their parents."""

import dataclasses

import mujoco
import numpy as np

from dojo.loaders.findings import Findings, listing
from dojo.loaders.names import body_name, joint_name
from dojo.loaders.unsupported import disabled
from dojo.model.errors import ModelError
from dojo.model.topology import WORLD, JointKind

_KINDS: dict[int, JointKind] = {
    int(mujoco.mjtJoint.mjJNT_FREE): "free",
    int(mujoco.mjtJoint.mjJNT_BALL): "ball",
    int(mujoco.mjtJoint.mjJNT_HINGE): "hinge",
    int(mujoco.mjtJoint.mjJNT_SLIDE): "slide",
}
_DISABLE = mujoco.mjtDisableBit


@dataclasses.dataclass(frozen=True)
class Pose:
    """Position and wxyz quaternion."""

    pos: np.ndarray
    quat: np.ndarray

    def __matmul__(self, other: "Pose") -> "Pose":
        moved, quat = np.zeros(3), np.zeros(4)
        mujoco.mju_rotVecQuat(moved, other.pos, self.quat)
        mujoco.mju_mulQuat(quat, self.quat, other.quat)
        return Pose(self.pos + moved, quat)

    @property
    def matrix(self) -> np.ndarray:
        """Rotation matrix."""
        flat = np.zeros(9)
        mujoco.mju_quat2Mat(flat, self.quat)
        return flat.reshape(3, 3)


def identity() -> Pose:
    """The identity pose."""
    return Pose(np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]))


@dataclasses.dataclass
class Links:
    """The links of a compiled model, as plain arrays."""

    parent: np.ndarray
    kinds: tuple[JointKind, ...]
    link_names: tuple[str, ...]
    joint_names: tuple[str, ...]
    body_link: np.ndarray  # (nbody,) link that carries each body
    body_pose: list[Pose]  # pose of each body in its link
    parameters: dict[str, np.ndarray]


def read_links(m: mujoco.MjModel, found: Findings) -> Links:
    """One link per joint, in MuJoCo's order; the last link of a body carries its mass.

    Then one for each mocap body, without mass.
    """
    count = m.njnt + m.nmocap
    parent = np.full(count, WORLD)
    rest = [identity() for _ in range(count)]
    body_link = np.full(m.nbody, WORLD)
    body_pose = [identity() for _ in range(m.nbody)]
    link_names = [""] * count
    merged, hung = [], []
    for b in range(1, m.nbody):
        up = m.body_parentid[b]
        placed = body_pose[up] @ Pose(m.body_pos[b], m.body_quat[b])
        first, joints = m.body_jntadr[b], m.body_jntnum[b]
        if m.body_mocapid[b] >= 0:
            body_link[b] = m.njnt + m.body_mocapid[b]
            link_names[body_link[b]] = body_name(m, b)
            continue
        if joints == 0:
            body_link[b], body_pose[b] = body_link[up], placed
            merged.append(body_name(m, b))
            continue
        above = body_link[up]
        if above >= m.njnt:
            hung.append(body_name(m, b))
            mocap = m.body_rootid[b]
            above, placed = WORLD, Pose(m.body_pos[mocap], m.body_quat[mocap]) @ placed
        for j in range(first, first + joints):
            parent[j] = above if j == first else j - 1
            link_names[j] = f"{body_name(m, b)}/{joint_name(m, j)}"
        if _KINDS[int(m.jnt_type[first])] != "free":
            rest[first] = placed
        body_link[b] = first + joints - 1
        link_names[body_link[b]] = body_name(m, b)
    if merged:
        found.note(
            f"{len(merged)} bodies without joint merged into their parents: {listing(merged)}"
        )
    kinds: tuple[JointKind, ...] = tuple(_KINDS[int(t)] for t in m.jnt_type)
    parameters = _joint_parameters(m, kinds) | _inertial_parameters(m, body_link, body_pose)
    parameters["link_gravcomp"] = _gravcomp(m, body_link, found)
    parameters["link_pos"] = np.array([p.pos for p in rest]).reshape(-1, 3)
    parameters["link_quat"] = np.array([p.quat for p in rest]).reshape(-1, 4)
    names = [joint_name(m, j) for j in range(m.njnt)]
    names += [f"{name}/mocap" for name in link_names[m.njnt :]]
    kinds += ("mocap",) * m.nmocap
    if hung:
        found.refuse("mocap", f"bodies with joints below a mocap body: {listing(hung)}")
    return Links(parent, kinds, tuple(link_names), tuple(names), body_link, body_pose, parameters)


def mocap_poses(m: mujoco.MjModel) -> np.ndarray:
    """Rest poses of the mocap bodies, position and quaternion each, one after the other."""
    bodies = np.argsort(np.where(m.body_mocapid >= 0, m.body_mocapid, m.nbody))[: m.nmocap]
    return np.concatenate([m.body_pos[bodies], m.body_quat[bodies]], axis=1).ravel()


def _joint_parameters(m: mujoco.MjModel, kinds: tuple[JointKind, ...]) -> dict[str, np.ndarray]:
    rest = mocap_poses(m)

    def each(of_joints: np.ndarray) -> np.ndarray:
        """What joints have, and nothing for mocap bodies."""
        return np.concatenate([of_joints, np.zeros((m.nmocap, *of_joints.shape[1:]))])

    scalar = np.array([k in ("hinge", "slide") for k in kinds], dtype=bool)
    hinge_or_ball = np.array([k in ("hinge", "ball") for k in kinds], dtype=bool)
    spring = not disabled(m, _DISABLE.mjDSBL_SPRING)
    damper = not disabled(m, _DISABLE.mjDSBL_DAMPER)
    constraint = not disabled(m, _DISABLE.mjDSBL_CONSTRAINT)
    dry = constraint and not disabled(m, _DISABLE.mjDSBL_FRICTIONLOSS)
    return {
        "joint_axis": each(np.where(scalar[:, None], m.jnt_axis, 0.0)),
        "joint_anchor": each(np.where(hinge_or_ball[:, None], m.jnt_pos, 0.0)),
        "joint_ref": each(np.where(scalar, m.qpos0[m.jnt_qposadr], 0.0)),
        "joint_stiffness": each(m.jnt_stiffness * spring),
        "spring_ref": np.concatenate([m.qpos_spring, rest]),
        "dof_damping": m.dof_damping * damper,
        "dof_armature": m.dof_armature.copy(),
        "dof_frictionloss": m.dof_frictionloss * dry,
        "q_rest": np.concatenate([m.qpos0, rest]),
    }


def _inertial_parameters(
    m: mujoco.MjModel, body_link: np.ndarray, body_pose: list[Pose]
) -> dict[str, np.ndarray]:
    """Those of each link; nothing for mocap bodies, which nothing moves."""
    merged = [merged_inertia(m, np.flatnonzero(body_link == k), body_pose) for k in range(m.njnt)]
    merged += m.nmocap * [(0.0, np.zeros(3), np.zeros((3, 3)))]
    return {
        "link_mass": np.array([mass for mass, _, _ in merged]),
        "link_com": np.array([com for _, com, _ in merged]).reshape(-1, 3),
        "link_inertia": np.array([inertia for *_, inertia in merged]).reshape(-1, 3, 3),
    }


def merged_inertia(
    m: mujoco.MjModel, bodies: np.ndarray, body_pose: list[Pose]
) -> tuple[float, np.ndarray, np.ndarray]:
    """Mass, centre of mass and inertia about it of bodies with these poses in one link."""
    mass, moment, about_origin = 0.0, np.zeros(3), np.zeros((3, 3))
    for b in bodies:
        inertial = body_pose[b] @ Pose(m.body_ipos[b], m.body_iquat[b])
        rotation, com = inertial.matrix, inertial.pos
        mass += m.body_mass[b]
        moment += m.body_mass[b] * com
        about_origin += rotation @ np.diag(m.body_inertia[b]) @ rotation.T
        about_origin += m.body_mass[b] * (com @ com * np.eye(3) - np.outer(com, com))
    com = moment / (mass if mass > 0 else 1.0)
    steiner = mass * (com @ com * np.eye(3) - np.outer(com, com))
    return float(mass), com, about_origin - steiner


def _gravcomp(m: mujoco.MjModel, body_link: np.ndarray, found: Findings) -> np.ndarray:
    """Share of each link's weight that is carried, (nl,)."""
    share = np.zeros(m.njnt + m.nmocap)
    # MuJoCo takes it for a passive force.
    if disabled(m, _DISABLE.mjDSBL_SPRING) and disabled(m, _DISABLE.mjDSBL_DAMPER):
        return share
    for link in range(m.njnt):
        bodies = np.flatnonzero(body_link == link)
        mass, carried = m.body_mass[bodies], m.body_gravcomp[bodies]
        if np.any(carried):
            share[link] = mass @ carried / max(mass.sum(), np.finfo(float).tiny)
        if len(np.unique(carried[mass > 0])) > 1:
            found.note(
                f"gravcomp of the merged bodies {listing([body_name(m, int(b)) for b in bodies])} "
                "differs: their mean, at the common centre of mass"
            )
    return share


def check_mass_matrix(m: mujoco.MjModel, source: str) -> None:
    """Every degree of freedom must move some inertia.

    Raises:
        ModelError: naming the joint that moves none.
    """
    for d in range(m.nv):
        if not m.dof_M0[d] > 1e-12:
            raise ModelError(
                f"{source}: joint {joint_name(m, m.dof_jntid[d])} moves no inertia, the mass "
                "matrix is singular. Give the bodies below it mass and inertia, or the joint an "
                "armature."
            )
