"""Restitution of the geoms: what the caller asks for, or what a URDF file says.

URDF files write it as <link><contact><restitution value="0.5"/></contact></link> (a convention of
Bullet), which MuJoCo's compiler drops. MJCF has none; ours is a custom tuple of geoms:

<custom><tuple name="restitution"> <element objtype="geom" objname="ball" prm="0.5"/> </tuple>
</custom>
"""

from collections.abc import Mapping

import mujoco
import numpy as np

from dojo.loaders.findings import Findings
from dojo.loaders.geoms import Geoms
from dojo.loaders.names import body_name, element_name
from dojo.loaders.urdf import is_urdf, parsed
from dojo.model.errors import ModelError, close_matches

# The tuple's name.
CUSTOM = "restitution"

Restitution = float | Mapping[str, float]


def read_restitution(
    m: mujoco.MjModel, geoms: Geoms, text: str, asked: Restitution | None, found: Findings
) -> np.ndarray:
    """Newton's coefficient of each geom, (ng,).

    Raises:
        ModelError: an unknown geom, or a value that is not a number.
    """
    if asked is None:
        return _of_links(m, geoms, _urdf_links(text), found) + _of_tuple(m, geoms)
    if not isinstance(asked, Mapping):
        return np.full(len(geoms.names), _number("restitution", asked))
    for name in asked:
        if name not in geoms.names:
            raise ModelError(
                f"load(restitution={{{name!r}: ...}}): no such geom."
                f"{close_matches(name, geoms.names)} Geoms: {', '.join(geoms.names)}."
            )
    values = {name: _number(f"restitution of {name}", value) for name, value in asked.items()}
    return np.array([values.get(name, 0.0) for name in geoms.names])


def _number(what: str, value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ModelError(f"{what}: {value!r} is not a number, e.g. 0.5.") from None


def _urdf_links(text: str) -> dict[str, float]:
    """Restitution of the links of a URDF file that have one."""
    if "<restitution" not in text:
        return {}
    links = parsed(text, "URDF").iterfind("link") if is_urdf(text) else ()
    tags = [(link.get("name", ""), link.find("contact/restitution")) for link in links]
    return {
        name: _number(f"restitution of link {name}", tag.get("value"))
        for name, tag in tags
        if tag is not None
    }


def _of_tuple(m: mujoco.MjModel, geoms: Geoms) -> np.ndarray:
    """What the file's own tuples give, (ng,)."""
    values = np.zeros(len(geoms.names))
    for at in range(m.ntuple):
        # Of a part of a scene the name has its prefix.
        if not element_name(m, mujoco.mjtObj.mjOBJ_TUPLE, at).endswith(CUSTOM):
            continue
        for k in range(m.tuple_adr[at], m.tuple_adr[at] + m.tuple_size[at]):
            geom = int(m.tuple_objid[k])
            is_geom = m.tuple_objtype[k] == int(mujoco.mjtObj.mjOBJ_GEOM)
            if is_geom and geom in geoms.index:
                values[geoms.index[geom]] = m.tuple_objprm[k]
    return values


def _of_links(
    m: mujoco.MjModel, geoms: Geoms, links: dict[str, float], found: Findings
) -> np.ndarray:
    values = np.zeros(len(geoms.names))
    bodies = [body_name(m, int(m.geom_bodyid[g])) for g in geoms.index]
    for i, body in enumerate(bodies):
        values[i] = links.get(body, 0.0)
    lost = sorted(links.keys() - set(bodies))
    if lost:
        found.note(f"restitution of links without geoms: dropped: {lost}")
    return values
