"""Limits of joints, and of the force that actuators put on them."""

import dataclasses

import mujoco
import numpy as np

from dojo.loaders.names import joint_name
from dojo.loaders.ranges import within_margins
from dojo.loaders.unsupported import disabled
from dojo.model.errors import ModelError

_DISABLE, _JOINT = mujoco.mjtDisableBit, mujoco.mjtJoint
_SCALAR, _BALL = (int(_JOINT.mjJNT_HINGE), int(_JOINT.mjJNT_SLIDE)), int(_JOINT.mjJNT_BALL)


@dataclasses.dataclass(frozen=True)
class Limits:
    """Joints with limits, by index."""

    joints: np.ndarray  # hinges and slides
    balls: np.ndarray
    force_limited: np.ndarray
    parameters: dict[str, np.ndarray]


def read_limits(m: mujoco.MjModel, source: str) -> Limits:
    """The limits that are in force.

    Raises:
        ModelError: a margin leaves nothing of a range.
    """
    scalar, ball = np.isin(m.jnt_type, _SCALAR), m.jnt_type == _BALL
    off = disabled(m, _DISABLE.mjDSBL_LIMIT) or disabled(m, _DISABLE.mjDSBL_CONSTRAINT)
    active = m.jnt_limited.astype(bool) & (not off)
    limited = np.flatnonzero(active & scalar)
    # No ball is turned by more than half a turn.
    angle = m.jnt_range.max(axis=1) - m.jnt_margin
    balls = np.flatnonzero(active & ball & (angle < np.pi))
    for j in balls:
        if not angle[j] > 0:
            raise ModelError(
                f"{source}: ball joint {joint_name(m, int(j))} may turn by {angle[j]:g} rad at "
                "most, its margin taken off: give its range a larger second number."
            )
    # Efforts without end are none.
    ends = np.isfinite(m.jnt_actfrcrange).all(axis=1)
    force = np.flatnonzero(m.jnt_actfrclimited.astype(bool) & scalar & ends)
    names = [f"joint {m.joint(joint).name}" for joint in limited]
    ranges = within_margins(m.jnt_range[limited], m.jnt_margin[limited], names, source)
    return Limits(
        joints=limited,
        balls=balls,
        force_limited=force,
        parameters={
            "joint_range": ranges,
            "ball_range": angle[balls],
            "joint_force_range": m.jnt_actfrcrange[force].copy(),
        },
    )
