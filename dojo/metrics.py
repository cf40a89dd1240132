"""Energy and momentum of a state."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from dojo.math.vectors import contract, cross, dot
from dojo.model.model import Model
from dojo.model.state import State, normalize_configuration
from dojo.physics.forces import spring_energy
from dojo.physics.inertia import centers_of_mass, mass_matrix_at, spatial_inertia
from dojo.physics.kinematics import Frames, link_frames, link_twists, local_maps, motion_axes


class Energy(NamedTuple):
    """Mechanical energy [J]."""

    kinetic: Array  # () armature included
    # () gravity, zero at the world origin, and springs. As in MuJoCo all of the weight counts, also
    # what gravcomp carries.
    potential: Array


class Momentum(NamedTuple):
    """Momentum of all links, world axes."""

    linear: Array  # (3,) [kg m/s]
    angular: Array  # (3,) [kg m2/s] about the common centre of mass


def energy(model: Model, state: State) -> Energy:
    """Kinetic and potential energy [J] of the state."""
    return _energy(model, normalize_configuration(model, state.q), jnp.asarray(state.v))


@functools.partial(jax.jit, inline=True)
def _energy(model: Model, q: Array, v: Array) -> Energy:
    maps = local_maps(model)
    frames = link_frames(model, maps, q)
    mass = mass_matrix_at(model, frames, motion_axes(model, maps, frames))
    center = centers_of_mass(model, frames)
    height = jnp.sum(model.link_mass * dot(model.gravity[:, None], center))
    return Energy(
        kinetic=0.5 * contract(v, contract(mass, v)),
        potential=spring_energy(model, q, frames) - height,
    )


def momentum(model: Model, state: State) -> Momentum:
    """Linear momentum, and angular momentum about the common centre of mass."""
    return _momentum(model, normalize_configuration(model, state.q), jnp.asarray(state.v))


@functools.partial(jax.jit, inline=True)
def _momentum(model: Model, q: Array, v: Array) -> Momentum:
    maps = local_maps(model)
    frames = link_frames(model, maps, q)
    twist = link_twists(model, motion_axes(model, maps, frames), v)
    # About the common centre, so that nothing cancels far from the origin.
    mass = model.link_mass
    center = centers_of_mass(model, frames)
    common = jnp.sum(mass * center, axis=1, keepdims=True) / jnp.sum(mass)
    local = Frames.of(frames.rot, frames.pos - common)
    at_common = jnp.concatenate([twist[:3], twist[3:] + cross(twist[:3], common)])
    total = jnp.sum(spatial_inertia(model, local).times(at_common), axis=1)
    return Momentum(linear=total[3:], angular=total[:3])
