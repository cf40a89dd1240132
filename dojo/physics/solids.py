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

from dojo.math.vectors import SMALL, at_least, cross, dot, matvec, matvec_t, safe_norm, total
from dojo.model.layout import entries
from dojo.model.model import Model
from dojo.model.topology import Topology
from dojo.physics.kinematics import Frames, geom_frames
from dojo.physics.pairs import Table

# Corners of the polygon that stands for the cap of a cylinder; it stands on every other one.
ROUND = 12


class Solid(NamedTuple):
    """Convex geoms in the world, each with the same number of corners, faces and edges.

    Surplus ones repeat others, or are marked by `has_face`, `has_edge`.
    """

    pos: Array  # (3, n)
    rot: Array  # (3, 3, n)
    core: Array  # (3, V, n) in the geom's frame, as all below
    spread: Array  # (3, n)
    radius: Array  # (n,)
    corners: Array  # (3, C, n) of faces
    normals: Array  # (3, F, n) of faces
    faces: Array  # (K, F, n) corners round each face, by place
    edges: Array  # (2, E, n) ends, by place in `core`
    has_face: Array  # (F, n) bool
    has_edge: Array  # (E, n) bool

    def outwards(self, x: Array) -> Array:
        """Vectors (3, k, n) of the geoms' frames in the world."""
        return matvec(self.rot[:, :, None], x)

    def inwards(self, x: Array) -> Array:
        """Vectors (3, k, n) of the world in the geoms' frames."""
        return matvec_t(self.rot[:, :, None], x)

    def reach(self, direction: Array) -> Array:
        """Support function along unit directions (3, k, n) of the world: (k, n)."""
        m = self.inwards(direction)
        core = total(m[:, :, None] * self.core[:, None]).max(axis=1)
        return core + safe_norm(self.spread[:, None] * m) + self.radius

    @property
    def pose(self) -> Frames:
        """Where they are."""
        return Frames.of(self.rot, self.pos)

    @property
    def bound(self) -> Array:
        """Radii (n,) of spheres about `pos` round them."""
        core = jnp.sqrt(dot(self.core, self.core).max(axis=0))
        return core + self.spread.max(axis=0) + self.radius

    @property
    def ends(self) -> tuple[Array, Array]:
        """Ends of the edges, (3, E, n) each."""
        first, second = (
            jnp.take_along_axis(self.core, jnp.asarray(k)[None], axis=1) for k in self.edges
        )
        return first, second


class _Shape(NamedTuple):
    """A geom: its parts as linear maps of its size, plus rows of `Model.mesh_vertices`."""

    core: np.ndarray  # (V, 3, 3)
    core_rows: np.ndarray  # (V,) or -1
    spread: np.ndarray  # (3, 3)
    radius: np.ndarray  # (3,)
    corners: np.ndarray  # (C, 3, 3)
    corner_rows: np.ndarray  # (C,) or -1
    faces: np.ndarray  # (F, K)
    edges: np.ndarray  # (E, 2)


def solids(model: Model, geoms: Table, chosen: Table, frames: Frames) -> Solid:
    """The geoms `chosen` (n,) where their links are; all of them are among `geoms`."""
    among = np.unique(geoms)
    shape = _shapes(model.topology, tuple(among.tolist()))
    size = model.geom_size[among].T
    core = _points(model, shape.core, shape.core_rows, size)
    corners = _points(model, shape.corners, shape.corner_rows, size)
    parts = (
        core,
        total(jnp.asarray(shape.spread, model.dtype) * size[None], axis=1),
        total(jnp.asarray(shape.radius, model.dtype) * size),
        corners,
        _normals(corners, shape.faces),
    )
    place = np.zeros(len(model.topology.geom_kind), dtype=int)
    place[among] = np.arange(len(among))
    index = entries(place, chosen)
    tables = (shape.faces, shape.edges, shape.has_face, shape.has_edge)
    pose = geom_frames(model, frames, chosen)
    return Solid(
        pose.pos,
        pose.rot,
        *(x[..., index] for x in parts),
        *(jnp.asarray(table)[..., index] for table in tables),
    )


def _points(model: Model, maps: np.ndarray, rows: np.ndarray, size: Array) -> Array:
    """Points (3, k, n): maps (3, 3, k, n) of the sizes (3, n), and corners of meshes."""
    points = total(jnp.asarray(maps, model.dtype) * size[None, :, None], axis=1)
    if (rows < 0).all():
        return points
    return points + jnp.where(rows >= 0, model.mesh_vertices.T[:, np.maximum(rows, 0)], 0.0)


def _normals(corners: Array, faces: np.ndarray) -> Array:
    """Outward unit normals (3, F, n) of polygons."""
    count, most, n = faces.shape
    ring = jnp.take_along_axis(corners, faces.reshape(1, -1, n), axis=1)
    ring = ring.reshape(3, count, most, n)
    off = ring - ring[:, :1]
    area = jnp.sum(cross(off, jnp.roll(off, -1, axis=1)), axis=1)
    return area / at_least(safe_norm(area), SMALL)


