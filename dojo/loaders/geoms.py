"""Geoms: shapes, poses and looks."""

import dataclasses

import mujoco
import numpy as np

from dojo.loaders.findings import Findings
from dojo.loaders.links import Links, Pose
from dojo.loaders.names import geom_name
from dojo.model.topology import GeomKind, HeightField, Mesh

_KINDS: dict[int, GeomKind] = {
    int(mujoco.mjtGeom.mjGEOM_PLANE): "plane",
    int(mujoco.mjtGeom.mjGEOM_SPHERE): "sphere",
    int(mujoco.mjtGeom.mjGEOM_CAPSULE): "capsule",
    int(mujoco.mjtGeom.mjGEOM_ELLIPSOID): "ellipsoid",
    int(mujoco.mjtGeom.mjGEOM_CYLINDER): "cylinder",
    int(mujoco.mjtGeom.mjGEOM_BOX): "box",
    int(mujoco.mjtGeom.mjGEOM_MESH): "mesh",
    int(mujoco.mjtGeom.mjGEOM_HFIELD): "hfield",
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
    hfield: tuple[HeightField | None, ...]
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
        mesh=tuple(_drawn(m, g) for g in keep),
        hfield=tuple(_hfield(m, g) for g in keep),
        parameters={
            "geom_pos": np.array([p.pos for p in poses]).reshape(-1, 3),
            "geom_quat": np.array([p.quat for p in poses]).reshape(-1, 4),
            "geom_size": m.geom_size[keep].reshape(-1, 3).copy(),
            "geom_friction": m.geom_friction[keep, 0].copy(),
            "geom_margin": m.geom_margin[keep].copy(),
            "geom_spin_friction": m.geom_friction[keep, 1:].reshape(-1, 2).copy(),
            "hfield_heights": _heights(m),
        },
    )


def _colour(m: mujoco.MjModel, g: int) -> np.ndarray:
    material = m.geom_matid[g]
    default = np.array([0.5, 0.5, 0.5, 1.0], dtype=np.float32)
    if material >= 0 and np.allclose(m.geom_rgba[g], default):
        return m.mat_rgba[material]
    return m.geom_rgba[g]


def _drawn(m: mujoco.MjModel, g: int) -> Mesh | None:
    """The triangles of a mesh or of a height field."""
    kind = _KINDS[int(m.geom_type[g])]
    return _mesh(m, g) if kind == "mesh" else _surface(m, g) if kind == "hfield" else None


def _mesh(m: mujoco.MjModel, g: int) -> Mesh:
    d = m.geom_dataid[g]
    v, f = m.mesh_vertadr[d], m.mesh_faceadr[d]
    return Mesh(
        vertices=m.mesh_vert[v : v + m.mesh_vertnum[d]].astype(float),
        faces=m.mesh_face[f : f + m.mesh_facenum[d]].astype(int),
    )


def _hfield(m: mujoco.MjModel, g: int) -> HeightField | None:
    if _KINDS[int(m.geom_type[g])] != "hfield":
        return None
    d = m.geom_dataid[g]
    half_x, half_y, *_ = (float(x) for x in m.hfield_size[d])
    return HeightField(
        rows=int(m.hfield_nrow[d]),
        columns=int(m.hfield_ncol[d]),
        extent=(half_x, half_y),
        start=int(m.hfield_adr[d]),
    )


def _heights(m: mujoco.MjModel) -> np.ndarray:
    """Heights [m] of the points of all height fields."""
    heights = m.hfield_data.astype(float)
    for start, rows, columns, size in zip(
        m.hfield_adr, m.hfield_nrow, m.hfield_ncol, m.hfield_size, strict=True
    ):
        heights[start : start + rows * columns] *= size[2]
    return heights


def _surface(m: mujoco.MjModel, g: int) -> Mesh:
    """What is seen of a height field."""
    field = _hfield(m, g)
    assert field is not None
    shape = field.rows, field.columns
    y, x = (np.linspace(-half, half, n) for half, n in zip(field.extent[::-1], shape, strict=True))
    z = _heights(m)[field.start : field.start + field.rows * field.columns]
    grid = np.stack([*np.meshgrid(x, y), z.reshape(shape)], axis=-1)
    point = np.arange(field.rows * field.columns).reshape(shape)
    low, right = point[:-1, :-1].ravel(), point[:-1, 1:].ravel()
    left, high = point[1:, :-1].ravel(), point[1:, 1:].ravel()
    faces = np.concatenate([np.stack([low, high, left], 1), np.stack([low, right, high], 1)])
    return Mesh(vertices=grid.reshape(-1, 3), faces=faces)
