"""`dojo inspect`: what a file holds, and what of it is not simulated."""

import argparse

import numpy as np

from dojo.loaders.load import load
from dojo.model.errors import UnsupportedFeature
from dojo.model.model import Model


def run(args: argparse.Namespace) -> int:
    """Print the listing; exit code 1 if something is not supported."""
    refused = ""
    options = {
        "root": args.root,
        "repair_inertia": args.repair_inertia,
        "motors": args.motors,
        "overlapping_links": args.overlapping_links,
    }
    try:
        model = load(args.file, ignore=args.ignore, **options)
    except UnsupportedFeature as error:
        refused = str(error)
        model = load(args.file, ignore="all", **options)
    parts = summary, links, equalities, tendons, geoms, actuators, sensors
    print("\n".join(line for part in parts for line in part(model)))
    print("\nNotes")
    for note in model.topology.notes:
        print(f"  {note}")
    if refused:
        print(f"\nNot supported\n  {refused}")
    return 1 if refused else 0


def summary(model: Model) -> list[str]:
    """Counts and options."""
    t = model.topology
    mass = float(np.sum(np.asarray(model.link_mass)))
    return [
        f"{t.source}",
        f"  nq {model.nq}, nv {model.nv}, nu {model.nu}, {t.nl} links, {mass:.4g} kg",
        f"  timestep {float(model.timestep):g} s, gravity {np.asarray(model.gravity)} m/s2",
        f"  {t.nc} contact candidates, {t.nc_friction} of them with friction",
        f"  keyframes: {', '.join(k.name for k in t.keyframes) or 'none'}",
    ]


def links(model: Model) -> list[str]:
    """Links and their joints."""
    t = model.topology
    ranges = {int(j): np.asarray(model.joint_range[k]) for k, j in enumerate(t.limited)}
    angles = np.asarray(model.ball_range)
    ranges |= {int(j): np.array([0.0, angles[k]]) for k, j in enumerate(t.limited_balls)}
    lines = [
        "\nLinks                          joint                  kind    parent      mass [kg]"
    ]
    for i, kind in enumerate(t.joint_kind):
        limit = f"  range [{ranges[i][0]:.3g}, {ranges[i][1]:.3g}]" if i in ranges else ""
        lines.append(
            f"  {t.link_names[i]:28s} {t.joint_names[i]:22s} {kind:7s} "
            f"{_link(model, t.parent[i]):12s}{float(model.link_mass[i]):8.4g}{limit}"
        )
    return lines


def equalities(model: Model) -> list[str]:
    """Equality constraints, and the links that they join."""
    t = model.topology
    if not t.ne:
        return []
    lines = ["\nEquality constraints           kind        of"]
    linked = zip(t.equalities.first, t.equalities.second, t.equalities.welded, strict=True)
    ends = [(_link(model, a), _link(model, b), "weld" if w else "connect") for a, b, w in linked]
    for name, (first, second, kind) in zip(t.equalities.names, ends, strict=False):
        lines.append(f"  {name:28s} {kind:11s} {first}, {second}")
    rows = np.asarray(model.coupling_coefficients)
    for name, row in zip(t.equalities.names[len(ends) :], rows, strict=True):
        dofs = np.flatnonzero(row.any(axis=0))
        lines.append(f"  {name:28s} {'coupling':11s} {', '.join(t.v_names[d] for d in dofs)}")
    return lines


def tendons(model: Model) -> list[str]:
    """Tendons with their joints and limits."""
    t = model.topology
    ranges = dict(zip(t.limited_tendons.tolist(), np.asarray(model.tendon_range), strict=True))
    if not t.tendon_names:
        return []
    lines = ["\nTendons                        joints, or the links that a path joins"]
    for k, (name, row) in enumerate(zip(t.tendon_names, model.tendon_coefficients, strict=True)):
        limit = f"  range [{ranges[k][0]:.3g}, {ranges[k][1]:.3g}]" if k in ranges else ""
        parts = [f"{float(row[d]):+g} {t.v_names[d]}" for d in np.flatnonzero(row)]
        parts += _path(model, k)
        lines.append(f"  {name:28s} {' '.join(parts)}{limit}")
    return lines


def _path(model: Model, tendon: int) -> list[str]:
    """The links that carry the points of a spatial tendon, each once."""
    paths = model.topology.tendon_paths
    pieces = np.flatnonzero(paths.shares[tendon])
    points = np.stack([paths.first[pieces], paths.second[pieces]], axis=1).ravel()
    return list(dict.fromkeys(_link(model, paths.point_link[p]) for p in points))


def geoms(model: Model) -> list[str]:
    """Geoms, and which of them can touch something."""
    t = model.topology
    touching = {int(g) for group in t.contacts for g in (*group.first, *group.second)}
    lines = ["\nGeoms                          kind        link                   collides"]
    for g, kind in enumerate(t.geom_kind):
        collides = "yes" if g in touching else "no"
        lines.append(
            f"  {t.geom_names[g]:28s} {kind:11s} {_link(model, t.geom_link[g]):22s} {collides}"
        )
    return lines


def actuators(model: Model) -> list[str]:
    """Actuators with their joints and ranges."""
    t = model.topology
    lines = ["\nActuators                      acts on                gear     control range"]
    for i, name in enumerate(t.actuator_names):
        low, high = np.asarray(model.actuator_ctrl_range[i])
        limit = f"[{low:g}, {high:g}]" if t.actuators.ctrl_limited[i] else "unlimited"
        gear = np.asarray(model.actuator_gear[i])
        shown = ",".join(f"{g:g}" for g in gear[: 1 + int(np.flatnonzero(gear).max(initial=0))])
        memory = ", with activation" if i in t.activations.actuator else ""
        lines.append(f"  {name:28s} {_driven(model, i):22s} {shown:8s} {limit}{memory}")
    return lines if model.nu else ["\nActuators: none"]


def sensors(model: Model) -> list[str]:
    """Sensors, what they measure, and how many numbers they give."""
    lines = ["\nSensors                        measures                numbers"]
    lines += [f"  {s.name:28s} {s.kind:23s} {s.size}" for s in model.topology.sensors]
    return lines if len(lines) > 1 else []


def _driven(model: Model, i: int) -> str:
    """What an actuator acts on."""
    t, a = model.topology, model.topology.actuators
    if a.joint[i] >= 0:
        return t.joint_names[a.joint[i]]
    if a.tendon[i] >= 0:
        return f"tendon {t.tendon_names[a.tendon[i]]}"
    return f"site on {_link(model, a.site_link[i])}"


def _link(model: Model, index: int) -> str:
    """Name of a link, or of the world."""
    return model.topology.link_names[index] if index >= 0 else "world"
