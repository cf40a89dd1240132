"""Mass, centre of mass and inertia of links by unconstrained numbers.

Log-Cholesky parameters: whatever their values, the link has positive mass and an inertia that some
distribution of mass has. So optimizers may move them freely. They are the logarithms and entries of
an upper triangular factor U of the pseudo-inertia of each link about its frame's origin,

    [[S, m c], [m c^T, m]] = U U^T,    S = 1/2 tr(I_o) 1 - I_o,

    U = exp(alpha) [[exp(d1), s12,     s13,     t1],
                    [0,       exp(d2), s23,     t2],
                    [0,       0,       exp(d3), t3],
                    [0,       0,       0,       1]].

Source: Rucker, Wensing, Smooth Parameterization of Rigid-Body Inertia, IEEE RA-L 7 (2022) 2771.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from dojo.math.vectors import contract, eye
from dojo.model.errors import ModelError
from dojo.model.model import Model


def inertial_parameters(model: Model) -> Array:
    """Log-Cholesky parameters of the links: (nl, 10), alpha, d1, d2, d3, s12, s23, s13, t1, t2, t3.

    Rows of links without mass (all but the last of a body with several joints) are zero.

    Raises:
        ModelError: an inertia that no distribution of mass has, or that of a point, a line or a
            plane (concrete values only; of traced ones NaN comes out).
    """
    massive = model.link_mass > 0
    pseudo = jax.vmap(_pseudo_inertia)(model.link_mass, model.link_com, model.link_inertia)
    pseudo = jnp.where(massive[:, None, None], pseudo, eye(model.dtype, 4))
    # The upper factor is the lower one of the matrix in reversed order.
    factor = jnp.linalg.cholesky(pseudo[:, ::-1, ::-1])[:, ::-1, ::-1]
    scale = factor[:, 3, 3]
    unit = factor / scale[:, None, None]
    logs = jnp.log(jnp.stack([scale, *(unit[:, k, k] for k in range(3))]))
    shears = [unit[:, 0, 1], unit[:, 1, 2], unit[:, 0, 2], *(unit[:, k, 3] for k in range(3))]
    values = jnp.where(massive, jnp.concatenate([logs, jnp.stack(shears)]), 0.0).T
    _refuse_impossible(model, values)
    return values


def _refuse_impossible(model: Model, values: Array) -> None:
    if isinstance(values, jax.core.Tracer):
        return
    bad = np.flatnonzero(~np.isfinite(np.asarray(values)).all(axis=1))
    if len(bad):
        raise ModelError(
            f"inertial_parameters: link {model.topology.link_names[bad[0]]}: no body has this "
            "inertia; each principal moment must be less than the sum of the other two. Correct "
            "link_inertia."
        )


def with_inertial_parameters(model: Model, parameters: ArrayLike) -> Model:
    """The model whose links have these log-Cholesky parameters, (nl, 10).

    Links without mass stay without. Differentiable in the parameters.

    Raises:
        ModelError: wrong shape.
    """
    values = jnp.asarray(parameters, model.dtype)
    if values.shape != (model.topology.nl, 10):
        raise ModelError(
            f"with_inertial_parameters: shape {values.shape}, expected {(model.topology.nl, 10)}: "
            "a row as from inertial_parameters for each link."
        )
    mass, com, inertia = jax.vmap(_rigid_body)(values)
    massive = model.link_mass > 0
    return model.replace(
        link_mass=jnp.where(massive, mass, model.link_mass),
        link_com=jnp.where(massive[:, None], com, model.link_com),
        link_inertia=jnp.where(massive[:, None, None], inertia, model.link_inertia),
    )


def _pseudo_inertia(mass: Array, com: Array, inertia: Array) -> Array:
    """(4, 4) of a link; inertia (3, 3) about the centre of mass."""
    inertia = 0.5 * (inertia + inertia.T)
    first = mass * com
    second = 0.5 * jnp.trace(inertia) * eye(mass.dtype, 3) - inertia + jnp.outer(first, com)
    upper = jnp.concatenate([second, first[:, None]], axis=1)
    return jnp.concatenate([upper, jnp.append(first, mass)[None]])


def _rigid_body(parameters: Array) -> tuple[Array, Array, Array]:
    """Mass, centre of mass (3,), inertia about it (3, 3)."""
    alpha, d, (s12, s23, s13), t = jnp.split(parameters, (1, 4, 7))
    zero, (e1, e2, e3) = jnp.zeros_like(s12), jnp.exp(d)
    turn = jnp.stack(
        [jnp.stack([e1, s12, s13]), jnp.stack([zero, e2, s23]), jnp.stack([zero, zero, e3])]
    )
    mass = jnp.exp(2 * alpha[0])
    # Second moments about the centre of mass, which is t: those about the origin have t t^T more.
    second = mass * contract(turn, turn.T)
    return mass, t, jnp.trace(second) * eye(mass.dtype, 3) - second
