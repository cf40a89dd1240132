"""The model: a frozen pytree of differentiable parameters over a static topology."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dojo.model.errors import ModelError, close_matches
from dojo.model.topology import JointKind, Topology


@dataclasses.dataclass(frozen=True)
class Joint:
    """Where a joint is."""

    index: int  # in the topology's tables, and of the link that it moves
    kind: JointKind
    q: slice  # of q
    v: slice  # of v


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A robot and its surroundings.

    Every array field is a differentiable parameter that `replace` accepts; `topology` is static.
    Counts: nl links (one joint each), nq, nv, nu, na activations, nmocap mocap bodies, ng geoms,
    nt tendons.
    """

    topology: Topology = dataclasses.field(metadata={"static": True})
    timestep: Array  # () [s]
    gravity: Array  # (3,) [m/s2], world
    link_mass: Array  # (nl,) [kg]
    link_com: Array  # (nl, 3) [m], centre of mass in the link frame
    link_inertia: Array  # (nl, 3, 3) [kg m2], about the centre of mass, link axes
    link_gravcomp: Array  # (nl,) share of the weight that is carried at the centre of mass
    link_pos: Array  # (nl, 3) [m], joint frame at rest in the parent link
    link_quat: Array  # (nl, 4), its orientation
    joint_axis: Array  # (nl, 3) unit axis of hinge and slide, link frame
    joint_anchor: Array  # (nl, 3) [m] hinge and ball centre, link frame
    joint_ref: Array  # (nl,) [rad or m] value of q at rest, hinge and slide
    joint_range: Array  # (k, 2) [rad or m], see topology.limited
    ball_range: Array  # (k,) [rad] largest angle, see topology.limited_balls
    joint_force_range: Array  # (k, 2) [N m or N], see topology.force_limited_joints
    joint_stiffness: Array  # (nl,) [N m/rad or N/m]
    spring_ref: Array  # (nq,) configuration of the relaxed springs
    dof_damping: Array  # (nv,) [N m s/rad or N s/m]
    dof_armature: Array  # (nv,) [kg m2 or kg]
    dof_frictionloss: Array  # (nv,) [N m or N] dry friction, zero but for topology.dry_dofs
    # Of the frames that equality constraints join, see topology.equalities: in the first link, in
    # the second.
    equality_pos: Array  # (n, 2, 3) [m]
    equality_quat: Array  # (n, 2, 4)
    # Couplings: of two sums of joint positions l = coefficients . q - offset, the first is a
    # polynomial of the second, lowest power first.
    coupling_coefficients: Array  # (k, 2, nv), zero but for hinges and slides
    coupling_offset: Array  # (k, 2) [rad or m]
    coupling_polynomial: Array  # (k, 5)
    geom_pos: Array  # (ng, 3) [m], in the link (or world) frame
    geom_quat: Array  # (ng, 4)
    geom_size: Array  # (ng, 3) [m], MuJoCo's conventions
    geom_friction: Array  # (ng,) sliding friction coefficient
    geom_spin_friction: Array  # (ng, 2) [m] torsional and rolling friction coefficients
    geom_restitution: Array  # (ng,) Newton's coefficient, 0 to 1; zero unless topology.restitution
    geom_margin: Array  # (ng,) [m] distance it keeps from others; zero unless topology.margins
    pair_friction: Array  # (npair, 5) of explicit pairs: sliding 2, torsional, rolling 2 [m]
    pair_margin: Array  # (npair,) [m] likewise, of explicit pairs
    mesh_vertices: Array  # (k, 3) [m], hull corners that collide, in their geom's frame
    hfield_heights: Array  # (k,) [m] of the points of height fields, see topology.geom_hfield
    # Tendons: sums of hinge and slide positions, and paths (topology.tendon_paths).
    tendon_coefficients: Array  # (nt, nv), zero but for hinges and slides
    tendon_point_pos: Array  # (p, 3) [m] points of paths, in their links
    tendon_range: Array  # (k, 2) [m], see topology.limited_tendons
    tendon_stiffness: Array  # (nt,) [N/m]
    tendon_springlength: Array  # (nt, 2) [m] lengths between which the spring is slack
    tendon_damping: Array  # (nt,) [N s/m]
    actuator_gear: Array  # (nu, 6), the first for joints and tendons; force and torque at sites
    actuator_pos: Array  # (nu, 3) [m] of the site in its link
    actuator_quat: Array  # (nu, 4) its orientation
    actuator_gain: Array  # (nu, 3) force per unit of control: constant, per length, per velocity
    actuator_bias: Array  # (nu, 3) force: likewise
    actuator_ctrl_range: Array  # (nu, 2), zero where unlimited
    actuator_force_range: Array  # (nu, 2), zero where unlimited
    # Of actuators with a memory, see topology.activations.
    activation_timeconst: Array  # (na,) [s] of filters
    activation_range: Array  # (na, 2), zero where unlimited
    # The medium that bodies move in, each a box to it, see topology.fluid_link; its drag.
    fluid_density: Array  # () [kg/m3]
    fluid_viscosity: Array  # () [Pa s]
    fluid_wind: Array  # (3,) [m/s], world
    fluid_box: Array  # (k, 3) [m] sides
    fluid_pos: Array  # (k, 3) [m] centre in the link
    fluid_quat: Array  # (k, 4)
    # Of the named frames, see topology.frame_names.
    frame_pos: Array  # (nf, 3) [m] in the link (or world) frame
    frame_quat: Array  # (nf, 4)
    # Frames that sensors are at, and that they measure in: see topology.sensors.
    sensor_pos: Array  # (k, 3) [m] in the link (or world) frame
    sensor_quat: Array  # (k, 4)
    q_rest: Array  # (nq,) the file's rest configuration

    @property
    def nq(self) -> int:
        """Size of the configuration q."""
        return int(self.topology.q_start[-1])

    @property
    def nv(self) -> int:
        """Degrees of freedom."""
        return int(self.topology.v_start[-1])

    @property
    def nu(self) -> int:
        """Number of controls."""
        return len(self.topology.actuator_names)

    @property
    def na(self) -> int:
        """Number of activations, of actuators with a memory."""
        return len(self.topology.activations)

    @property
    def nmocap(self) -> int:
        """Number of mocap bodies: the last links, whose poses are the last entries of q."""
        return len(self.topology.joints_of("mocap"))

    @property
    def dtype(self) -> np.dtype:
        """Float type of the parameters, and of the states it simulates."""
        return np.dtype(self.link_mass.dtype)

    def joint(self, name: str) -> Joint:
        """Where a joint's position and velocity lie: `state.q[model.joint("knee").q]`.

        Raises:
            ModelError: no such joint; names those that are close.
        """
        t = self.topology
        i = _index("joint", name, t.joint_names)
        q, v = (slice(int(s[i]), int(s[i + 1])) for s in (t.q_start, t.v_start))
        return Joint(i, t.joint_kind[i], q, v)

    def mocap(self, name: str) -> int:
        """Index of a mocap body, in the `mocap` that `dojo.step` takes; errors as `joint`.

        Where its pose lies in q: `model.joint(name + "/mocap").q`.
        """
        t = self.topology
        return _index("mocap body", name, tuple(t.link_names[i] for i in t.joints_of("mocap")))

    def link(self, name: str) -> int:
        """Index of a link, in `link_mass`, wrenches and `forward_kinematics`; errors as `joint`."""
        return _index("link", name, self.topology.link_names)

    def geom(self, name: str) -> int:
        """Index of a geom, in `geom_friction` and `info.contacts.geoms`; errors as `joint`."""
        return _index("geom", name, self.topology.geom_names)

    def actuator(self, name: str) -> int:
        """Index of an actuator, in u; errors as `joint`."""
        return _index("actuator", name, self.topology.actuator_names)

    def tendon(self, name: str) -> int:
        """Index of a tendon, in `tendon_stiffness`; errors as `joint`."""
        return _index("tendon", name, self.topology.tendon_names)

    def frame(self, name: str) -> int:
        """Index of a body's or a site's frame, in `dojo.frame_poses`; errors as `joint`.

        Bodies that are fixed to others keep theirs.
        """
        return _index("frame", name, self.topology.frame_names)

    def sensor(self, name: str) -> slice:
        """Where the numbers of a sensor are in `dojo.sensor_data`; errors as `joint`."""
        t = self.topology
        i = _index("sensor", name, tuple(sensor.name for sensor in t.sensors))
        return slice(int(t.sensor_start[i]), int(t.sensor_start[i + 1]))

    def report(self) -> str:
        """What was ignored, approximated or merged in reading the file, a line each."""
        notes = [f"  {note}" for note in self.topology.notes]
        return "\n".join([repr(self), *notes])

    def replace(self, **changes: Any) -> "Model":
        """A model with some parameters exchanged; shapes must match, scalars broadcast.

        Raises:
            ModelError: unknown name, wrong shape, NaN, a timestep, mass, size or restitution out
                of range, dry friction in a joint, restitution or margins in a model that was
                loaded without (concrete values only; traced values pass unchecked, and such dry
                friction, restitution or margins have no effect).
        """
        fields = parameter_names()
        checked: dict[str, Any] = {}
        for name, value in changes.items():
            if name not in fields:
                raise ModelError(
                    f"Model.replace({name}=...): no such parameter."
                    f"{close_matches(name, fields)} Parameters: {', '.join(fields)}."
                )
            checked[name] = _checked(name, value, getattr(self, name))
        if "dof_frictionloss" in checked:
            _check_dry_dofs(self.topology, checked["dof_frictionloss"])
        for name in _SWITCHED.keys() & checked.keys():
            _check_switched_on(self.topology, name, checked[name])
        return dataclasses.replace(self, **checked)

    def __repr__(self) -> str:
        t = self.topology
        return (
            f"Model({t.source!r}: {t.nl} links, nq={self.nq}, nv={self.nv}, nu={self.nu}, "
            f"{t.nc} contact candidates, {self.dtype.name})"
        )


