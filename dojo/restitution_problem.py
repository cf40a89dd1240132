"""The complementarity problem of the bounce at the end of a step, as the solver wants it.

The cones of friction and the measures are those of the step's own problem. Rows that take no part
are a constant slack and move nothing.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from dojo.math.vectors import contract, dot
from dojo.model.model import Model
from dojo.physics import mechanics, restitution
from dojo.physics.contact_rows import ContactRows
from dojo.physics.equality import carried_rates
from dojo.physics.inertia import spatial_inertia
from dojo.physics.mechanics import Derivative, Node, Trial
from dojo.physics.restitution import Strikes
from dojo.solver.problem import Point, Residual, Rows, Weights
from dojo.step_problem import StepProblem


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class RestitutionProblem(StepProblem):
    """Velocity after the impacts of a step; `node` is its end, the unknown is v' (nv,)."""

    derivative: Derivative
    before: Array  # (nv,) velocity without the impulses of the rows that take part
    released: Array  # (ne,) impulses of equality constraints that those answered
    acts: Array  # (nc + 2 nlimit,) 1 for the rows of the impact, 0 for the others
    offset: Array  # (nc + 2 nlimit,) [m] of a row at rest; the slack of the others

    @classmethod
    def at_arrival(
        cls, step: StepProblem, trial: Trial, v: Array, x: Point, strikes: Strikes, kappa: Array
    ) -> "RestitutionProblem":
        """The problem after a step with solution x that arrived at `trial` with velocity v."""
        model = restitution.for_impacts(step.model)
        node = restitution.arrival(model, step.node, trial)
        derivative = Derivative(
            blocks=spatial_inertia(model, trial.frames),
            axes=trial.axes,
            gap=_approach_rows(model, node.rows),
            spans=node.spans,
            equality=model.timestep * node.bonds.rows,
        )
        acts = strikes.acts.astype(model.dtype)
        nf = step.mu.shape[0]
        gamma, b = acts * x.gamma, acts[:nf] * x.b[:, :nf]
        before, released = restitution.taken_back(model, step.node, node, v, gamma, b)
        how = restitution.approach(model, step.node, node, before)
        target = restitution.leaving_speed(model, node.contacts, how, strikes.bounces)
        limits = jnp.zeros(2 * model.topology.nlimit, model.dtype)
        target = model.timestep * jnp.concatenate([target, limits])
        present = _changes(model, node, derivative, before)
        room = _room(model, restitution.effective_mass(model, node), target - present, kappa)
        offset = jnp.where(strikes.acts, room - target, step.scales.size[1])
        of_step = step.mu, step.base, step.scales, step.act, step.drive
        return cls(model, node, *of_step, derivative, before, released, acts, offset)

    def move(self, v: Array) -> None:
        """The problem is linear: nothing but v is needed."""

    def rows_after(self, v: Array, trial: Trial | None) -> Rows:
        model, node = self.model, self.node
        balance = contract(node.mass, v - self.before)
        carried = carried_rates(model, node.frames, node.q, node.twists)
        equality = contract(self.derivative.equality, v) + model.timestep * carried
        gap = self.acts * _changes(model, node, self.derivative, v) + self.offset
        slip = mechanics.slip(model, node, v)
        return Rows(balance=balance, gap=gap, slip=slip, equality=equality)

    def tangent_after(self, v: Array, trial: Trial | None) -> "RestitutionProblem":
        """The problem is its own tangent."""
        return self

    def rates(self, dv: Array) -> tuple[Array, Array]:
        rate, slip = mechanics.rates(self.model, self.node, self.derivative, dv)
        return self.acts * rate, slip

    def condensed(self, weights: Weights) -> Array:
        frictional = self.acts[: self.mu.shape[0]]
        acting = Weights(
            normal=self.acts * weights.normal,
            coupling=frictional * weights.coupling,
            tangent=frictional * weights.tangent,
        )
        return mechanics.condensed(self.model, self.node, self.derivative, *acting)

    def equality_rates(self) -> Array:
        return self.derivative.equality

    def pull(self, gamma: Array, b: Array) -> Array:
        return super().pull(*self.acting(gamma, b))

    def refused(self, x: Point, rows: Rows, left: Residual) -> Array:
        return jnp.asarray(False)

    def acting(self, gamma: Array, b: Array) -> tuple[Array, Array]:
        """The impulses of the rows that take part, zero for the others."""
        return self.acts * gamma, self.acts[: self.mu.shape[0]] * b

    def starts(self) -> Array:
        return jax.lax.stop_gradient(jnp.stack([self.before, self.before]))

    def first(self, kappa: Array) -> Point:
        """Where to start: the solution itself if there is no impact."""
        rows = self.rows(self.before)
        gamma = kappa / self.offset
        radius = self.radius(gamma)
        half = 0.5 * kappa / radius
        psi = half + jnp.sqrt(half * half + dot(rows.slip, rows.slip))
        b = -radius * rows.slip / psi
        still = Point.of(
            v=self.before,
            gamma=gamma,
            slack=rows.gap,
            b=b,
            psi=psi,
            eta=rows.slip,
            multiplier=self.node.multiplier,
        )
        start = self.centered(self.before, rows, jnp.asarray(0.1, kappa.dtype), kappa)
        impact = self.acts.any()
        return jax.tree.map(
            lambda a, b: jax.lax.stop_gradient(jnp.where(impact, a, b)), start, still
        )


def _changes(model: Model, node: Node, derivative: Derivative, v: Array) -> Array:
    """What the distances of contacts and limits change by in a step at v, (nc + 2 nlimit,)."""
    change, _ = mechanics.rates(model, node, derivative, v)
    if node.rows.drift is None:
        return change
    return change.at[: model.topology.nc].add(model.timestep * node.rows.drift[: model.topology.nc])


def _approach_rows(model: Model, rows: ContactRows) -> ContactRows:
    """The rows of the normals, per timestep: metres in a step."""
    nc = model.topology.nc
    dofs = None if rows.dofs is None else rows.dofs[:, :nc]
    return ContactRows(model.timestep * rows.values[:, :nc], dofs)


def _room(model: Model, mass: Array, gain: Array, kappa: Array) -> Array:
    """Slack [m] that the barrier keeps of a row that gains `gain` [m a step], (nc + 2 nlimit,).

    kappa over the impulse of the row alone: with it a bounce has its speed at any kappa.
    """
    h, gain = model.timestep, jnp.maximum(gain, 0.0)
    least = jnp.sqrt(kappa * h / mass)
    return least * least * jnp.minimum(1.0 / jnp.maximum(gain, least), gain / (least * least))
