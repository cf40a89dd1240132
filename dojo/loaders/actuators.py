"""Actuators: motors and affine servos on joints, tendons and sites; their activations."""

import dataclasses

import mujoco
import numpy as np

from dojo.loaders.findings import Findings
from dojo.loaders.links import Links, Pose, identity
from dojo.loaders.names import actuator_name
from dojo.loaders.tendons import Tendons
from dojo.loaders.unsupported import disabled
from dojo.model.topology import Activations, Actuators

_TRN = mujoco.mjtTrn
_JOINT, _IN_PARENT, _TENDON, _SITE = (
    int(t)
    for t in (
        _TRN.mjTRN_JOINT,
        _TRN.mjTRN_JOINTINPARENT,
        _TRN.mjTRN_TENDON,
        _TRN.mjTRN_SITE,
    )
)
_SCALAR = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
_FIXED_OR_AFFINE = (int(mujoco.mjtGain.mjGAIN_FIXED), int(mujoco.mjtGain.mjGAIN_AFFINE))
_DYN = mujoco.mjtDyn
_NONE, _INTEGRATOR = int(_DYN.mjDYN_NONE), int(_DYN.mjDYN_INTEGRATOR)
_FILTERS = (int(_DYN.mjDYN_FILTER), int(_DYN.mjDYN_FILTEREXACT))
_CONSTANT_OR_AFFINE = (int(mujoco.mjtBias.mjBIAS_NONE), int(mujoco.mjtBias.mjBIAS_AFFINE))


@dataclasses.dataclass(frozen=True)
class ReadActuators:
    """The actuators that are simulated."""

    table: Actuators
    activations: Activations
    names: tuple[str, ...]
    index: np.ndarray  # (nu,) MuJoCo's
    control: np.ndarray  # (nu,) their places in MuJoCo's ctrl
    parameters: dict[str, np.ndarray]


def read_actuators(
    m: mujoco.MjModel, links: Links, tendons: Tendons, found: Findings
) -> ReadActuators:
    """The supported actuators; refuses the others."""
    keep = []
    for i in range(actuator_count(m)):
        reason = _refusal(m, i)
        if reason:
            found.refuse("actuator", f"{actuator_name(m, i)} ({reason})")
        else:
            keep.append(i)
    clamp = not disabled(m, mujoco.mjtDisableBit.mjDSBL_CLAMPCTRL)
    k = np.array(keep, dtype=int)
    on = _enabled(m)[k]
    bias = np.where((m.actuator_biastype[k] != 0)[:, None], m.actuator_biasprm[k, :3], 0.0)
    affine = m.actuator_gaintype[k] == int(mujoco.mjtGain.mjGAIN_AFFINE)
    gain = m.actuator_gainprm[k, :3] * np.stack([np.ones(len(k)), affine, affine], axis=1)
    control, out = (_addresses(m, k, which) for which in ("ctrl", "out"))
    limited = m.actuator_ctrllimited[control].astype(bool) & clamp
    kinds, ends = m.actuator_trntype[k], m.actuator_trnid[k, 0]
    sites = [
        _site(m, links, int(s)) if t == _SITE else (-2, identity())
        for t, s in zip(kinds, ends, strict=True)
    ]
    table = Actuators(
        joint=np.where((kinds == _JOINT) | (kinds == _IN_PARENT), ends, -1),
        tendon=np.array(
            [tendons.index[e] if t == _TENDON else -1 for t, e in zip(kinds, ends, strict=True)],
            dtype=int,
        ),
        site_link=np.array([link for link, _ in sites], dtype=int),
        ctrl_limited=limited,
        force_limited=m.actuator_forcelimited[k].astype(bool),
    )
    parameters = {
        "actuator_gear": m.actuator_gear[out].reshape(-1, 6).copy(),
        "actuator_pos": np.array([pose.pos for _, pose in sites]).reshape(-1, 3),
        "actuator_quat": np.array([pose.quat for _, pose in sites]).reshape(-1, 4),
        "actuator_gain": gain * on[:, None],
        "actuator_bias": bias * on[:, None],
        "actuator_ctrl_range": m.actuator_ctrlrange[control] * limited[:, None],
        "actuator_force_range": m.actuator_forcerange[k] * table.force_limited[:, None],
    }
    activations, memory = _read_activations(m, k)
    names = tuple(actuator_name(m, i) for i in keep)
    return ReadActuators(table, activations, names, k, control, parameters | memory)


