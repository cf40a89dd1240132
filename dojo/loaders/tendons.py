"""Tendons: sums of joint positions and paths, with limits, springs and dampers."""

import dataclasses

import mujoco
import numpy as np

from dojo.loaders.findings import Findings, listing
from dojo.loaders.geoms import Geoms
from dojo.loaders.links import Links
from dojo.loaders.names import tendon_name
from dojo.loaders.paths import dofs_of, entries_of, read_paths
from dojo.loaders.ranges import within_margins
from dojo.loaders.unsupported import disabled
from dojo.model.topology import TendonPaths

_DISABLE = mujoco.mjtDisableBit
_ON_JOINT = int(mujoco.mjtWrap.mjWRAP_JOINT)
# What a tendon may do that is not simulated; some are absent from older MuJoCo releases.
_REFUSED = {
    "tendon_frictionloss": "dry friction",
    "tendon_armature": "armature",
    "tendon_stiffnesspoly": "polynomial stiffness",
    "tendon_dampingpoly": "polynomial damping",
    "tendon_springyield": "plastic spring",
    "tendon_actfrclimited": "limited actuator force",
}


@dataclasses.dataclass(frozen=True)
class Tendons:
    """The tendons that are simulated."""

    index: np.ndarray  # (ntendon,) of MuJoCo's tendons here, -1 for those left out
    names: tuple[str, ...]
    limited: np.ndarray  # (k,)
    paths: TendonPaths
    dofs: np.ndarray  # (nt, nv) bool: those that change its length
    parameters: dict[str, np.ndarray]


def read_tendons(
    m: mujoco.MjModel, links: Links, geoms: Geoms, source: str, found: Findings
) -> Tendons:
    """The tendons that are sums of joint positions, and the others that do something.

    Raises:
        ModelError: a margin leaves nothing of a range.
    """
    kept = _kept(m, found)
    index = np.full(m.ntendon, -1)
    index[kept] = np.arange(len(kept))
    spring, damper = (not disabled(m, b) for b in (_DISABLE.mjDSBL_SPRING, _DISABLE.mjDSBL_DAMPER))
    limited, ranges = _limits(m, kept, source)
    sums = np.array([coefficients_of(m, int(t)) for t in kept]).reshape(-1, m.nv)
    dofs = [dofs_of(m, int(t)) | (row != 0) for t, row in zip(kept, sums, strict=True)]
    paths, points = read_paths(m, links, geoms, kept, found)
    return Tendons(
        index=index,
        names=tuple(tendon_name(m, int(t)) for t in kept),
        limited=limited,
        paths=paths,
        dofs=np.array(dofs, dtype=bool).reshape(-1, m.nv),
        parameters={
            "tendon_coefficients": sums,
            "tendon_point_pos": points,
            "tendon_range": ranges,
            "tendon_stiffness": m.tendon_stiffness[kept] * spring,
            "tendon_springlength": m.tendon_lengthspring[kept].reshape(-1, 2).copy(),
            "tendon_damping": m.tendon_damping[kept] * damper,
        },
    )


def on_joints(m: mujoco.MjModel, tendon: int) -> bool:
    """Whether a tendon is a sum of joint positions."""
    return all(int(m.wrap_type[w]) == _ON_JOINT for w in entries_of(m, tendon))


def coefficients_of(m: mujoco.MjModel, tendon: int) -> np.ndarray:
    """What each joint's position counts in a tendon's length, by degree of freedom: (nv,)."""
    row = np.zeros(m.nv)
    for w in entries_of(m, tendon) if on_joints(m, tendon) else ():
        row[m.jnt_dofadr[m.wrap_objid[w]]] += m.wrap_prm[w]
    return row


def _kept(m: mujoco.MjModel, found: Findings) -> np.ndarray:
    """MuJoCo's indices of the tendons to simulate; refuses what is not simulated of them."""
    limited = m.tendon_limited.astype(bool) & (not _limits_off(m))
    sprung = (m.tendon_stiffness != 0) & (not disabled(m, _DISABLE.mjDSBL_SPRING))
    damped = (m.tendon_damping != 0) & (not disabled(m, _DISABLE.mjDSBL_DAMPER))
    pulled = np.zeros(m.ntendon, dtype=bool)
    pulled[m.actuator_trnid[m.actuator_trntype == int(mujoco.mjtTrn.mjTRN_TENDON), 0]] = True
    fixed = np.array([on_joints(m, t) for t in range(m.ntendon)], dtype=bool)
    idle = ~(fixed | limited | sprung | damped | pulled)
    if idle.any():
        found.note(
            f"{idle.sum()} spatial tendons without limit, spring, damper or actuator: no effect"
        )
    constraint = disabled(m, _DISABLE.mjDSBL_CONSTRAINT)
    smooth = constraint or disabled(m, _DISABLE.mjDSBL_FRICTIONLOSS)
    for field, what in _REFUSED.items():
        if field == "tendon_frictionloss" and smooth:
            continue
        values = np.asarray(getattr(m, field, np.zeros(m.ntendon)))
        has = [t for t in range(m.ntendon) if np.any(values[t])]
        if len(has):
            found.refuse("tendon", f"{listing([tendon_name(m, t) for t in has])} ({what})")
    return np.flatnonzero(~idle)


def _limits_off(m: mujoco.MjModel) -> bool:
    return disabled(m, _DISABLE.mjDSBL_LIMIT) or disabled(m, _DISABLE.mjDSBL_CONSTRAINT)


def _limits(m: mujoco.MjModel, kept: np.ndarray, source: str) -> tuple[np.ndarray, np.ndarray]:
    limited = np.flatnonzero(m.tendon_limited[kept].astype(bool) & (not _limits_off(m)))
    of = kept[limited]
    names = [f"tendon {tendon_name(m, int(t))}" for t in of]
    return limited, within_margins(m.tendon_range[of], m.tendon_margin[of], names, source)
