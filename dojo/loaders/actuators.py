"""Actuators: motor, position and velocity on hinge and slide joints."""

import mujoco
import numpy as np

from dojo.loaders.findings import Findings
from dojo.loaders.names import actuator_name
from dojo.loaders.unsupported import disabled
from dojo.model.topology import Actuators

_SCALAR = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
_ON_JOINT = (int(mujoco.mjtTrn.mjTRN_JOINT), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT))

_CONSTANT_OR_AFFINE = (int(mujoco.mjtBias.mjBIAS_NONE), int(mujoco.mjtBias.mjBIAS_AFFINE))


def read_actuators(
    m: mujoco.MjModel, found: Findings
) -> tuple[Actuators, tuple[str, ...], np.ndarray, dict[str, np.ndarray]]:
    """The supported actuators with names, MuJoCo's indices, parameters; refuses the others."""
    keep = []
    for i in range(m.nu):
        reason = _refusal(m, i)
        if reason:
            found.refuse("actuator", f"{actuator_name(m, i)} ({reason})")
        else:
            keep.append(i)
    clamp = not disabled(m, mujoco.mjtDisableBit.mjDSBL_CLAMPCTRL)
    k = np.array(keep, dtype=int)
    on = _enabled(m)[k]
    bias = np.where((m.actuator_biastype[k] != 0)[:, None], m.actuator_biasprm[k, :3], 0.0)
    limited = m.actuator_ctrllimited[k].astype(bool) & clamp
    table = Actuators(
        joint=m.actuator_trnid[k, 0].copy(),
        ctrl_limited=limited,
        force_limited=m.actuator_forcelimited[k].astype(bool),
    )
    parameters = {
        "actuator_gear": m.actuator_gear[k, 0].copy(),
        "actuator_gain": m.actuator_gainprm[k, 0] * on,
        "actuator_bias": bias * on[:, None],
        "actuator_ctrl_range": m.actuator_ctrlrange[k] * limited[:, None],
        "actuator_force_range": m.actuator_forcerange[k] * table.force_limited[:, None],
    }
    return table, tuple(actuator_name(m, i) for i in keep), k, parameters


def _enabled(m: mujoco.MjModel) -> np.ndarray:
    """1 for actuators that act, 0 for those the file's options switch off: (nu,)."""
    if disabled(m, mujoco.mjtDisableBit.mjDSBL_ACTUATION):
        return np.zeros(m.nu)
    groups = int(m.opt.disableactuator)
    return np.array([0.0 if g >= 0 and groups >> int(g) & 1 else 1.0 for g in m.actuator_group])


def _refusal(m: mujoco.MjModel, i: int) -> str:
    """Why actuator i is not supported, or nothing."""
    if int(m.actuator_trntype[i]) not in _ON_JOINT:
        name = mujoco.mjtTrn(m.actuator_trntype[i]).name.removeprefix("mjTRN_").lower()
        return f"{name} transmission"
    if int(m.jnt_type[m.actuator_trnid[i, 0]]) not in _SCALAR:
        return "on a free or ball joint"
    if int(m.actuator_dyntype[i]) != int(mujoco.mjtDyn.mjDYN_NONE):
        return "activation dynamics"
    if int(m.actuator_gaintype[i]) != int(mujoco.mjtGain.mjGAIN_FIXED):
        return "gain not constant"
    if int(m.actuator_biastype[i]) not in _CONSTANT_OR_AFFINE:
        return "bias not affine"
    # Absent from older MuJoCo releases.
    for field in (
        "actuator_armature",
        "actuator_damping",
        "actuator_dampingpoly",
        "actuator_delay",
    ):
        if np.any(getattr(m, field, np.zeros(m.nu))[i]):
            return field.removeprefix("actuator_")
    return ""
