"""Convex geoms in one form: the sum of a polytope, an ellipsoid and a ball.

The support function of a geom, how far it reaches in a direction m of its frame, is

    rho(m) = max_k core_k . m + |diag(spread) m| + radius |m|.

A capsule: two points and a ball; a cylinder: the same two points and a disc; a box or the hull of a
mesh: its corners. What is flat of a geom, faces and edges, is listed beside.
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.math.vectors import SMALL, at_least, cross, largest, matvec, matvec_t, safe_norm, total
from dojo.model.layout import entries
from dojo.model.model import Model
from dojo.model.topology import Topology
from dojo.physics.kinematics import Frames, geom_frames
from dojo.physics.pairs import Table

# Corners of the polygon that stands for the rim of a cylinder.
RIM = 8


class Solid(NamedTuple):
    """Convex geoms in the world, each with the same number of corners, faces and edges.

    Surplus corners repeat others; surplus faces and edges are marked by `has_face`, `has_edge`.
    """

    pose: Frames
    core: Array  # (3, V, n) in the geom's frame, as all below
    spread: Array  # (3, n)
    radius: Array  # (n,)
    normals: Array  # (3, F, n) of faces, outwards
    faces: Array  # (K, F, n) corners round each face, by place in `core`; those of a cap: its end
    edges: Array  # (2, E, n) ends, by place in `core`
    has_face: Array  # (F, n) bool
    has_edge: Array  # (E, n) bool

    def outwards(self, x: Array) -> Array:
        """Vectors (3, k, n) of the geoms' frames in the world."""
        return matvec(self.pose.rot[:, :, None], x)

    def inwards(self, x: Array) -> Array:
        """Vectors (3, k, n) of the world in the geoms' frames."""
        return matvec_t(self.pose.rot[:, :, None], x)

    def reach(self, m: Array) -> Array:
        """Support function along unit directions (3, k, n) of the geoms' frames: (k, n)."""
        core = largest(total(m[:, :, None] * self.core[:, None]), 1)
        return core + safe_norm(self.spread[:, None] * m) + self.radius

    @property
    def bound(self) -> Array:
        """Radii (n,) of spheres round them, about the origins of their frames."""
        core = safe_norm(self.core)
        return largest(core, 0) + largest(self.spread, 0) + self.radius

    @property
    def ends(self) -> tuple[Array, Array]:
        """Ends of the edges, (3, E, n) each."""
        first, second = (jnp.take_along_axis(self.core, k[None], axis=1) for k in self.edges)
        return first, second


def solids(model: Model, geoms: Table, chosen: Table, frames: Frames) -> Solid:
    """The geoms `chosen` (n,) where their links are; all of them are among `geoms`."""
    among = np.unique(geoms)
    shapes = _shapes(model.topology, tuple(among.tolist()))
    size = model.geom_size[among].T
    core = total(jnp.asarray(shapes.core, model.dtype) * size[None, :, None], axis=1)
    if (shapes.rows >= 0).any():
        corners = model.mesh_vertices.T[:, np.maximum(shapes.rows, 0)]
        core = core + jnp.where(shapes.rows >= 0, corners, 0.0)
    parts = (
        core,
        total(jnp.asarray(shapes.spread, model.dtype) * size[None], axis=1),
        total(jnp.asarray(shapes.radius, model.dtype) * size),
        jnp.asarray(shapes.normals, model.dtype) + _normals(core, shapes.faces),
        *map(jnp.asarray, (shapes.faces, shapes.edges, shapes.has_face, shapes.has_edge)),
    )
    place = np.zeros(len(model.topology.geom_kind), dtype=int)
    place[among] = np.arange(len(among))
    index = entries(place, chosen)
    return Solid(geom_frames(model, frames, chosen), *(x[..., index] for x in parts))


def _normals(core: Array, faces: np.ndarray) -> Array:
    """Unit normals (3, F, n) of polygons of corners, zero where these are one point."""
    count, most, n = faces.shape
    ring = jnp.take_along_axis(core, faces.reshape(1, -1, n), axis=1).reshape(3, count, most, n)
    off = ring - ring[:, :1]
    area = total(cross(off, jnp.roll(off, -1, axis=1)), axis=1)
    return area / at_least(safe_norm(area), SMALL)


class _Shape(NamedTuple):
    """A geom: its parts as linear maps of its size, plus rows of `Model.mesh_vertices`."""

    core: np.ndarray  # (V, 3, 3)
    rows: np.ndarray  # (V,) or -1
    spread: np.ndarray  # (3, 3)
    radius: np.ndarray  # (3,)
    normals: np.ndarray  # (F, 3) of faces, zero for those that their corners tell
    faces: np.ndarray  # (F, K) corners by place in `core`, the last one repeated
    edges: np.ndarray  # (E, 2) likewise


