"""Features of convex geoms against planes fixed in the world.

A feature is a centre that moves with the link, and a support radius rho(m) with m the plane's
normal in the geom's axes,

    gap = n . centre - offset - rho(m),     touching point = centre - R grad rho(m).

Spheres, capsules, corners: rho constant. Ellipsoid: |diag(size) m|. Rim of a cylinder: fixed
corners, and for a step the arc about its lowest point at the step's start (`rims`), r |m_xy| where
m points into the arc.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math import rotations
from dojo.math.vectors import (
    dot,
    matmat,
    matvec,
    matvec_t,
    safe_norm,
)
from dojo.model.model import Model
from dojo.model.topology import ContactGroup, Topology
from dojo.physics import rims
from dojo.physics.kinematics import Frames
from dojo.physics.pairs import Table, Touch, tangent_frame

# Sine of a rim's tilt between which its corners retreat to the centre: a rolling rim is round.
ROUND_START, ROUND_END = 0.7, 0.95


Groups = tuple[ContactGroup, ...]


class OnPlanes(NamedTuple):
    """Features against planes, with everything that is constant over a step."""

    center: Array  # (3, n) [m] in the link frame
    radius: Array  # (n,) [m] of constant supports
    size: Array  # (3, n) [m] of the geom
    rot: Array  # (3, 3, n) geom in link
    frame: Array  # (3, 3, n) columns n, t1, t2 of the plane, world
    offset: Array  # (n,) [m] of the plane along its normal
    # Middle of the arcs of rims, (2, n) over the radius; None: the lowest points of each pose.
    anchor: Array | None

    @property
    def normal(self) -> Array:
        """(3, n)"""
        return self.frame[:, 0]


def on_planes(model: Model) -> OnPlanes:
    """Evaluate the features with the model's geometry."""
    groups = plane_groups(model.topology)
    size = model.geom_size[joined(groups, "second")].T
    rot = rotations.to_matrix(rotations.normalize(model.geom_quat[joined(groups, "second")].T))
    plane = joined(groups, "first")
    plane_rot = rotations.to_matrix(rotations.normalize(model.geom_quat[plane].T))
    normal = plane_rot[:, 2]
    maps = (joined(groups, field) for field in ("center_map", "radius_map"))
    center, radius = feature_points(model, joined(groups, "second"), *maps)
    center = center + _vertices(model, joined(groups, "vertex"))
    return OnPlanes(
        center=model.geom_pos[joined(groups, "second")].T + matvec(rot, center),
        radius=radius,
        size=size,
        rot=rot,
        frame=tangent_frame(normal),
        offset=dot(normal, model.geom_pos[plane].T),
        anchor=None,
    )


def feature_points(
    model: Model, geoms: Table, center_map: Table, radius_map: Table
) -> tuple[Array, Array]:
    """Centres (3, n) in the frames of their geoms, and constant support radii (n,)."""
    size = model.geom_size[geoms].T
    center_map = jnp.moveaxis(jnp.asarray(center_map, model.dtype), 0, -1)
    return matvec(center_map, size), dot(jnp.asarray(radius_map, model.dtype).T, size)


@functools.lru_cache(maxsize=64)
def plane_groups(topology: Topology) -> Groups:
    """The groups of features against planes."""
    return tuple(g for g in topology.contacts if g.with_plane)


def joined(groups: Groups, field: str) -> np.ndarray:
    """A field of all groups, one entry after the other."""
    empty = {"center_map": np.zeros((0, 3, 3)), "radius_map": np.zeros((0, 3))}
    start = empty.get(field, np.zeros(0, dtype=int))
    return np.concatenate([start, *[getattr(g, field) for g in groups]])


def _links(model: Model) -> np.ndarray:
    return model.topology.geom_link[joined(plane_groups(model.topology), "second")]


def _vertices(model: Model, row: np.ndarray) -> Array:
    if not len(model.mesh_vertices):
        return jnp.zeros((3, len(row)), model.dtype)
    return jnp.where(row >= 0, model.mesh_vertices[np.maximum(row, 0)].T, 0.0)


def anchored(model: Model, c: OnPlanes, frames: Frames) -> OnPlanes:
    """Features for a step from these link poses: what they are of a rim, fixed to the body."""
    if not _rim_corners(model.topology).any():
        return c._replace(anchor=jnp.zeros((2, len(c.radius)), model.dtype))
    normal = _local_normal(model, c, frames)
    steep = (safe_norm(normal[:2]) - ROUND_START) / (ROUND_END - ROUND_START)
    t = jnp.clip(steep, 0.0, 1.0)
    corner = c.size[0] * jnp.asarray(_rim_corners(model.topology), model.dtype)
    center = c.center - matvec(c.rot, corner * t * t * (3.0 - 2.0 * t))
    return c._replace(center=center, anchor=rims.extreme(normal))


def _local_normal(model: Model, c: OnPlanes, frames: Frames) -> Array:
    """The planes' normals in the axes of the geoms, (3, nc)."""
    return matvec_t(matmat(frames.rot[:, :, _links(model)], c.rot), c.normal)


@functools.lru_cache(maxsize=64)
def _rim_corners(topology: Topology) -> np.ndarray:
    """Place of the corners of rims across the axis, over the radius; zero for others: (3, nc)."""
    groups = plane_groups(topology)
    across = joined(groups, "center_map")[:, :, 0].T * np.array([[1.0], [1.0], [0.0]])
    kinds = [topology.geom_kind[geom] for geom in joined(groups, "second")]
    return across * np.array([kind == "cylinder" for kind in kinds], dtype=float)


def touch(model: Model, c: OnPlanes, frames: Frames) -> Touch:
    """Gaps and touching points at these link poses."""
    link = _links(model)
    pose = Frames(frames.pose[:, :, link])
    center = pose.pos + matvec(pose.rot, c.center)
    if c.anchor is None:
        c = c._replace(anchor=rims.extreme(_local_normal(model, c, frames)))
    radius, arm = _supports(model, c, pose.rot)
    gap = dot(c.normal, center) - c.offset - radius
    return Touch(gap, center - arm, c.normal)


def _supports(model: Model, c: OnPlanes, rot: Array) -> tuple[Array, Array]:
    """Support radius (nc,) and its gradient in the world (3, nc), kind by kind."""
    assert c.anchor is not None
    radii, arms = [], []
    for group, part in _parts(model.topology):
        if group.kind == "point":
            radii.append(c.radius[part])
            arms.append(c.radius[part] * c.normal[:, part])
            continue
        axes = matmat(rot[:, :, part], c.rot[:, :, part])
        local = matvec_t(axes, c.normal[:, part])
        if group.kind == "ellipsoid":
            radius, gradient = _ellipsoid(c.size[:, part], local)
        else:
            gradient = rims.on_arc(c.size[0, part] * c.anchor[:, part], local)
            radius = dot(gradient, local)
        radii.append(radius)
        arms.append(matvec(axes, gradient))
    zero = jnp.zeros((0,), model.dtype)
    return jnp.concatenate([zero, *radii]), jnp.concatenate([zero[None].repeat(3, 0), *arms], 1)


def _parts(topology: Topology) -> Iterator[tuple[ContactGroup, slice]]:
    start = 0
    for group in plane_groups(topology):
        yield group, slice(start, start + len(group))
        start += len(group)


def _ellipsoid(size: Array, m: Array) -> tuple[Array, Array]:
    radius = safe_norm(size * m)
    return radius, size * size * m / radius
