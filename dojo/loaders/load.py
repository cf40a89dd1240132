"""`load`: the way from a file to a Model."""

from collections.abc import Collection, Sequence
from typing import Any

import jax.numpy as jnp
import mujoco
import numpy as np
from jax.typing import DTypeLike

from dojo.loaders.actuators import ReadActuators, read_actuators
from dojo.loaders.contacts import OverlappingLinks, read_contacts
from dojo.loaders.decomposition import Decompose, decomposed
from dojo.loaders.equality import read_equalities
from dojo.loaders.findings import Findings, normalize_ignore
from dojo.loaders.fluid import read_fluid
from dojo.loaders.frames import read_frames
from dojo.loaders.geoms import read_geoms
from dojo.loaders.limits import read_limits
from dojo.loaders.links import check_mass_matrix, read_links
from dojo.loaders.restitution import Restitution, read_restitution
from dojo.loaders.scene import Part, read_scene
from dojo.loaders.sensors import read_sensors
from dojo.loaders.source import Source, compiled, read_source, source_text
from dojo.loaders.tendons import read_tendons
from dojo.loaders.unsupported import disabled, find_unsupported
from dojo.loaders.urdf import Asked, Root
from dojo.model.errors import ModelError
from dojo.model.model import Model, check_values
from dojo.model.topology import Keyframe, Topology


def load(
    source: Source | Sequence[Source | Part],
    timestep: float | None = None,
    *,
    ignore: str | Collection[str] = (),
    dtype: DTypeLike | None = None,
    restitution: Restitution | None = None,
    contact_budget: int | None = None,
    decompose: Decompose = (),
    root: Root | None = None,
    repair_inertia: bool = False,
    motors: bool = False,
    overlapping_links: OverlappingLinks = "exclude",
) -> Model:
    """Load a robot from an MJCF or URDF file, an XML string, or a `mujoco.MjSpec`.

    Args:
        source: path of the file, the XML itself, or a `mujoco.MjSpec`. A list of these and of
            `dojo.Part` is one scene: the first is the world, whose options hold, and the parts
            stand in it.
        timestep: [s]; default: the file's.
        ignore: unsupported features to simulate without, by the names the error gives, or "all".
        dtype: float32 or float64; default: JAX's default float (float64 with jax_enable_x64).
        restitution: Newton's coefficient, 0 to 1, of all geoms, or {geom name: coefficient};
            default: that of a URDF's links, else 0.
        contact_budget: candidates for contact between bodies, of each kind, that a step considers
            at most, the nearest ones; `info.contacts.overflow` tells when more may touch. Default:
            four for each link, at least 32.
        decompose: mesh geoms to split into convex pieces where they collide, by name, or "all", or
            {geom name: concavity left to each piece, 0.01 to 1 of the mesh's size; default 0.05}.
            Needs coacd (`pip install 'dojo-sim[decomposition]'`). Other meshes collide by their
            convex hull; a note names those that are not convex.
        root: of a URDF, whether its root link is "fixed" to the world or "floating"; default: it
            floats if it, or what is fixed to it, has inertia and it is not called world; a note
            says so.
        repair_inertia: of a URDF, whether inertias that no body can have become the nearest ones
            that one can.
        motors: of a URDF, whether its joints get motors: those of its transmissions, or if it has
            none, all that move, named like them; controls are torques and forces, and end at the
            joints' efforts, where these are positive.
        overlapping_links: of one robot, that overlap by over 0.1 mm where the file puts them, as
            neighbours and hulls often do: "exclude", they do not touch each other, a note names
            them; or "collide" all the same, as what a <pair> names does anyway.

    Raises:
        ModelError: the file is missing, malformed or unphysical; says what to change.
        UnsupportedFeature: the file uses what the engine does not simulate yet.
        ValueError: an argument that is none of those above.
    """
    found = Findings(normalize_ignore(ignore))
    spec, name, text = _read(source, Asked(root, repair_inertia, motors), found)
    m = _compiled(spec, name, decompose, found)
    find_unsupported(m, found)
    links = read_links(m, found)
    geoms = read_geoms(m, links, found)
    equalities, equality_parameters = read_equalities(m, links, found)
    tendons = read_tendons(m, links, geoms, name, found)
    actuators = read_actuators(m, links, tendons, found)
    fluid = read_fluid(m, links, found)
    frame_names, frame_link, frame_parameters = read_frames(m, links)
    sensors = read_sensors(m, links, geoms, tendons, actuators, found)
    budget = _budget(contact_budget, len(links.kinds))
    contacts, hulls, contact_parameters = read_contacts(m, geoms, budget, overlapping_links, found)
    bounce = read_restitution(m, geoms, text, restitution, found)
    found.raise_if_unsupported(name)
    limits = read_limits(m, name)
    dry_dofs = np.flatnonzero(links.parameters["dof_frictionloss"])
    topology = Topology(
        parent=links.parent,
        joint_kind=links.kinds,
        link_names=links.link_names,
        joint_names=links.joint_names,
        limited=limits.joints,
        force_limited_joints=limits.force_limited,
        dry_dofs=dry_dofs,
        equalities=equalities,
        tendon_names=tendons.names,
        limited_tendons=tendons.limited,
        limited_balls=limits.balls,
        tendon_paths=tendons.paths,
        tendon_dofs=tendons.dofs,
        actuators=actuators.table,
        actuator_names=actuators.names,
        activations=actuators.activations,
        fluid_link=fluid.link,
        frame_names=frame_names,
        frame_link=frame_link,
        sensors=sensors.table,
        sensor_link=sensors.link,
        magnetic_field=tuple(float(x) for x in m.opt.magnetic),
        geom_kind=geoms.kinds,
        geom_names=geoms.names,
        geom_link=geoms.link,
        geom_rgba=geoms.rgba,
        geom_group=geoms.group,
        geom_mesh=geoms.mesh,
        geom_hull=hulls,
        geom_hfield=geoms.hfield,
        contacts=contacts,
        restitution=bool(np.any(bounce)),
        margins=bool(np.any(m.pair_margin) or np.any(geoms.parameters["geom_margin"])),
        keyframes=_keyframes(m, actuators),
        notes=tuple(found.notes),
        source=name,
    )
    gravity_off = disabled(m, mujoco.mjtDisableBit.mjDSBL_GRAVITY)
    parameters = {
        "timestep": m.opt.timestep if timestep is None else timestep,
        "gravity": np.zeros(3) if gravity_off else m.opt.gravity.copy(),
        **links.parameters,
        **geoms.parameters,
        **equality_parameters,
        **tendons.parameters,
        **actuators.parameters,
        **contact_parameters,
        **fluid.parameters,
        **frame_parameters,
        **sensors.parameters,
        "geom_restitution": bounce,
        **limits.parameters,
    }
    return _model(topology, parameters, dtype)


