"""Activations: what actuators with a memory turn their controls into.

An activation is advanced from the start of a step alone, as in MuJoCo: the force of a step is that
of the activation at its start, or at its end where the file says `actearly`.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from dojo.math.vectors import at_least
from dojo.model.model import Model


class Drive(NamedTuple):
    """What drives the actuators in a step."""

    input: Array  # (nu,) control or activation
    activation: Array | None  # (na,) at the end of the step


def clip_control(model: Model, u: Array) -> Array:
    """u within the actuators' control ranges."""
    limits = model.actuator_ctrl_range
    clipped = jnp.clip(u, limits[:, 0], limits[:, 1])
    return jnp.where(jnp.asarray(model.topology.actuators.ctrl_limited), clipped, u)


def driven(model: Model, u: Array, activation: Array | None) -> Drive:
    """The actuators' inputs for controls u (nu,) and activations (na,)."""
    if activation is None:
        return Drive(clip_control(model, u), None)
    return Drive(*_driven(model, u, activation))


class DriveRates(NamedTuple):
    """Derivatives of a `Drive`; each entry follows its own actuator alone."""

    input_by_u: Array  # (nu,)
    input_by_act: Array  # (na,)
    act_by_u: Array  # (na,)
    act_by_act: Array  # (na,)


def drive_rates(model: Model, u: Array, activation: Array | None) -> DriveRates:
    """Differentiate `driven`."""
    at = model.topology.activations.actuator
    act = jnp.zeros(model.na, model.dtype) if activation is None else activation
    one, none = (jax.tree.map(like, (u, act)) for like in (jnp.ones_like, jnp.zeros_like))

    def along(du: Array, dact: Array) -> tuple[Array, Array]:
        return jax.jvp(partial(_driven, model), (u, act), (du, dact))[1]

    input_by_u, act_by_u = along(one[0], none[1])
    input_by_act, act_by_act = along(none[0], one[1])
    return DriveRates(input_by_u, input_by_act[at], act_by_u, act_by_act)


def _driven(model: Model, u: Array, activation: Array) -> tuple[Array, Array]:
    """What a `Drive` holds."""
    table, u = model.topology.activations, clip_control(model, u)
    if not len(table):
        return u, activation
    after = _advanced(model, activation, u[table.actuator])
    acting = jnp.where(jnp.asarray(table.early), after, activation)
    return u.at[table.actuator].set(acting), after


def _advanced(model: Model, activation: Array, u: Array) -> Array:
    """Activations at the end of a step with these controls, (na,)."""
    table, h = model.topology.activations, model.timestep
    # Exact for a control that is constant: stable at any time constant, none included.
    passed = -jnp.expm1(-h / at_least(model.activation_timeconst, 1e-3 * h))
    change = jnp.where(jnp.asarray(table.filtered), passed * (u - activation), h * u)
    after = activation + change
    low, high = model.activation_range.T
    return jnp.where(jnp.asarray(table.limited), jnp.clip(after, low, high), after)
