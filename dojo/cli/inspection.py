"""`dojo inspect`: what a file holds, and what of it is not simulated."""

import argparse

import numpy as np

from dojo.loaders.load import load
from dojo.model.errors import UnsupportedFeature
from dojo.model.model import Model


def run(args: argparse.Namespace) -> int:
    """Print the listing; exit code 1 if something is not supported."""
    refused = ""
    try:
        model = load(args.file, ignore=args.ignore)
    except UnsupportedFeature as error:
        refused = str(error)
        model = load(args.file, ignore="all")
    print("\n".join([*summary(model), *links(model), *geoms(model), *actuators(model)]))
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
    lines = [
        "\nLinks                          joint                  kind    parent      mass [kg]"
    ]
    for i, kind in enumerate(t.joint_kind):
        parent = t.link_names[t.parent[i]] if t.parent[i] >= 0 else "world"
        limit = f"  range [{ranges[i][0]:.3g}, {ranges[i][1]:.3g}]" if i in ranges else ""
        lines.append(
            f"  {t.link_names[i]:28s} {t.joint_names[i]:22s} {kind:7s} {parent:12s}"
            f"{float(model.link_mass[i]):8.4g}{limit}"
        )
    return lines


def geoms(model: Model) -> list[str]:
    """Geoms, and which of them can touch something."""
    t = model.topology
    touching = {int(g) for group in t.contacts for g in (*group.first, *group.second)}
    lines = ["\nGeoms                          kind        link                   collides"]
    for g, kind in enumerate(t.geom_kind):
        link = t.link_names[t.geom_link[g]] if t.geom_link[g] >= 0 else "world"
        lines.append(
            f"  {t.geom_names[g]:28s} {kind:11s} {link:22s} {'yes' if g in touching else 'no'}"
        )
    return lines


def actuators(model: Model) -> list[str]:
    """Actuators with their joints and ranges."""
    t = model.topology
    lines = ["\nActuators                      joint                  gear     control range"]
    for i, name in enumerate(t.actuator_names):
        low, high = np.asarray(model.actuator_ctrl_range[i])
        limit = f"[{low:g}, {high:g}]" if t.actuators.ctrl_limited[i] else "unlimited"
        joint = t.joint_names[t.actuators.joint[i]]
        lines.append(f"  {name:28s} {joint:22s} {float(model.actuator_gear[i]):<8g} {limit}")
    return lines if model.nu else ["\nActuators: none"]