class _Shapes(NamedTuple):
    """Shapes side by side: the fields of `_Shape`, geoms last."""

    core: np.ndarray  # (3, 3, V, n)
    rows: np.ndarray  # (V, n)
    spread: np.ndarray  # (3, 3, n)
    radius: np.ndarray  # (3, n)
    normals: np.ndarray  # (3, F, n)
    faces: np.ndarray  # (K, F, n)
    edges: np.ndarray  # (2, E, n)
    has_face: np.ndarray  # (F, n)
    has_edge: np.ndarray  # (E, n)


@functools.lru_cache(maxsize=64)
def _shapes(topology: Topology, geoms: tuple[int, ...]) -> _Shapes:
    shapes = [_shape(topology, g) for g in geoms]
    corners, faces, edges = (
        max(1, *(len(getattr(s, field)) for s in shapes)) for field in ("core", "normals", "edges")
    )
    most = max(s.faces.shape[1] for s in shapes)
    return _Shapes(
        core=np.stack([_padded(s.core, corners, s.core[0]) for s in shapes], -1).transpose(
            1, 2, 0, 3
        ),
        rows=np.stack([_padded(s.rows, corners, s.rows[0]) for s in shapes], -1),
        spread=np.stack([s.spread for s in shapes], -1),
        radius=np.stack([s.radius for s in shapes], -1),
        normals=np.stack([_padded(s.normals, faces, 0).T for s in shapes], -1),
        faces=np.stack([_padded(_wider(s.faces, most), faces, 0).T for s in shapes], -1),
        edges=np.stack([_padded(s.edges, edges, 0).T for s in shapes], -1),
        has_face=np.stack([np.arange(faces) < len(s.normals) for s in shapes], -1),
        has_edge=np.stack([np.arange(edges) < len(s.edges) for s in shapes], -1),
    )


def _wider(faces: np.ndarray, most: int) -> np.ndarray:
    return np.concatenate([faces, faces[:, -1:].repeat(most - faces.shape[1], axis=1)], axis=1)


def _padded(table: np.ndarray, rows: int, fill: np.ndarray | int) -> np.ndarray:
    missing = np.broadcast_to(fill, (rows - len(table), *table.shape[1:])).astype(table.dtype)
    return np.concatenate([table, missing])


_SIGNS = (-1.0, 1.0)
_BOX = np.array([np.diag([x, y, z]) for x in _SIGNS for y in _SIGNS for z in _SIGNS])
_BOX_FACES = np.array(
    [[4, 6, 7, 5], [2, 3, 7, 6], [1, 5, 7, 3], [0, 1, 3, 2], [0, 4, 5, 1], [0, 2, 6, 4]]
)
_BOX_EDGES = np.array([[a, a | bit] for bit in (1, 2, 4) for a in range(8) if not a & bit])
_CAP_NORMALS = np.array([[0.0, 0, 1], [0, 0, -1]])
_CAPS = np.array([[1] * RIM, [0] * RIM])
_AXIS = np.array([np.outer([0, 0, z], [0, 1, 0]) for z in _SIGNS])
_ALONG = np.array([[0, 1]])
_POINT, _NOTHING = np.zeros((1, 3, 3)), np.zeros((3, 3))
_NO_FACES, _NO_EDGES = np.zeros((0, 1), int), np.zeros((0, 2), int)


def _shape(topology: Topology, geom: int) -> _Shape:
    radius, disc = np.eye(3)[0], np.outer([1.0, 1, 0], [1, 0, 0])
    match topology.geom_kind[geom]:
        case "sphere":
            return _primitive(_POINT, _NOTHING, radius)
        case "ellipsoid":
            return _primitive(_POINT, np.eye(3), np.zeros(3))
        case "capsule":
            return _primitive(_AXIS, _NOTHING, radius, edges=_ALONG)
        case "cylinder":
            return _primitive(_AXIS, disc, np.zeros(3), _CAP_NORMALS, _CAPS, _ALONG)
        case "box":
            return _primitive(_BOX, _NOTHING, np.zeros(3), np.zeros((6, 3)), _BOX_FACES, _BOX_EDGES)
    hull = topology.geom_hull[geom]
    assert hull is not None
    still = np.zeros((len(hull.rows), 3, 3))
    normals = np.zeros((len(hull.faces), 3))
    return _Shape(still, hull.rows, _NOTHING, np.zeros(3), normals, hull.faces, hull.edges)


def _primitive(
    core: np.ndarray,
    spread: np.ndarray,
    radius: np.ndarray,
    normals: np.ndarray = _NOTHING[:0],
    faces: np.ndarray = _NO_FACES,
    edges: np.ndarray = _NO_EDGES,
) -> _Shape:
    return _Shape(core, np.full(len(core), -1), spread, radius, normals, faces, edges)
