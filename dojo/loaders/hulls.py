"""Convex hulls of meshes: the corners, faces and edges that collide."""

import dataclasses

import numpy as np
import trimesh
from scipy.spatial import ConvexHull

from dojo.loaders.findings import Findings
from dojo.loaders.geoms import Geoms
from dojo.model.errors import ModelError
from dojo.model.topology import Hull, Mesh

MOST_CORNERS = 32
# Triangles whose normals differ by less than this [rad] are of one face.
_COPLANAR = 1e-4
# A mesh counts as convex if its hull has no more volume than this share.
_HOLLOW = 0.01


@dataclasses.dataclass
class Hulls:
    """The hulls of the mesh geoms that collide, each read when it is first asked for."""

    geoms: Geoms
    found: Findings
    corners: list[np.ndarray] = dataclasses.field(default_factory=list)  # (k, 3) each
    read: dict[int, Hull] = dataclasses.field(default_factory=dict)

    def of(self, geom: int) -> Hull:
        """The hull of a mesh geom."""
        if geom not in self.read:
            mesh = self.geoms.mesh[geom]
            assert mesh is not None
            name = self.geoms.names[geom]
            corners = hull_corners(mesh, name, self.found)
            _note_hollow(mesh, name, self.found)
            start = sum(map(len, self.corners))
            self.corners.append(corners)
            self.read[geom] = _hull(corners, start)
        return self.read[geom]

    @property
    def vertices(self) -> np.ndarray:
        """The corners of all hulls, (k, 3)."""
        return np.concatenate([np.zeros((0, 3)), *self.corners])

    def table(self) -> tuple[Hull | None, ...]:
        """The hull of each geom, None where it has none that collides."""
        return tuple(self.read.get(g) for g in range(len(self.geoms.kinds)))


def hull_corners(mesh: Mesh, name: str, found: Findings) -> np.ndarray:
    """Corners (k, 3) of the mesh's convex hull, at most MOST_CORNERS of them.

    Raises:
        ModelError: the mesh spans no volume.
    """
    try:
        hull = np.asarray(trimesh.convex.convex_hull(mesh.vertices).vertices)
    except Exception as error:
        raise ModelError(
            f"geom {name}: its mesh has no convex hull ({type(error).__name__}: the vertices span "
            "no volume). Give the geom contype='0' conaffinity='0', or a mesh with volume."
        ) from None
    if len(hull) <= MOST_CORNERS:
        return hull
    corners = _spread(hull, MOST_CORNERS)
    lost = _lost_depth(hull, corners)
    found.note(
        f"mesh geom {name}: hull of {len(hull)} corners reduced to {MOST_CORNERS}, "
        f"up to {1e3 * lost:.2g} mm inside"
    )
    return corners


def _note_hollow(mesh: Mesh, name: str, found: Findings) -> None:
    """Tell of a mesh that is not its hull."""
    body = trimesh.Trimesh(mesh.vertices, mesh.faces)
    if not body.is_watertight:
        return found.note(f"mesh geom {name}: not closed, collides as its convex hull")
    more = body.convex_hull.volume / abs(body.volume) - 1
    if more > _HOLLOW:
        found.note(
            f"mesh geom {name}: not convex, collides as its convex hull of {100 * more:.2g} % more "
            f"volume. In convex pieces: dojo.load(..., decompose=[{name!r}])"
        )


def _spread(points: np.ndarray, count: int) -> np.ndarray:
    """A subset that keeps the extremes along the axes and covers the rest evenly."""
    chosen = list(dict.fromkeys([*points.argmin(0).tolist(), *points.argmax(0).tolist()]))
    distance = np.min([np.linalg.norm(points - points[i], axis=1) for i in chosen], axis=0)
    while len(chosen) < count:
        far = int(distance.argmax())
        chosen.append(far)
        distance = np.minimum(distance, np.linalg.norm(points - points[far], axis=1))
    return points[chosen]


def _lost_depth(hull: np.ndarray, corners: np.ndarray) -> float:
    """Largest shrinkage of the support function over evenly spread directions [m]."""
    k = np.arange(500) + 0.5
    polar, azimuth = np.arccos(1 - 2 * k / 500), np.pi * (1 + 5**0.5) * k
    directions = np.stack(
        [np.cos(azimuth) * np.sin(polar), np.sin(azimuth) * np.sin(polar), np.cos(polar)]
    )
    return float(((hull @ directions).max(0) - (corners @ directions).max(0)).max())


def _hull(corners: np.ndarray, start: int) -> Hull:
    """Faces and edges of corners (k, 3) in convex position, in rows from `start` on."""
    found = ConvexHull(corners)
    normals = found.equations[:, :3]
    # Triangles of one face by the first of them.
    face = np.argmax(normals @ normals.T > np.cos(_COPLANAR), axis=1)
    edges = {
        tuple(sorted(np.delete(triangle, k).tolist()))
        for i, triangle in enumerate(found.simplices)
        for k, beside in enumerate(found.neighbors[i])
        if face[i] != face[beside]
    }
    rings = [
        _round(corners, np.unique(found.simplices[face == k]), normals[k]) for k in np.unique(face)
    ]
    most = max(map(len, rings))
    return Hull(
        rows=start + np.arange(len(corners)),
        faces=np.array([np.append(ring, [ring[-1]] * (most - len(ring))) for ring in rings], int),
        edges=np.array(sorted(edges), dtype=int),
    )


def _round(corners: np.ndarray, members: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Corners of a face, by index, in the order in which they follow each other round it."""
    off = corners[members] - corners[members].mean(axis=0)
    along = off[0] / np.linalg.norm(off[0])
    return members[np.argsort(np.arctan2(off @ np.cross(normal, along), off @ along))]
