"""One step: the only place where the mechanics and the solver meet.

prepare the node -> solve the complementarity problem -> arrive at the next state -> report.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from dojo.math.vectors import dot, safe_norm
from dojo.model.model import Model
from dojo.model.state import State, normalize_configuration
from dojo.model.topology import contact_geoms
from dojo.physics import mechanics
from dojo.physics.interval import turned_angle
from dojo.physics.mechanics import Derivative, Node, Trial
from dojo.solver import implicit
from dojo.solver.interior_point import Solution
from dojo.solver.options import SolverOptions, resolve_kappa, resolve_tolerance
from dojo.solver.problem import Point, Rows, Scales, Weights
from dojo.solver.status import Status


class Inputs(NamedTuple):
    """Everything a step depends on."""

    model: Model
    q: Array
    v: Array
    u: Array
    wrench: Array | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Contacts:
    """Contact candidates of a step; gap at its end, point and frame at its start.

    Attributes:
        gap: (nc,) [m].
        impulse: (nc, 3) [N s], normal and two tangents, on the second body.
        point: (nc, 3) [m], world.
        frame: (nc, 3, 3), rows n, t1, t2; n from the first body to the second.
        geoms: (nc, 2) indices of the first and second body's geom.
    """

    gap: Array
    impulse: Array
    point: Array
    frame: Array
    geoms: Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class StepInfo:
    """What a step reports, one entry per batch lane under vmap.

    Attributes:
        status: () a `dojo.Status`; `dojo.Status(int(info.status)).message` says what to do.
        converged: () bool.
        iterations: () Newton iterations.
        residual: () largest scaled residual of the equations solved.
        kappa: () the central-path parameter in force.
        contacts: the contact candidates.
        limit_impulse: (2 nlimit,) [N s or N m s], at the lower, then the upper limits.
        grad_converged: () bool, whether the point that derivatives are taken at was solved for;
            differs from `converged` only when `grad_kappa` is set.
    """

    status: Array
    converged: Array
    iterations: Array
    residual: Array
    kappa: Array
    contacts: Contacts
    limit_impulse: Array
    grad_converged: Array


def step(
    model: Model,
    state: State,
    u: ArrayLike | None = None,
    *,
    wrench: ArrayLike | None = None,
    options: SolverOptions | None = None,
) -> tuple[State, StepInfo]:
    """Advance the state by one timestep through contact.

    Pure; works under jit, vmap, grad, jvp. Derivatives are those of the solution at `grad_kappa`.

    Args:
        model: the robot.
        state: q (nq,), v (nv,).
        u: controls (nu,), clipped to their ranges; None is zero.
        wrench: external forces (nl, 6) [N, N m]: world force, then torque, at each link's centre
            of mass.
        options: see `SolverOptions`.

    Raises:
        ValueError: wrong shapes. Values are not checked here: `info.status` tells, per lane.
    """
    options = SolverOptions() if options is None else options
    u = np.zeros(model.nu) if u is None else u
    control = shaped("u", u, (model.nu,), model)
    external = None if wrench is None else shaped("wrench", wrench, (model.topology.nl, 6), model)
    q = shaped("state.q", state.q, (model.nq,), model)
    v = shaped("state.v", state.v, (model.nv,), model)
    return _step(Inputs(model, q, v, control, external), options)


def shaped(name: str, value: ArrayLike, shape: tuple[int, ...], model: Model) -> Array:
    """`value` in the model's precision; ValueError unless it has this shape."""
    array = jnp.asarray(value, model.dtype)
    if array.shape != shape:
        raise ValueError(
            f"{name}: shape {array.shape}, expected {shape}. For a batch, wrap step in jax.vmap."
        )
    return array


