"""The medium that bodies move in."""

import numpy as np

from dojo.export.bodies import principal
from dojo.export.document import Document


def write_medium(document: Document) -> None:
    """Density, viscosity and wind; the boxes are what readers make of the bodies' inertias."""
    model, t = document.model, document.model.topology
    if not len(t.fluid_link):
        return
    option = document.section("option")
    option.set("density", f"{float(model.fluid_density):.17g}")
    option.set("viscosity", f"{float(model.fluid_viscosity):.17g}")
    option.set("wind", " ".join(f"{float(x):.17g}" for x in model.fluid_wind))
    other = [t.link_names[link] for link in np.unique(t.fluid_link) if not _follows(document, link)]
    if other:
        document.notes.append(
            f"links whose drag is not that of the box of their inertia: {', '.join(other)}"
        )


def _follows(document: Document, link: int) -> bool:
    """Whether a link has one box, that of its own inertia."""
    model = document.model
    rows = np.flatnonzero(model.topology.fluid_link == link)
    if len(rows) > 1:
        return False
    moments, _ = principal(model, link)
    squares = 6.0 * (moments.sum() - 2.0 * moments) / float(model.link_mass[link])
    own = np.asarray(model.fluid_box[rows[0]], dtype=float)
    return bool(np.allclose(squares, own**2, rtol=1e-6, atol=1e-12))
