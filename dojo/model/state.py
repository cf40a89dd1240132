"""The state of a simulation."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from dojo.math import rotations
from dojo.model.errors import close_matches
from dojo.model.layout import assemble, layout, take
from dojo.model.model import Model
from dojo.model.topology import Topology


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class State:
    """Configuration and velocity, in MuJoCo's order and frames.

    Attributes:
        q: (nq,) free joint: world position [m] and unit quaternion wxyz; ball: quaternion; hinge
            [rad]; slide [m]. The poses of mocap bodies come last, position and quaternion each.
        v: (nv,) free joint: world linear velocity [m/s] and body-frame angular velocity [rad/s];
            ball: body-frame angular velocity; hinge [rad/s]; slide [m/s].
        act: (na,) activations of actuators with a memory; None if the model has none.
    """

    q: Array
    v: Array
    act: Array | None = None


def init(
    model: Model,
    q: ArrayLike | None = None,
    v: ArrayLike | None = None,
    act: ArrayLike | None = None,
    *,
    keyframe: str | None = None,
) -> State:
    """The state at rest, at a keyframe of the file, or at the given q (nq,), v (nv,), act (na,).

    Quaternions are normalized. Traces under jit, vmap and grad.

    Raises:
        ValueError: wrong shape, NaN, a zero quaternion (concrete values only), unknown keyframe.
    """
    if keyframe is not None:
        q, v, act = _from_keyframe(model, keyframe, q, v, act)
    q = model.q_rest if q is None else check_array("q", q, (model.nq,), model.dtype)
    v = check_array("v", np.zeros(model.nv) if v is None else v, (model.nv,), model.dtype)
    act = check_array("act", np.zeros(model.na) if act is None else act, (model.na,), model.dtype)
    return State(q=normalize_configuration(model, q), v=v, act=act if model.na else None)


def check_array(name: str, value: ArrayLike, shape: tuple[int, ...], dtype: np.dtype) -> Array:
    """An array of this shape; its values are validated when they are concrete."""
    array = jnp.asarray(value, dtype)
    if array.shape != shape:
        raise ValueError(
            f"{name}: shape {array.shape}, expected {shape}. For a batch, wrap it in jax.vmap."
        )
    if not isinstance(array, jax.core.Tracer) and not np.isfinite(np.asarray(array)).all():
        raise ValueError(f"{name}: holds a NaN or an infinity.")
    return array


def normalize_configuration(model: Model, q: Array) -> Array:
    """q with unit quaternions; the derivative along each quaternion is zero."""
    table = layout(model.topology)
    quats = np.concatenate([table.quat_q, table.mocap_q[3:]], axis=1)
    if not quats.size:
        return q
    if not isinstance(q, jax.core.Tracer) and (np.asarray(q)[quats] == 0).all(0).any():
        raise ValueError("q: holds a zero quaternion; the identity is (1, 0, 0, 0).")
    return _normalized(model.topology, q)


# Compiled as one where it is not part of something that is, as all that users call from a loop.
@functools.partial(jax.jit, inline=True, static_argnums=0)
def _normalized(topology: Topology, q: Array) -> Array:
    table = layout(topology)
    quats = np.concatenate([table.quat_q, table.mocap_q[3:]], axis=1)
    return assemble(
        [
            (table.scalar_q, take(q, table.scalar_q)),
            (quats, rotations.normalize(take(q, quats))),
            (table.place_q, take(q, table.place_q)),
            (table.mocap_q[:3], take(q, table.mocap_q[:3])),
        ],
        int(topology.q_start[-1]),
    )


def _from_keyframe(
    model: Model, name: str, q: ArrayLike | None, v: ArrayLike | None, act: ArrayLike | None
) -> tuple[ArrayLike, ArrayLike, ArrayLike]:
    if q is not None:
        raise ValueError("init: give either q or keyframe, not both.")
    frames = {k.name: k for k in model.topology.keyframes}
    if name not in frames:
        raise ValueError(
            f"init: no keyframe {name!r}.{close_matches(name, frames)} "
            f"The file has: {', '.join(frames) or 'none'}."
        )
    frame = frames[name]
    return (
        np.array(frame.q),
        np.array(frame.v) if v is None else v,
        np.array(frame.act) if act is None else act,
    )
