"""Geoms: shapes, poses and looks."""

import dataclasses

import mujoco
import numpy as np

from dojo.loaders.findings import Findings
from dojo.loaders.links import Links, Pose
from dojo.loaders.names import geom_name
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
            "geom_margin": m.geom_margin[keep].copy(),
            "geom_spin_friction": m.geom_friction[keep, 1:].reshape(-1, 2).copy(),
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
