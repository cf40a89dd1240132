"""Dry friction in joints, MuJoCo's frictionloss: one cone of constant radius for each dry dof.

The impulse b on a dof is at most h frictionloss and opposes its interval velocity v_j:

    (h frictionloss, b) o (psi, v_j) = (kappa, 0)

The solver's cones have two tangential components or more; all but the first are zero here. The dry
dofs follow the contacts with friction: arrays of cones are (..., nf + nd).
"""

import jax.numpy as jnp
from jax import Array

from dojo.model.layout import placed, take
from dojo.model.model import Model

# A cone needs an interior: the least frictionloss [N m or N] a dry dof is simulated with.
SMALLEST = 1e-8


def largest_impulse(model: Model) -> Array:
    """h frictionloss of the dry dofs, (nd,) [N m s or N s]."""
    loss = take(model.dof_frictionloss, model.topology.dry_dofs)
    return model.timestep * jnp.maximum(loss, SMALLEST)


def joint_slip(model: Model, v: Array) -> Array:
    """Velocity of the dry dofs as slip of their cones, (d, nd) [rad/s or m/s]."""
    speed = take(v, model.topology.dry_dofs)
    return jnp.stack([speed, *(model.topology.tangents - 1) * [jnp.zeros_like(speed)]])


def on_dofs(model: Model, values: Array) -> Array:
    """Values (nd,) of the dry dofs in their places, zero elsewhere: (nv,)."""
    return placed(values, model.topology.dry_dofs, model.nv)


def cones(contacts: Array, joints: Array) -> Array:
    """Values (..., nf) of the contacts with friction and (..., nd) of the dry dofs: all cones."""
    # Nothing to add to the program of a model without dry friction.
    return jnp.concatenate([contacts, joints], axis=-1) if joints.shape[-1] else contacts
