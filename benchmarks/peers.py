"""What the peers of `gradients_peers.py` share: a model in an engine, and its contact spheres."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import mujoco
import numpy as np

CORNER = 1e-4  # m, radius of the spheres at the corners of a box


@dataclass
class Peer:
    """A model in an engine. An input x is [q; v; joint torques], a result is the next [q; v]."""

    engine: str
    start: np.ndarray  # x of the rest pose
    motor_q: np.ndarray  # index in x of the position of each motor's joint
    motor_v: np.ndarray  # and of its velocity
    step: Callable[[np.ndarray], np.ndarray]
    jacobians: Callable[[np.ndarray], np.ndarray]  # [A B], (nx, nx + nu)
    contacts: Callable[[np.ndarray], int]


def contact_spheres(m: mujoco.MjModel, body: int) -> Iterator[tuple[np.ndarray, float]]:
    """Centres in the body's frame and radii of spheres that touch a plane where the body does."""
    start = m.body_geomadr[body]
    for g in range(start, start + m.body_geomnum[body]):
        size, kind = m.geom_size[g], m.geom_type[g]
        if not m.geom_contype[g]:
            continue
        if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
            offsets, radius = np.zeros((1, 3)), size[0]
        elif kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
            offsets, radius = np.array([[0, 0, -size[1]], [0, 0, size[1]]]), size[0]
        elif kind == mujoco.mjtGeom.mjGEOM_BOX:
            signs = np.stack(np.meshgrid(*[[-1, 1]] * 3), axis=-1).reshape(8, 3)
            offsets, radius = signs * (size - CORNER), CORNER
        else:
            raise ValueError(f"no spheres for a geom of type {kind}")
        for offset in offsets:
            yield m.geom_pos[g] + rotation(m.geom_quat[g]) @ offset, float(radius)


def friction(m: mujoco.MjModel, body: int) -> float:
    """The largest friction of a body's geoms."""
    start = m.body_geomadr[body]
    return float(m.geom_friction[start : start + m.body_geomnum[body], 0].max(initial=0))


def rotation(quaternion: np.ndarray) -> np.ndarray:
    """Rotation matrix of a quaternion (w, x, y, z)."""
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)
