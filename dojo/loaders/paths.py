"""Paths of spatial tendons: through sites, over pulleys, round spheres and cylinders."""

import dataclasses

import mujoco
import numpy as np

from dojo.loaders.findings import Findings
from dojo.loaders.geoms import Geoms
from dojo.loaders.links import Links, Pose
from dojo.loaders.names import geom_name, tendon_name
from dojo.model.topology import TendonPaths

_WRAP = mujoco.mjtWrap
_PULLEY, _SITE = int(_WRAP.mjWRAP_PULLEY), int(_WRAP.mjWRAP_SITE)
_ROUND = (int(_WRAP.mjWRAP_SPHERE), int(_WRAP.mjWRAP_CYLINDER))


@dataclasses.dataclass(frozen=True)
class _Piece:
    """Of a tendon, between two sites; geom and side site are -1 where there is none."""

    tendon: int
    first: int
    second: int
    share: float
    geom: int = -1
    side: int = -1


def read_paths(
    m: mujoco.MjModel, links: Links, geoms: Geoms, kept: np.ndarray, found: Findings
) -> tuple[TendonPaths, np.ndarray]:
    """The paths of the tendons kept, and where their points lie in their links, (p, 3)."""
    pieces = [piece for k, t in enumerate(kept) for piece in _pieces(m, k, int(t))]
    d = mujoco.MjData(m)
    mujoco.mj_kinematics(m, d)
    for piece in pieces:
        if piece.side >= 0 and _inside(m, d, piece):
            name = tendon_name(m, int(kept[piece.tendon]))
            found.refuse("tendon", f"{name} (inside {geom_name(m, piece.geom)})")
    pieces.sort(key=lambda piece: piece.geom >= 0)
    round_geoms = [piece for piece in pieces if piece.geom >= 0]
    sites = sorted({s for p in pieces for s in (p.first, p.second, p.side) if s >= 0})
    at = {site: i for i, site in enumerate(sites)} | {-1: -1}
    shares = np.zeros((len(kept), len(pieces)))
    for k, piece in enumerate(pieces):
        shares[piece.tendon, k] = piece.share
    bodies = m.site_bodyid[sites]
    poses = [
        links.body_pose[b] @ Pose(m.site_pos[s], m.site_quat[s])
        for b, s in zip(bodies, sites, strict=True)
    ]
    paths = TendonPaths(
        point_link=links.body_link[bodies],
        first=np.array([at[p.first] for p in pieces], dtype=int),
        second=np.array([at[p.second] for p in pieces], dtype=int),
        shares=shares,
        geom=np.array([geoms.index[p.geom] for p in round_geoms], dtype=int),
        cylinder=np.array(
            [m.geom_type[p.geom] == int(mujoco.mjtGeom.mjGEOM_CYLINDER) for p in round_geoms],
            dtype=bool,
        ),
        side=np.array([at[p.side] for p in round_geoms], dtype=int),
    )
    return paths, np.array([pose.pos for pose in poses]).reshape(-1, 3)


def entries_of(m: mujoco.MjModel, tendon: int) -> range:
    """MuJoCo's entries of what a tendon is made of."""
    start = int(m.tendon_adr[tendon])
    return range(start, start + int(m.tendon_num[tendon]))


def dofs_of(m: mujoco.MjModel, tendon: int) -> np.ndarray:
    """The degrees of freedom that may change the length of a path, (nv,) bool."""
    moved = []
    for w in entries_of(m, tendon):
        kind, end = int(m.wrap_type[w]), int(m.wrap_objid[w])
        if kind == _SITE:
            moved.append(_moving(m, int(m.site_bodyid[end])))
        elif kind in _ROUND:
            moved.append(_moving(m, int(m.geom_bodyid[end])))
    if not moved:
        return np.zeros(m.nv, dtype=bool)
    return np.any(moved, axis=0) & ~np.all(moved, axis=0)


def _moving(m: mujoco.MjModel, body: int) -> np.ndarray:
    """The degrees of freedom that move a body, (nv,) bool."""
    dofs = np.zeros(m.nv, dtype=bool)
    while body:
        start = int(m.body_dofadr[body])
        if start >= 0:
            dofs[start : start + int(m.body_dofnum[body])] = True
        body = int(m.body_parentid[body])
    return dofs


def _pieces(m: mujoco.MjModel, k: int, tendon: int) -> list[_Piece]:
    """The pieces of MuJoCo's tendon, here the k-th."""
    pieces: list[_Piece] = []
    last, share, geom, side = -1, 1.0, -1, -1
    for w in entries_of(m, tendon):
        kind, end = int(m.wrap_type[w]), int(m.wrap_objid[w])
        if kind == _PULLEY:
            last, share = -1, 1.0 / float(m.wrap_prm[w])
        elif kind in _ROUND:
            geom, side = end, int(m.wrap_prm[w])
        elif kind == _SITE:
            if last >= 0:
                pieces.append(_Piece(k, last, end, share, geom, side))
            last, geom, side = end, -1, -1
    return pieces


def _inside(m: mujoco.MjModel, d: mujoco.MjData, piece: _Piece) -> bool:
    """Whether the side site of a wrapped geom lies in it: MuJoCo then wraps from within."""
    local = d.geom_xmat[piece.geom].reshape(3, 3).T @ (
        d.site_xpos[piece.side] - d.geom_xpos[piece.geom]
    )
    across = local[:2] if m.geom_type[piece.geom] == int(mujoco.mjtGeom.mjGEOM_CYLINDER) else local
    return bool(np.linalg.norm(across) < m.geom_size[piece.geom, 0])