class _Shapes(NamedTuple):
    """Shapes side by side: the fields of `_Shape`, geoms last."""

    core: np.ndarray  # (3, 3, V, n)
    core_rows: np.ndarray  # (V, n)
    spread: np.ndarray  # (3, 3, n)
    radius: np.ndarray  # (3, n)
    corners: np.ndarray  # (3, 3, C, n)
    corner_rows: np.ndarray  # (C, n)
    faces: np.ndarray  # (K, F, n)
    edges: np.ndarray  # (2, E, n)
    has_face: np.ndarray  # (F, n)
    has_edge: np.ndarray  # (E, n)


@functools.lru_cache(maxsize=64)
def _shapes(topology: Topology, geoms: tuple[int, ...]) -> _Shapes:
    shapes = [_shape(topology, g) for g in geoms]

    def joined(field: str, fill: int | None = None) -> np.ndarray:
        """The tables of all shapes; missing rows repeat the first, or are `fill`."""
        tables = [getattr(s, field) for s in shapes]
        most = max(1, *map(len, tables))
        rows = [_filled(t, most, fill) for t in tables]
        return np.moveaxis(np.stack(rows), 0, -1)

    round_most = max(s.faces.shape[1] for s in shapes)
    shapes = [s._replace(faces=_wider(s.faces, round_most)) for s in shapes]
    there = [
        np.stack([np.arange(max(1, *map(len, tables))) < len(t) for t in tables], axis=-1)
        for tables in ([s.faces for s in shapes], [s.edges for s in shapes])
    ]
    return _Shapes(
        core=np.moveaxis(joined("core"), 0, 2),
        core_rows=joined("core_rows"),
        spread=np.moveaxis(np.stack([s.spread for s in shapes]), 0, -1),
        radius=np.stack([s.radius for s in shapes], axis=-1),
        corners=np.moveaxis(joined("corners"), 0, 2),
        corner_rows=joined("corner_rows"),
        faces=np.moveaxis(joined("faces", 0), 1, 0),
        edges=np.moveaxis(joined("edges", 0), 1, 0),
        has_face=there[0],
        has_edge=there[1],
    )


def _filled(table: np.ndarray, most: int, fill: int | None) -> np.ndarray:
    if len(table) == most:
        return table
    row = table[:1] if fill is None else np.full((1, *table.shape[1:]), fill, table.dtype)
    return np.concatenate([table, row.repeat(most - len(table), axis=0)])


def _wider(faces: np.ndarray, most: int) -> np.ndarray:
    return np.concatenate([faces, faces[:, -1:].repeat(most - faces.shape[1], axis=1)], axis=1)


_SIGNS = (-1.0, 1.0)
# The faces of a box, by its corners in the order of `_BOX`, counter-clockwise from outside.
_BOX = np.array([np.diag([x, y, z]) for x in _SIGNS for y in _SIGNS for z in _SIGNS])
_BOX_FACES = np.array(
    [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
)
_BOX_EDGES = np.array([[a, a | bit] for bit in (1, 2, 4) for a in range(8) if not a & bit])
_AXIS = np.array([np.outer([0, 0, z], [0, 1, 0]) for z in _SIGNS])
_ALONG = np.array([[0, 1]])
_NO_FACES, _NO_EDGES = np.zeros((0, 1), int), np.zeros((0, 2), int)


def _shape(topology: Topology, geom: int) -> _Shape:
    kind, zero, none = topology.geom_kind[geom], np.zeros((3, 3)), np.zeros(3)
    match kind:
        case "sphere":
            return _primitive(zero[None], zero, radius=np.eye(3)[0])
        case "ellipsoid":
            return _primitive(zero[None], np.eye(3))
        case "capsule":
            return _primitive(_AXIS, zero, radius=np.eye(3)[0], edges=_ALONG)
        case "cylinder":
            disc = np.outer([1.0, 1, 0], [1, 0, 0])
            return _primitive(_AXIS, disc, corners=_rims(), faces=_caps(), edges=_ALONG)
        case "box":
            return _primitive(_BOX, zero, corners=_BOX, faces=_BOX_FACES, edges=_BOX_EDGES)
    hull = topology.geom_hull[geom]
    assert hull is not None
    still = np.zeros((len(hull.rows), 3, 3))
    return _Shape(still, hull.rows, zero, none, still, hull.rows, hull.faces, hull.edges)


def _primitive(
    core: np.ndarray,
    spread: np.ndarray,
    radius: np.ndarray | None = None,
    corners: np.ndarray | None = None,
    faces: np.ndarray = _NO_FACES,
    edges: np.ndarray = _NO_EDGES,
) -> _Shape:
    radius = np.zeros(3) if radius is None else radius
    corners = core[:1] if corners is None else corners
    rows = [np.full(len(x), -1) for x in (core, corners)]
    return _Shape(core, rows[0], spread, radius, corners, rows[1], faces, edges)


def _rims() -> np.ndarray:
    """Corners on both rims of a cylinder, the lower one first."""
    angle = 2 * np.pi * np.arange(ROUND) / ROUND
    rows = []
    for z in _SIGNS:
        for a in angle:
            corner = np.outer([np.cos(a), np.sin(a), 0], [1, 0, 0])
            rows.append(corner + np.outer([0, 0, z], [0, 1, 0]))
    return np.array(rows)


def _caps() -> np.ndarray:
    return np.array([np.arange(ROUND)[::-1], ROUND + np.arange(ROUND)])