def _index(kind: str, name: str, names: tuple[str, ...]) -> int:
    if name not in names:
        known = ", ".join(names) or "none"
        raise ModelError(
            f"no {kind} {name!r}.{close_matches(name, names)} Names of {kind}s: {known}."
        )
    return names.index(name)


def parameter_names() -> tuple[str, ...]:
    """The names that `Model.replace` accepts."""
    return tuple(f.name for f in dataclasses.fields(Model) if f.name != "topology")


_POSITIVE = ("timestep", "ball_range")
_NOT_NEGATIVE = (
    "link_mass",
    "geom_size",
    "geom_friction",
    "geom_spin_friction",
    "pair_friction",
    "dof_damping",
    "dof_armature",
    "dof_frictionloss",
    "tendon_stiffness",
    "tendon_damping",
    "activation_timeconst",
    "fluid_density",
    "fluid_viscosity",
    "fluid_box",
)
_SHARE = ("geom_restitution",)
_WITH_MARGINS = 'Give a geom that collides a margin in the file, e.g. <geom margin="1e-3"/>.'
# Parameters that count if the topology says so, and what makes it say so.
_SWITCHED = {
    "geom_restitution": ("restitution", "Load it with some, e.g. dojo.load(..., restitution=0.5)."),
    "geom_margin": ("margins", _WITH_MARGINS),
    "pair_margin": ("margins", _WITH_MARGINS),
}