# From MuJoCo 4 on an actuator may have several controls and forces; before, one each.


def actuator_count(m: mujoco.MjModel) -> int:
    """The actuators of a model; it may have more controls."""
    return int(getattr(m, "nactuator", m.nu))


def _addresses(m: mujoco.MjModel, k: np.ndarray, which: str) -> np.ndarray:
    """Where the first "ctrl" or "out" of the actuators k stands."""
    return np.asarray(getattr(m, f"actuator_{which}adr", np.arange(m.nu)))[k]


def _single(m: mujoco.MjModel, i: int) -> bool:
    """Whether actuator i has one control and one force."""
    numbers = (getattr(m, f"actuator_{which}num", np.ones(m.nu)) for which in ("ctrl", "out"))
    return all(int(number[i]) == 1 for number in numbers)


def _read_activations(
    m: mujoco.MjModel, k: np.ndarray
) -> tuple[Activations, dict[str, np.ndarray]]:
    """The activations of the actuators k, and their parameters."""
    at = np.flatnonzero(m.actuator_dyntype[k] != _NONE)
    of = k[at]
    limited = m.actuator_actlimited[of].astype(bool)
    table = Activations(
        actuator=at,
        filtered=np.isin(m.actuator_dyntype[of], _FILTERS),
        limited=limited,
        early=np.asarray(m.actuator_actearly[of]).astype(bool),
    )
    return table, {
        "activation_timeconst": m.actuator_dynprm[of, 0] * table.filtered,
        "activation_range": m.actuator_actrange[of] * limited[:, None],
    }


def _site(m: mujoco.MjModel, links: Links, site: int) -> tuple[int, Pose]:
    """The link that carries a site, and the site's pose in it."""
    body = int(m.site_bodyid[site])
    pose = links.body_pose[body] @ Pose(m.site_pos[site], m.site_quat[site])
    return int(links.body_link[body]), pose


def _enabled(m: mujoco.MjModel) -> np.ndarray:
    """1 for actuators that act, 0 for those the file's options switch off: (nu,)."""
    if disabled(m, mujoco.mjtDisableBit.mjDSBL_ACTUATION):
        return np.zeros(actuator_count(m))
    groups = int(m.opt.disableactuator)
    return np.array([0.0 if g >= 0 and groups >> int(g) & 1 else 1.0 for g in m.actuator_group])


def _refusal(m: mujoco.MjModel, i: int) -> str:
    """Why actuator i is not supported, or nothing."""
    if not _single(m, i):
        return "several controls or forces"
    reason = _transmission_refusal(m, i)
    if reason:
        return reason
    dynamics = int(m.actuator_dyntype[i])
    if dynamics not in (*_FILTERS, _NONE, _INTEGRATOR):
        return f"{mujoco.mjtDyn(dynamics).name.removeprefix('mjDYN_').lower()} dynamics"
    if int(m.actuator_gaintype[i]) not in _FIXED_OR_AFFINE:
        return "gain not affine"
    if int(m.actuator_biastype[i]) not in _CONSTANT_OR_AFFINE:
        return "bias not affine"
    # Absent from older MuJoCo releases.
    for field in (
        "actuator_armature",
        "actuator_damping",
        "actuator_dampingpoly",
        "actuator_delay",
    ):
        if np.any(getattr(m, field, np.zeros(actuator_count(m)))[i]):
            return field.removeprefix("actuator_")
    return ""


def _transmission_refusal(m: mujoco.MjModel, i: int) -> str:
    kind, (end, reference) = int(m.actuator_trntype[i]), m.actuator_trnid[i]
    if kind in (_JOINT, _IN_PARENT):
        wide = int(m.jnt_type[end]) not in _SCALAR
        return "in the parent's frame of a free or ball joint" if wide and kind != _JOINT else ""
    if kind == _SITE:
        return "at a site with a reference site" if reference >= 0 else ""
    return (
        "" if kind == _TENDON else f"{_TRN(kind).name.removeprefix('mjTRN_').lower()} transmission"
    )
