"""Equality constraints and tendons."""

from typing import Any

import numpy as np
from numpy.polynomial import Polynomial

from dojo.export.document import Document, Element, add, unique, unused
from dojo.model.topology import TendonPaths


def write_tendons(document: Document, names: list[str], geoms: list[str]) -> None:
    """Sums of joint positions, and paths through sites."""
    model, t = document.model, document.model.topology
    points = _points(document)
    section = document.section("tendon")
    for k, name in enumerate(names):
        pieces = np.flatnonzero(t.tendon_paths.shares[k])
        limit = np.flatnonzero(t.limited_tendons == k)
        element = add(
            section,
            "spatial" if len(pieces) else "fixed",
            name=name,
            limited=True if len(limit) else None,
            range=model.tendon_range[limit[0]] if len(limit) else None,
            stiffness=_some(model.tendon_stiffness[k]),
            damping=_some(model.tendon_damping[k]),
            springlength=model.tendon_springlength[k],
        )
        if not len(pieces):
            row = np.asarray(model.tendon_coefficients[k])
            _write_sum(document, element, row, t.tendon_dofs[k])
        _write_path(element, t.tendon_paths, k, pieces, points, geoms)


def write_equalities(document: Document, tendons: list[str]) -> None:
    """Connects and welds of sites, couplings of joints or of sums of joints."""
    model, t = document.model, document.model.topology
    e, section = t.equalities, document.section("equality")
    names = unique(e.names)
    for k, name in enumerate(names[: len(e.first)]):
        ends = [
            document.site(
                int(link),
                f"{name}/{side}",
                pos=model.equality_pos[k, i],
                quat=model.equality_quat[k, i],
            )
            for i, (side, link) in enumerate((("first", e.first[k]), ("second", e.second[k])))
        ]
        kind = "weld" if e.welded[k] else "connect"
        add(section, kind, name=name, site1=ends[0], site2=ends[1])
    for k, name in enumerate(names[len(e.first) :]):
        _write_coupling(document, k, name, tendons)


def _write_coupling(document: Document, k: int, name: str, tendons: list[str]) -> None:
    model = document.model
    rows = np.asarray(model.coupling_coefficients[k], dtype=float)
    rest = rows @ _rest(document)
    # The format measures from the rest configuration, a model from its own offset.
    offset = np.asarray(model.coupling_offset[k], dtype=float) - rest
    polynomial = Polynomial(np.asarray(model.coupling_polynomial[k], dtype=float))
    coefficients = np.zeros(5)
    moved = (polynomial(Polynomial([-offset[1], 1.0])) + offset[0]).coef
    coefficients[: len(moved)] = moved
    joints = [_single(document, row) for row in rows]
    if all(joint is not None for joint in joints):
        ends: dict[str, Any] = {"joint1": joints[0], "joint2": joints[1] or None}
        add(document.section("equality"), "joint", name=name, polycoef=coefficients, **ends)
        return
    sums = [_tendon_of(document, row, f"{name}/{side}", tendons) for side, row in enumerate(rows)]
    add(
        document.section("equality"),
        "tendon",
        name=name,
        tendon1=sums[0],
        tendon2=sums[1],
        polycoef=coefficients,
    )


def _rest(document: Document) -> np.ndarray:
    """Rest positions of hinges and slides by degree of freedom, zero for others."""
    t, rest = document.model.topology, np.zeros(document.model.nv)
    for i in t.joints_of("hinge", "slide"):
        rest[t.v_start[i]] = document.model.joint_ref[i]
    return rest


def _single(document: Document, row: np.ndarray) -> str | None:
    """The joint whose position a sum is, empty if the sum is, None if it is another."""
    used = np.flatnonzero(row)
    if not len(used):
        return ""
    single = len(used) == 1 and row[used[0]] == 1.0
    t = document.model.topology
    return document.joints[t.dof_link[used[0]]] if single else None


def _tendon_of(document: Document, row: np.ndarray, name: str, tendons: list[str]) -> str | None:
    """The tendon that is a sum, a new one if there is none; None for an empty sum."""
    if not np.any(row):
        return None
    model, t = document.model, document.model.topology
    same = np.all(np.asarray(model.tendon_coefficients) == row, axis=1)
    same &= ~np.any(t.tendon_paths.shares, axis=1)
    if same.any():
        return tendons[int(np.argmax(same))]
    section = document.section("tendon")
    own = unused(name, [str(tendon.get("name")) for tendon in section])
    _write_sum(document, add(section, "fixed", name=own), row, row != 0)
    return own


def _write_sum(document: Document, element: Element, row: np.ndarray, dofs: np.ndarray) -> None:
    t = document.model.topology
    for dof in np.flatnonzero(dofs):
        add(element, "joint", joint=document.joints[t.dof_link[dof]], coef=row[dof])


def _points(document: Document) -> list[str]:
    """Sites at the points of paths."""
    model, paths = document.model, document.model.topology.tendon_paths
    return [
        document.site(int(link), f"tendon/{k}", pos=model.tendon_point_pos[k])
        for k, link in enumerate(paths.point_link)
    ]


def _write_path(
    element: Element,
    paths: TendonPaths,
    tendon: int,
    pieces: np.ndarray,
    points: list[str],
    geoms: list[str],
) -> None:
    """The pieces, each a branch of its own: a length is the sum of their shares."""
    for piece in pieces:
        add(element, "pulley", divisor=1.0 / paths.shares[tendon, piece])
        add(element, "site", site=points[paths.first[piece]])
        wrap = int(piece) - paths.plain
        if wrap >= 0:
            side = int(paths.side[wrap])
            add(
                element,
                "geom",
                geom=geoms[paths.geom[wrap]],
                sidesite=points[side] if side >= 0 else None,
            )
        add(element, "site", site=points[paths.second[piece]])


def _some(value: Any) -> Any:
    """Nothing instead of zero."""
    return value if np.any(value) else None