@functools.partial(jax.jit, inline=True)
def _step(inputs: Inputs, options: SolverOptions) -> tuple[State, StepInfo]:
    model = inputs.model
    inputs = inputs._replace(q=normalize_configuration(model, inputs.q))
    kappa = resolve_kappa(options.kappa, model.dtype)
    tolerance = resolve_tolerance(options, model.dtype)
    solution = implicit.solve(
        StepProblem.build, tolerance, options.max_iterations, inputs, kappa, None
    )
    result = _result(inputs, solution, kappa)
    if options.grad_kappa is None:
        return result
    smooth = resolve_kappa(options.grad_kappa, model.dtype)
    start = jax.tree.map(jax.lax.stop_gradient, solution.x)
    again = implicit.solve(
        StepProblem.build, tolerance, options.max_iterations, inputs, smooth, start
    )
    smoothed = _result(inputs, again, smooth)
    after, info = result
    info = dataclasses.replace(info, grad_converged=smoothed[1].converged)
    return _with_derivative_of((after, info), smoothed)


@jax.custom_jvp
def _with_derivative_of(value: Any, other: Any) -> Any:
    """`value`, with the derivatives of `other`."""
    del other
    return value


@_with_derivative_of.defjvp
def _with_derivative_of_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    return primals[0], tangents[1]


def _result(inputs: Inputs, solution: Solution, kappa: Array) -> tuple[State, StepInfo]:
    model, x = inputs.model, solution.x
    node = mechanics.prepare(*inputs)
    trial = mechanics.move(model, node, x.v)
    # Poses do not count turns: past half a turn of a hinge the equations hold of another motion.
    wound = jnp.any(mechanics.hinge_turns(model, x.v) > jnp.pi)
    converged = solution.converged & ~wound
    defect = mechanics.balance(model, node, trial, x.v, x.gamma, x.b)
    defect = jax.lax.stop_gradient(jnp.where(converged, defect, 0.0))
    q, v = mechanics.arrive(model, node, trial, x.v, defect)
    # Nothing but numbers leaves a step that began with numbers: a lost one stays where it was.
    lost = ~(jnp.isfinite(q).all() & jnp.isfinite(v).all())
    q, v = jnp.where(lost, node.q, q), jnp.where(lost, node.v, v)
    converged &= ~lost
    nc = model.topology.nc
    info = StepInfo(
        status=_status(model, node, trial, solution, wound, lost),
        converged=converged,
        iterations=solution.iterations,
        residual=jax.lax.stop_gradient(solution.error),
        kappa=kappa,
        contacts=_contacts(model, node, trial, x),
        limit_impulse=x.gamma[nc:],
        grad_converged=converged,
    )
    return State(q=q, v=v), info


def _status(
    model: Model, node: Node, trial: Trial, solution: Solution, wound: Array, lost: Array
) -> Array:
    largest = jnp.max(turned_angle(trial.interval.turn), initial=0.0)
    # An iterate that failed may stand anywhere: ask also where the step would lead unhindered.
    largest = jnp.maximum(largest, mechanics.free_turn(model, node))
    failure = jnp.where(largest > 1.0, Status.STEP_TOO_LARGE, Status.MAX_ITERATIONS)
    failure = jnp.where(solution.finite, failure, Status.NONFINITE)
    status = jnp.where(solution.converged, Status.CONVERGED, failure)
    status = jnp.where(wound & solution.finite, Status.STEP_TOO_LARGE, status)
    return jnp.where(lost, Status.NONFINITE, status).astype(jnp.int32)


def _contacts(model: Model, node: Node, trial: Trial, x: Point) -> Contacts:
    nc = model.topology.nc
    friction = mechanics.padded(x.b, nc)
    impulse = jnp.concatenate([x.gamma[None, :nc], friction]) * node.weight
    return Contacts(
        gap=trial.touch.gap,
        impulse=impulse.T,
        point=node.point.T,
        frame=jnp.moveaxis(node.contacts.frame, -1, 0).swapaxes(1, 2),
        geoms=jnp.asarray(contact_geoms(model.topology)),
    )


