"""The complementarity problem of one step: the mechanics, as the solver wants them."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from dojo.math.vectors import diagonal, dot, safe_norm
from dojo.model.model import Model
from dojo.physics import mechanics, solvability
from dojo.physics.activation import Drive, driven
from dojo.physics.dry_friction import cones, largest_impulse
from dojo.physics.equality import Bonds
from dojo.physics.mechanics import Derivative, Node, Trial
from dojo.solver.problem import Point, Residual, Rows, Scales, Tangent, Weights, equality_pull

# Degrees of freedom from which on blocks of the Newton matrix are worth looking at.
_MANY = 400
# Of the products that a search begins with, those that the first one does.
_SHARE = 0.08


class Inputs(NamedTuple):
    """Everything a step depends on."""

    model: Model
    q: Array
    v: Array
    u: Array
    wrench: Array | None
    act: Array | None = None
    mocap: Array | None = None  # (6, nmocap) speed of the mocap bodies


def _scales(model: Model, node: Node) -> Scales:
    """Momentum, length and speed of a step, and their rounding noise."""
    h, eps = model.timestep, float(jnp.finfo(model.dtype).eps)
    gravity = safe_norm(model.gravity)
    # A tenth: light links that the diagonal inertia lets run away are held by their chain.
    driven = 0.1 * jnp.max(jnp.abs(node.impulse.constant) / diagonal(node.mass), initial=0.0)
    speed = h * gravity + jnp.max(jnp.abs(node.v), initial=0.0) + driven
    if node.speed is not None:
        speed = speed + jnp.max(jnp.abs(node.speed))
    momentum = jnp.max(jnp.abs(node.momentum)) + jnp.max(jnp.abs(node.impulse.constant))
    extent = jnp.max(jnp.abs(node.frames.pos)) + jnp.max(model.geom_size, initial=0.1)
    mass = jnp.sum(model.link_mass)
    size = [momentum + 1e-6 * mass, h * speed + 1e-6, speed + 1e-6]
    noise = [mass * extent * (extent + 1) / h, extent, speed * (extent + 1)]
    scales = Scales(jnp.stack(size), 16 * eps * jnp.stack(noise))
    return jax.tree.map(jax.lax.stop_gradient, scales)


class StepTangent(NamedTuple):
    """Derivative of the step's rows at one trial velocity."""

    problem: "StepProblem"
    derivative: Derivative

    def rates(self, dv: Array) -> tuple[Array, Array]:
        return mechanics.rates(self.problem.model, self.problem.node, self.derivative, dv)

    def condensed(self, weights: Weights) -> Array:
        return mechanics.condensed(self.problem.model, self.problem.node, self.derivative, *weights)

    def equality_rates(self) -> Array:
        return self.derivative.equality


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class StepProblem:
    """The complementarity problem of one step, as the solver wants it."""

    model: Model
    node: Node
    mu: Array  # (nf,)
    base: Array  # (nf,) [N s] radius of the contacts' cones beside mu gamma
    scales: Scales
    act: Array | None  # (na,) activations at the start
    drive: Drive

    @classmethod
    def build(cls, inputs: Inputs) -> "StepProblem":
        """The problem of a step with these inputs."""
        model, q, v, u, wrench, act, speed = inputs
        drive = driven(model, u, act)
        node = mechanics.prepare(model, q, v, drive.input, wrench, speed)
        mu = node.contacts.friction.sliding
        return cls(model, node, mu, jnp.zeros_like(mu), _scales(model, node), act, drive)

    def held(self, radius: Array, on: Array) -> "StepProblem":
        nf = self.mu.shape[0]
        return dataclasses.replace(
            self, mu=jnp.where(on, 0.0, self.mu), base=jnp.where(on, radius[:nf], self.base)
        )

    @property
    def sizes(self) -> tuple[int, int, int]:
        cones = self.mu.shape[0] + len(self.model.topology.dry_dofs)
        return self.node.gap.shape[0], cones, self.model.topology.tangents

    @property
    def bonds(self) -> Bonds:
        return self.node.bonds

    @property
    def of_many(self) -> bool:
        return self.node.rows.dofs is not None

    def order(self) -> Array | None:
        """Along the longest side of the scene, where many bodies are in it."""
        n = self.model.nv
        # One large factor after the other suits a GPU better.
        if not self.of_many or n < _MANY or jax.default_backend() != "cpu":
            return None
        at = jax.lax.stop_gradient(self.node.frames.pos[:, self.model.topology.dof_link])
        return jnp.argsort(at[jnp.argmax(jnp.ptp(at, axis=1))], stable=True)

    def rows(self, v: Array) -> Rows:
        """The rows at v."""
        return self.rows_after(v, self.move(v))

    def linearize(self, v: Array) -> tuple[Rows, Tangent]:
        """The rows at v and their derivative."""
        trial = self.move(v)
        return self.rows_after(v, trial), self.tangent_after(v, trial)

    def move(self, v: Array) -> Any:
        return mechanics.move(self.model, self.node, v)

    def rows_after(self, v: Array, trial: Trial) -> Rows:
        return Rows(
            balance=mechanics.balance(self.model, self.node, trial, v),
            gap=mechanics.gaps(self.model, self.node, trial),
            slip=mechanics.slip(self.model, self.node, v),
            equality=mechanics.unmet(self.model, self.node, trial),
        )

    def tangent_after(self, v: Array, trial: Trial) -> Tangent:
        return StepTangent(self, mechanics.differentiate(self.model, self.node, trial, v))

    def pull(self, gamma: Array, b: Array) -> Array:
        return mechanics.pull(self.model, self.node, gamma, b)

    def refused(self, x: Point, rows: Rows, left: Residual) -> Array:
        pulled = rows.balance - left.balance - equality_pull(self, x.multiplier)
        values = jax.lax.stop_gradient((x.v, rows.gap, x.gamma, pulled))
        return solvability.another_motion(self.model, self.node, *values)

    def radius(self, gamma: Array) -> Array:
        contacts = self.mu * gamma[: self.mu.shape[0]] + self.base
        return cones(contacts, largest_impulse(self.model))

    def radius_rate(self, dgamma: Array) -> Array:
        constant = jnp.zeros(len(self.model.topology.dry_dofs), dgamma.dtype)
        return cones(self.mu * dgamma[: self.mu.shape[0]], constant)

    def starts(self) -> Array:
        """The present velocity, and that of the step without contacts and limits."""
        return jax.lax.stop_gradient(jnp.stack([self.node.v, self.node.unhindered]))

    def centered(
        self, v: Array, rows: Rows, factor: Array, kappa: Array, first: ArrayLike = False
    ) -> Point:
        """Products of a kind equal, their size that of this step's momentum and motion.

        At `first` smaller ones, but for the rows that v leads into: of these, a share of what it
        takes to push them out. It starts nearer to the solution, and jams more often.
        """
        momentum, length, speed = self.scales.size
        length = length * factor
        slack = jnp.maximum(rows.gap, length)
        share = jnp.where(first, _SHARE, 1.0)
        pushed = jnp.where(first, _SHARE * momentum, 0.0) * (slack - rows.gap)
        gamma = jnp.maximum(share * momentum * length, kappa + pushed) / slack
        radius = self.radius(gamma)
        # The radius of a dry joint does not follow the impulses: its psi makes up for that.
        nf = self.mu.shape[0]
        product = jnp.maximum(momentum * speed * factor, kappa)
        free = jnp.where(self.mu > 0, kappa, product)
        speed = speed * factor + cones(free / radius[:nf], product / radius[nf:])
        psi = jnp.sqrt(dot(rows.slip, rows.slip) + speed**2)
        b = -0.5 * radius * rows.slip / psi
        held = self.node.multiplier
        point = Point.of(
            v=v, gamma=gamma, slack=slack, b=b, psi=psi, eta=rows.slip, multiplier=held
        )
        return jax.tree.map(jax.lax.stop_gradient, point)
