"""Meshes that are not convex, split into convex pieces by CoACD (Wei et al., ACM TOG 2022).

The pieces become geoms of their own, without mass, in group 3 (which viewers hide) and with
everything that tells how the original collides. The original stays for its looks and its inertia.
"""

import itertools
from collections.abc import Collection, Mapping

import mujoco
import numpy as np

from dojo.loaders.findings import Findings
from dojo.loaders.hulls import MOST_CORNERS
from dojo.loaders.names import geom_name
from dojo.loaders.source import compiled
from dojo.model.errors import ModelError, close_matches

# Names of geoms, "all" of those that are not convex, or the concavity left to each.
Decompose = str | Collection[str] | Mapping[str, float]

# Concavity that is left over, as a share of the mesh's size: CoACD's own default, and its bounds.
THRESHOLD, _LEAST, _LARGEST = 0.05, 0.01, 1.0
_GROUP = 3
_COPIED = (
    "contype", "conaffinity", "condim", "priority", "friction", "solmix", "solref", "solimp",
    "margin", "gap", "rgba", "material", "pos", "quat",
)  # fmt: skip
_ORIENTATION = ("axisangle", "euler", "xyaxes", "zaxis", "type")
_PAIR = ("condim", "friction", "solref", "solreffriction", "solimp", "margin", "gap")

Piece = tuple[np.ndarray, np.ndarray]  # vertices (n, 3) [m], faces (k, 3)


def decomposed(
    spec: mujoco.MjSpec, m: mujoco.MjModel, asked: Decompose, source: str, found: Findings
) -> mujoco.MjModel:
    """The compiled model with these geoms in pieces, where `m` has them whole.

    Raises:
        ModelError: no such mesh geom, a threshold out of range, coacd is not installed.
    """
    thresholds = _thresholds(m, asked, source)
    cut: dict[tuple[int, float], list[Piece]] = {}
    pieces_of: dict[str, list[str]] = {}
    for geom in [g for g in spec.geoms if g.id in thresholds]:
        name, key = geom_name(m, geom.id), (int(m.geom_dataid[geom.id]), thresholds[geom.id])
        if key not in cut:
            cut[key] = _pieces(_as_written(m, key[0]), key[1], f"{source}: geom {name}")
        if len(cut[key]) > 1:
            pieces_of[geom.name] = _replace(spec, geom, name, cut[key])
        found.note(f"mesh geom {name}: convex pieces by CoACD: {len(cut[key])}")
    for pair in list(spec.pairs):
        _replace_pair(spec, pair, pieces_of)
    return compiled(spec, source)


def _thresholds(m: mujoco.MjModel, asked: Decompose, source: str) -> dict[int, float]:
    """The mesh geoms to split, by MuJoCo's index, and the concavity left to each."""
    collide = (m.geom_contype | m.geom_conaffinity).astype(bool)
    collide[np.concatenate([m.pair_geom1, m.pair_geom2]).astype(int)] = True
    meshes = np.flatnonzero((m.geom_type == int(mujoco.mjtGeom.mjGEOM_MESH)) & collide)
    known = {geom_name(m, int(g)): int(g) for g in meshes}
    if isinstance(asked, str):
        asked = list(known) if asked == "all" else [asked]
    if not isinstance(asked, Mapping):
        asked = dict.fromkeys(asked, THRESHOLD)
    for name, threshold in asked.items():
        if name not in known:
            raise ModelError(
                f"{source}: load(decompose={name!r}): no such mesh geom that collides."
                f"{close_matches(name, known)} Known: {', '.join(known) or 'none'}."
            )
        if not _LEAST <= threshold <= _LARGEST:
            raise ModelError(
                f"{source}: load(decompose={{{name!r}: {threshold}}}): must be within {_LEAST:g} "
                f"(fine) and {_LARGEST:g} (coarse)."
            )
    return {known[name]: float(threshold) for name, threshold in asked.items()}


def _as_written(m: mujoco.MjModel, mesh: int) -> Piece:
    """A mesh in the frame of its file, which the compiler has moved to that of its inertia."""
    v, f = m.mesh_vertadr[mesh], m.mesh_faceadr[mesh]
    vertices = m.mesh_vert[v : v + m.mesh_vertnum[mesh]].astype(float)
    rot = np.zeros(9)
    mujoco.mju_quat2Mat(rot, m.mesh_quat[mesh])
    faces = m.mesh_face[f : f + m.mesh_facenum[mesh]].astype(int)
    return vertices @ rot.reshape(3, 3).T + m.mesh_pos[mesh], faces


def _pieces(mesh: Piece, threshold: float, where: str) -> list[Piece]:
    try:
        import coacd
    except ImportError:
        raise ModelError(
            f"{where}: load(decompose=...) needs coacd: pip install 'dojo-sim[decomposition]'."
        ) from None
    coacd.set_log_level("error")
    # Hulls of more corners would be thinned out.
    return coacd.run_coacd(
        coacd.Mesh(*mesh), threshold=threshold, max_ch_vertex=MOST_CORNERS, decimate=True
    )


def _replace(
    spec: mujoco.MjSpec, geom: mujoco.MjsGeom, name: str, pieces: list[Piece]
) -> list[str]:
    """Add the pieces of a geom, by the names that are returned; it collides no more."""
    names = [f"{name}/{k}" for k in range(len(pieces))]
    for piece_name, (vertices, faces) in zip(names, pieces, strict=True):
        spec.add_mesh(name=piece_name, uservert=vertices.ravel(), userface=faces.ravel())
        copied = {field: getattr(geom, field) for field in _COPIED}
        piece = geom.parent.add_geom(
            name=piece_name,
            type=mujoco.mjtGeom.mjGEOM_MESH,
            meshname=piece_name,
            mass=0.0,
            group=_GROUP,
            **copied,
        )
        for field in _ORIENTATION:
            setattr(piece.alt, field, getattr(geom.alt, field))
        if geom.frame is not None:
            piece.set_frame(geom.frame)
    geom.contype = geom.conaffinity = 0
    return names


def _replace_pair(
    spec: mujoco.MjSpec, pair: mujoco.MjsPair, pieces_of: Mapping[str, list[str]]
) -> None:
    """An explicit pair, as pairs of the pieces."""
    first, second = (pieces_of.get(x, [x]) for x in (pair.geomname1, pair.geomname2))
    settings = {field: getattr(pair, field) for field in _PAIR}
    own, *others = itertools.product(first, second)
    pair.geomname1, pair.geomname2 = own
    for a, b in others:
        spec.add_pair(geomname1=a, geomname2=b, **settings)