def _scales(model: Model, node: Node) -> Scales:
    """Momentum, length and speed of a step, and their rounding noise."""
    h, eps = model.timestep, float(jnp.finfo(model.dtype).eps)
    gravity = safe_norm(model.gravity)
    # A tenth: light links that the diagonal inertia lets run away are held by their chain.
    driven = 0.1 * jnp.max(jnp.abs(node.impulse.constant) / jnp.diagonal(node.mass), initial=0.0)
    speed = h * gravity + jnp.max(jnp.abs(node.v), initial=0.0) + driven
    momentum = jnp.max(jnp.abs(node.momentum)) + jnp.max(jnp.abs(node.impulse.constant))
    extent = jnp.max(jnp.abs(node.frames.pos)) + jnp.max(model.geom_size, initial=0.1)
    mass = jnp.sum(model.link_mass)
    scales = Scales(
        balance=momentum + 1e-6 * mass,
        gap=h * speed + 1e-6,
        slip=speed + 1e-6,
        balance_noise=16 * eps * mass * extent * (extent + 1) / h,
        gap_noise=16 * eps * extent,
        slip_noise=16 * eps * speed * (extent + 1),
    )
    return jax.tree.map(jax.lax.stop_gradient, scales)


class StepTangent(NamedTuple):
    """Derivative of the step's rows at one trial velocity."""

    problem: "StepProblem"
    derivative: Derivative

    def rates(self, dv: Array) -> tuple[Array, Array]:
        return mechanics.rates(self.problem.model, self.problem.node, self.derivative, dv)

    def condensed(self, weights: Weights) -> Array:
        return mechanics.condensed(self.problem.model, self.problem.node, self.derivative, *weights)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class StepProblem:
    """The complementarity problem of one step, as the solver wants it."""

    model: Model
    node: Node
    mu: Array
    scales: Scales

    @classmethod
    def build(cls, inputs: Inputs) -> "StepProblem":
        """The problem of a step with these inputs."""
        node = mechanics.prepare(*inputs)
        return cls(inputs.model, node, node.contacts.friction, _scales(inputs.model, node))

    def rows(self, v: Array) -> Rows:
        return self._rows(v, mechanics.move(self.model, self.node, v))

    def _rows(self, v: Array, trial: Trial) -> Rows:
        zero = jnp.zeros_like(self.node.target), jnp.zeros((2, self.mu.shape[0]), v.dtype)
        return Rows(
            balance=mechanics.balance(self.model, self.node, trial, v, *zero),
            gap=mechanics.gaps(self.model, self.node, trial),
            slip=mechanics.slip(self.model, self.node, v),
        )

    def linearize(self, v: Array) -> tuple[Rows, StepTangent]:
        trial = mechanics.move(self.model, self.node, v)
        derivative = mechanics.differentiate(self.model, self.node, trial, v)
        return self._rows(v, trial), StepTangent(self, derivative)

    def pull(self, gamma: Array, b: Array) -> Array:
        return mechanics.pull(self.model, self.node, gamma, b)

    def radius(self, gamma: Array) -> Array:
        return self.mu * gamma[: self.mu.shape[0]]

    def radius_rate(self, dgamma: Array) -> Array:
        return self.mu * dgamma[: self.mu.shape[0]]

    def start(self) -> Array:
        return jax.lax.stop_gradient(self.node.v)

    def centered(self, v: Array, rows: Rows, factor: Array, kappa: Array) -> Point:
        """All products of a kind equal, their size that of this step's momentum and motion."""
        s = self.scales
        length = s.gap * factor
        slack = jnp.maximum(rows.gap, length)
        gamma = jnp.maximum(s.balance * length, kappa) / slack
        radius = self.radius(gamma)
        psi = jnp.sqrt(dot(rows.slip, rows.slip) + (s.slip * factor + kappa / radius) ** 2)
        b = -0.5 * radius * rows.slip / psi
        point = Point(v=v, gamma=gamma, slack=slack, b=b, psi=psi, eta=rows.slip)
        return jax.tree.map(jax.lax.stop_gradient, point)
