"""Geoms: shapes, poses, looks, and the corners of convex meshes."""

import dataclasses

import mujoco
import numpy as np
import trimesh

from dojo.loaders.findings import Findings
from dojo.loaders.links import Links, Pose
from dojo.loaders.names import geom_name
from dojo.model.errors import ModelError
from dojo.model.topology import GeomKind, Mesh

_KINDS: dict[int, GeomKind] = {
    int(mujoco.mjtGeom.mjGEOM_PLANE): "plane",
    int(mujoco.mjtGeom.mjGEOM_SPHERE): "sphere",
    int(mujoco.mjtGeom.mjGEOM_CAPSULE): "capsule",
    int(mujoco.mjtGeom.mjGEOM_ELLIPSOID): "ellipsoid",
    int(mujoco.mjtGeom.mjGEOM_CYLINDER): "cylinder",
    int(mujoco.mjtGeom.mjGEOM_BOX): "box",
    int(mujoco.mjtGeom.mjGEOM_MESH): "mesh",
}
MOST_CORNERS = 32


@dataclasses.dataclass
class Geoms:
    """The geoms that were read; `index` maps them from MuJoCo's."""

    index: dict[int, int]
    kinds: tuple[GeomKind, ...]
    names: tuple[str, ...]
    link: np.ndarray
    rgba: np.ndarray
    group: tuple[int, ...]
    mesh: tuple[Mesh | None, ...]
    parameters: dict[str, np.ndarray]


def read_geoms(m: mujoco.MjModel, links: Links, found: Findings) -> Geoms:
    """All geoms of the supported kinds; others are refused when they collide, else noted."""
    keep = []
    for g in range(m.ngeom):
        if int(m.geom_type[g]) in _KINDS:
            keep.append(g)
            continue
        kind = mujoco.mjtGeom(m.geom_type[g]).name.removeprefix("mjGEOM_").lower()
        if m.geom_contype[g] or m.geom_conaffinity[g] or g in m.pair_geom1 or g in m.pair_geom2:
            found.refuse("collider", f"{kind} {geom_name(m, g)}")
        else:
            found.note(f"{kind} {geom_name(m, g)}: neither simulated nor shown")
    poses = [links.body_pose[m.geom_bodyid[g]] @ Pose(m.geom_pos[g], m.geom_quat[g]) for g in keep]
    kinds = tuple(_KINDS[int(m.geom_type[g])] for g in keep)
    return Geoms(
        index={g: i for i, g in enumerate(keep)},
        kinds=kinds,
        names=tuple(geom_name(m, g) for g in keep),
        link=np.array([links.body_link[m.geom_bodyid[g]] for g in keep], dtype=int),
        rgba=np.array([_colour(m, g) for g in keep], dtype=float).reshape(-1, 4),
        group=tuple(int(m.geom_group[g]) for g in keep),
        mesh=tuple(_mesh(m, g) if k == "mesh" else None for g, k in zip(keep, kinds, strict=True)),
        parameters={
            "geom_pos": np.array([p.pos for p in poses]).reshape(-1, 3),
            "geom_quat": np.array([p.quat for p in poses]).reshape(-1, 4),
            "geom_size": m.geom_size[keep].reshape(-1, 3).copy(),
            "geom_friction": m.geom_friction[keep, 0].copy(),
        },
    )


def _colour(m: mujoco.MjModel, g: int) -> np.ndarray:
    material = m.geom_matid[g]
    default = np.array([0.5, 0.5, 0.5, 1.0], dtype=np.float32)
    if material >= 0 and np.allclose(m.geom_rgba[g], default):
        return m.mat_rgba[material]
    return m.geom_rgba[g]


def _mesh(m: mujoco.MjModel, g: int) -> Mesh:
    d = m.geom_dataid[g]
    v, f = m.mesh_vertadr[d], m.mesh_faceadr[d]
    return Mesh(
        vertices=m.mesh_vert[v : v + m.mesh_vertnum[d]].astype(float),
        faces=m.mesh_face[f : f + m.mesh_facenum[d]].astype(int),
    )


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
