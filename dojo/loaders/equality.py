"""Equality constraints: connect, weld, and couplings of joints or fixed tendons."""

import dataclasses

import mujoco
import numpy as np

from dojo.loaders.findings import Findings, listing
from dojo.loaders.links import Links, Pose, identity
from dojo.loaders.names import element_name
from dojo.loaders.tendons import coefficients_of, on_joints
from dojo.loaders.unsupported import disabled
from dojo.model.topology import WORLD, Equalities

_EQ, _OBJ = mujoco.mjtEq, mujoco.mjtObj
_JOINED = (int(_EQ.mjEQ_CONNECT), int(_EQ.mjEQ_WELD))
_COUPLED = (int(_EQ.mjEQ_JOINT), int(_EQ.mjEQ_TENDON))


@dataclasses.dataclass(frozen=True)
class _Frame:
    """A frame that a link carries."""

    link: int
    pose: Pose


def read_equalities(
    m: mujoco.MjModel, links: Links, found: Findings
) -> tuple[Equalities, dict[str, np.ndarray]]:
    """The constraints that are active in the file; refuses what is neither frames nor joints."""
    bits = mujoco.mjtDisableBit
    off = disabled(m, bits.mjDSBL_EQUALITY) or disabled(m, bits.mjDSBL_CONSTRAINT)
    active = [] if off else _active(m, found)
    joined = [i for i in active if int(m.eq_type[i]) in _JOINED]
    coupled = [i for i in active if int(m.eq_type[i]) in _COUPLED]
    others = sorted({*active} - {*joined, *coupled})
    if others:
        found.refuse("equality", listing([f"{_kind(m, i)} {_name(m, i)}" for i in others]))
    spatial = [i for i in coupled if not _on_joints(m, i)]
    if spatial:
        names = [_name(m, i) for i in spatial]
        found.refuse("equality", f"{listing(names)} (couples spatial tendons)")
        coupled = [i for i in coupled if i not in spatial]
    rigid = [i for i in joined if _rigid(m, _frames(m, links, i))]
    if rigid:
        within = listing([_name(m, i) for i in rigid])
        found.refuse("equality", f"{within} (between frames of one rigid body: nothing can give)")
        joined = [i for i in joined if i not in rigid]
    pairs = [_frames(m, links, i) for i in joined]
    couplings = _couplings(m, coupled)
    table = Equalities(
        names=tuple(_name(m, i) for i in [*joined, *coupled]),
        first=np.array([a.link for a, _ in pairs], dtype=int),
        second=np.array([b.link for _, b in pairs], dtype=int),
        welded=np.array([_welded(m, i) for i in joined], dtype=bool),
        coupled=np.any(couplings["coupling_coefficients"] != 0, axis=1).reshape(-1, m.nv),
    )
    frames = [[a.pose, b.pose] for a, b in pairs]
    return table, {
        "equality_pos": np.array([[x.pos for x in f] for f in frames]).reshape(-1, 2, 3),
        "equality_quat": np.array([[x.quat for x in f] for f in frames]).reshape(-1, 2, 4),
        **couplings,
    }


def _rigid(m: mujoco.MjModel, frames: tuple[_Frame, _Frame]) -> bool:
    """Whether no degree of freedom moves the frames against each other."""
    a, b = (frame.link for frame in frames)
    still = {WORLD, *range(m.njnt, m.njnt + m.nmocap)}
    return a == b or {a, b} <= still


def _active(m: mujoco.MjModel, found: Findings) -> list[int]:
    idle = [i for i in range(m.neq) if not m.eq_active0[i]]
    if idle:
        found.note(
            f"inactive equality constraints left out: {listing([_name(m, i) for i in idle])}"
        )
    return [i for i in range(m.neq) if m.eq_active0[i]]


def _kind(m: mujoco.MjModel, i: int) -> str:
    return _EQ(m.eq_type[i]).name.removeprefix("mjEQ_").lower()


def _name(m: mujoco.MjModel, i: int) -> str:
    return element_name(m, _OBJ.mjOBJ_EQUALITY, i)


def _welded(m: mujoco.MjModel, i: int) -> bool:
    """Whether the orientation is held as well; a weld's torquescale of 0 lets it go."""
    return bool(int(m.eq_type[i]) == int(_EQ.mjEQ_WELD) and m.eq_data[i, 10] != 0)


def _frames(m: mujoco.MjModel, links: Links, i: int) -> tuple[_Frame, _Frame]:
    """The frames that constraint i makes coincide."""
    ends = int(m.eq_obj1id[i]), int(m.eq_obj2id[i])
    if int(m.eq_objtype[i]) == int(_OBJ.mjOBJ_SITE):
        poses = [Pose(m.site_pos[s].copy(), m.site_quat[s].copy()) for s in ends]
        bodies = [int(m.site_bodyid[s]) for s in ends]
    else:
        data, unit = m.eq_data[i], identity().quat
        bodies = [*ends]
        if int(m.eq_type[i]) == int(_EQ.mjEQ_WELD):
            poses = [Pose(data[3:6].copy(), data[6:10].copy()), Pose(data[:3].copy(), unit)]
        else:
            poses = [Pose(data[:3].copy(), unit), Pose(data[3:6].copy(), unit)]
    first, second = (
        _Frame(int(links.body_link[b]), links.body_pose[b] @ pose)
        for b, pose in zip(bodies, poses, strict=True)
    )
    return first, second


def _couplings(m: mujoco.MjModel, coupled: list[int]) -> dict[str, np.ndarray]:
    coefficients = np.zeros((len(coupled), 2, m.nv))
    offset = np.zeros((len(coupled), 2))
    for k, i in enumerate(coupled):
        for side, obj in enumerate((int(m.eq_obj1id[i]), int(m.eq_obj2id[i]))):
            if obj >= 0:
                coefficients[k, side], offset[k, side] = _length(m, i, obj)
    return {
        "coupling_coefficients": coefficients,
        "coupling_offset": offset,
        "coupling_polynomial": m.eq_data[coupled, :5].reshape(-1, 5).copy(),
    }


def _length(m: mujoco.MjModel, i: int, obj: int) -> tuple[np.ndarray, float]:
    """Coefficients (nv,) of joint positions, and what their sum is at rest."""
    if int(m.eq_type[i]) == int(_EQ.mjEQ_JOINT):
        row = np.zeros(m.nv)
        row[m.jnt_dofadr[obj]] = 1.0
        return row, float(m.qpos0[m.jnt_qposadr[obj]])
    return coefficients_of(m, obj), float(m.tendon_length0[obj])


def _on_joints(m: mujoco.MjModel, i: int) -> bool:
    """Whether a coupling is of joints, or of tendons that are sums of joint positions."""
    if int(m.eq_type[i]) == int(_EQ.mjEQ_JOINT):
        return True
    tendons = [int(t) for t in (m.eq_obj1id[i], m.eq_obj2id[i]) if t >= 0]
    return all(on_joints(m, t) for t in tendons)
