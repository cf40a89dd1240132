"""The medium that bodies move in."""

import numpy as np

from dojo.export.bodies import principal
from dojo.export.document import Document, write
from dojo.loaders.fluid import box_of


def write_medium(document: Document) -> None:
    """Density, viscosity and wind; the boxes are what readers make of the bodies' inertias."""
    model, t = document.model, document.model.topology
    if not len(t.fluid_link):
        return
    write(
        document.section("option"),
        density=model.fluid_density,
        viscosity=model.fluid_viscosity,
        wind=model.fluid_wind,
    )
    other = [t.link_names[link] for link in np.unique(t.fluid_link) if not _follows(document, link)]
    if other:
        document.notes.append(
            f"links whose drag is not that of the box of their inertia: {', '.join(other)}"
        )


def _follows(document: Document, link: int) -> bool:
    """Whether a link has one box, that of its own inertia and where that is."""
    model = document.model
    rows = np.flatnonzero(model.topology.fluid_link == link)
    if len(rows) > 1:
        return False
    moments, quat = principal(model, link)
    box = box_of(moments, float(model.link_mass[link]))
    own, pos, turn = (
        np.asarray(x[rows[0]], dtype=float)
        for x in (model.fluid_box, model.fluid_pos, model.fluid_quat)
    )
    close = 1000.0 * float(np.finfo(model.dtype).eps)
    return bool(
        np.allclose(box**2, own**2, rtol=0, atol=close * own.max() ** 2)
        and np.allclose(pos, model.link_com[link], rtol=0, atol=close * own.max())
        and abs(quat @ turn) > (1.0 - close) * np.linalg.norm(turn)
    )
