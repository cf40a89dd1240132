"""Fixed tendons: sums of joint positions with limits, springs and dampers."""

import dataclasses

import mujoco
import numpy as np

from dojo.loaders.findings import Findings, listing
from dojo.loaders.names import element_name
from dojo.loaders.ranges import within_margins
from dojo.loaders.unsupported import disabled

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

    index: np.ndarray  # (ntendon,) of MuJoCo's tendons here, -1 for spatial ones
    names: tuple[str, ...]
    limited: np.ndarray  # (k,)
    parameters: dict[str, np.ndarray]


def read_tendons(m: mujoco.MjModel, source: str, found: Findings) -> Tendons:
    """The fixed tendons; refuses spatial ones that act.

    Raises:
        ModelError: a margin leaves nothing of a range.
    """
    fixed = np.array([on_joints(m, t) for t in range(m.ntendon)], dtype=bool)
    _find_unsupported(m, fixed, found)
    index = np.where(fixed, np.cumsum(fixed) - 1, -1)
    kept = np.flatnonzero(fixed)
    spring, damper = (not disabled(m, b) for b in (_DISABLE.mjDSBL_SPRING, _DISABLE.mjDSBL_DAMPER))
    limited, ranges = _limits(m, kept, source)
    coefficients = [coefficients_of(m, int(t)) for t in kept]
    return Tendons(
        index=index,
        names=tuple(_name(m, int(t)) for t in kept),
        limited=limited,
        parameters={
            "tendon_coefficients": np.array(coefficients).reshape(-1, m.nv),
            "tendon_range": ranges,
            "tendon_stiffness": m.tendon_stiffness[kept] * spring,
            "tendon_springlength": m.tendon_lengthspring[kept].reshape(-1, 2).copy(),
            "tendon_damping": m.tendon_damping[kept] * damper,
        },
    )


def on_joints(m: mujoco.MjModel, tendon: int) -> bool:
    """Whether a tendon is a sum of joint positions."""
    return all(int(m.wrap_type[w]) == _ON_JOINT for w in _wraps(m, tendon))


def coefficients_of(m: mujoco.MjModel, tendon: int) -> np.ndarray:
    """What each joint's position counts in a fixed tendon's length, by degree of freedom: (nv,)."""
    row = np.zeros(m.nv)
    for w in _wraps(m, tendon):
        row[m.jnt_dofadr[m.wrap_objid[w]]] += m.wrap_prm[w]
    return row


def _wraps(m: mujoco.MjModel, tendon: int) -> range:
    start = int(m.tendon_adr[tendon])
    return range(start, start + int(m.tendon_num[tendon]))


def _name(m: mujoco.MjModel, t: int) -> str:
    return element_name(m, mujoco.mjtObj.mjOBJ_TENDON, t)


def _find_unsupported(m: mujoco.MjModel, fixed: np.ndarray, found: Findings) -> None:
    spatial = np.flatnonzero(~fixed)
    limited = m.tendon_limited.astype(bool) & (not _limits_off(m))
    sprung = (m.tendon_stiffness != 0) & (not disabled(m, _DISABLE.mjDSBL_SPRING))
    damped = (m.tendon_damping != 0) & (not disabled(m, _DISABLE.mjDSBL_DAMPER))
    acting = (limited | sprung | damped)[spatial]
    if acting.any():
        names = listing([_name(m, int(t)) for t in spatial[acting]])
        found.refuse("tendon", f"{names} (spatial)")
    elif len(spatial):
        found.note(f"{len(spatial)} spatial tendons without limit, spring or damper: no effect")
    constraint = disabled(m, _DISABLE.mjDSBL_CONSTRAINT)
    smooth = constraint or disabled(m, _DISABLE.mjDSBL_FRICTIONLOSS)
    for field, what in _REFUSED.items():
        if field == "tendon_frictionloss" and smooth:
            continue
        values = np.asarray(getattr(m, field, np.zeros(m.ntendon)))
        has = [t for t in range(m.ntendon) if np.any(values[t])]
        if len(has):
            found.refuse("tendon", f"{listing([_name(m, t) for t in has])} ({what})")


def _limits_off(m: mujoco.MjModel) -> bool:
    return disabled(m, _DISABLE.mjDSBL_LIMIT) or disabled(m, _DISABLE.mjDSBL_CONSTRAINT)


def _limits(m: mujoco.MjModel, kept: np.ndarray, source: str) -> tuple[np.ndarray, np.ndarray]:
    limited = np.flatnonzero(m.tendon_limited[kept].astype(bool) & (not _limits_off(m)))
    of = kept[limited]
    names = [f"tendon {_name(m, int(t))}" for t in of]
    return limited, within_margins(m.tendon_range[of], m.tendon_margin[of], names, source)