def _read(
    source: Source | Sequence[Source | Part], asked: Asked, found: Findings
) -> tuple[mujoco.MjSpec, str, str]:
    """MuJoCo's editable form of a file or a scene, a name for messages, and the file's text."""
    if isinstance(source, Sequence) and not isinstance(source, str):
        if asked != Asked(None, False, False):
            raise ValueError(
                "load([...]): root, repair_inertia and motors are those of a part: "
                "dojo.Part('arm.urdf', root='fixed')."
            )
        return *read_scene(source, found), ""
    return *read_source(source, asked, found), source_text(source)


def _compiled(
    spec: mujoco.MjSpec, name: str, decompose: Decompose, found: Findings
) -> mujoco.MjModel:
    """MuJoCo's compiled model of something that moves and has mass."""
    m = compiled(spec, name)
    if decompose:
        m = decomposed(spec, m, decompose, name, found)
    if m.njnt == 0:
        raise ModelError(
            f"{name}: nothing moves, the file has no joints. Add one (in MJCF <freejoint/>) to the "
            "body that should move; of a URDF, let the root float: dojo.load(..., root='floating')."
        )
    check_mass_matrix(m, name)
    return m


def _budget(asked: int | None, links: int) -> int:
    budget = max(32, 4 * links) if asked is None else asked
    if budget < 1:
        raise ValueError(f"load(contact_budget={budget}): must be positive, or None.")
    return budget


def _model(topology: Topology, parameters: dict[str, Any], dtype: DTypeLike | None) -> Model:
    kind = jnp.zeros((), dtype).dtype if dtype is not None else jnp.zeros(()).dtype
    if kind.name not in ("float32", "float64"):
        raise ValueError(f"load(dtype={kind.name}): must be float32 or float64.")
    for name, values in parameters.items():
        try:
            check_values(name, np.asarray(values, dtype=float))
        except ModelError as error:
            raise ModelError(f"{topology.source}: {error}") from None
    arrays = {name: jnp.asarray(np.asarray(values), kind) for name, values in parameters.items()}
    return Model(topology=topology, **arrays)


def _keyframes(m: mujoco.MjModel, actuators: ReadActuators) -> tuple[Keyframe, ...]:
    frames = []
    act_of = m.actuator_actadr[actuators.index[actuators.activations.actuator]]
    for k in range(m.nkey):
        name = mujoco.mj_id2name(m, mujoco.mjtObj.mjOBJ_KEY, k) or f"key{k}"
        ctrl, act = m.key_ctrl[k][actuators.control], m.key_act[k][act_of]
        places, turns = m.key_mpos[k].reshape(-1, 3), m.key_mquat[k].reshape(-1, 4)
        mocap = np.concatenate([places, turns], axis=1).ravel()
        parts = (np.concatenate([m.key_qpos[k], mocap]), m.key_qvel[k], ctrl, act)
        frames.append(Keyframe(name, *(tuple(float(x) for x in part) for part in parts)))
    return tuple(frames)