def _checked(name: str, value: Any, current: Array) -> Array:
    array = jnp.asarray(value, current.dtype)
    if array.shape != current.shape:
        if array.ndim:
            raise ModelError(
                f"Model.replace({name}=...): shape {array.shape}, expected {current.shape}."
            )
        array = jnp.broadcast_to(array, current.shape)
    if not isinstance(array, jax.core.Tracer):
        check_values(name, np.asarray(array))
    return array


def _check_dry_dofs(topology: Topology, frictionloss: Array) -> None:
    """Which degrees of freedom have a friction cone is decided at load."""
    if isinstance(frictionloss, jax.core.Tracer):
        return
    others = np.delete(np.arange(len(frictionloss)), topology.dry_dofs)
    changed = others[np.asarray(frictionloss)[others] != 0]
    if len(changed):
        raise ModelError(
            f"Model.replace(dof_frictionloss=...): entry {changed[0]}, joint "
            f"{topology.v_names[changed[0]]}, would have no effect: the joint was loaded without "
            "dry friction. Give it a frictionloss in the file, e.g. 0.01, or set the entry to 0."
        )


def _check_switched_on(topology: Topology, name: str, value: Array) -> None:
    """Whether a step has these terms at all is decided at load."""
    switch, remedy = _SWITCHED[name]
    if getattr(topology, switch) or isinstance(value, jax.core.Tracer):
        return
    if np.any(np.asarray(value)):
        raise ModelError(
            f"Model.replace({name}=...): would have no effect, the model was loaded without "
            f"{switch}. {remedy}"
        )


def check_values(name: str, values: np.ndarray) -> None:
    """Refuse parameter values no physics can use."""
    if not np.isfinite(values).all():
        raise ModelError(f"Parameter {name}: holds a NaN or an infinity.")
    if name in _POSITIVE and not (values > 0).all():
        raise ModelError(f"Parameter {name} = {values}: must be positive, e.g. 0.01.")
    if name in _NOT_NEGATIVE and (values < 0).any():
        raise ModelError(f"Parameter {name}: entry {int(values.argmin())} is negative.")
    if name == "ball_range" and (values > np.pi).any():
        raise ModelError(f"Parameter {name} = {values}: no ball is turned by more than pi.")
    if name in _SHARE and ((values < 0) | (values > 1)).any():
        entry = int(np.argmax((values < 0) | (values > 1)))
        raise ModelError(
            f"Parameter {name}: entry {entry} is {values.ravel()[entry]:g}, must be within 0 (no "
            "bounce) and 1 (no loss)."
        )
