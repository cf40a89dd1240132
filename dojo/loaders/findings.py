"""What the loader could not take over: refused by name, or noted."""

import dataclasses
from collections.abc import Collection

from dojo.model.errors import UnsupportedFeature, close_matches

FEATURES = {
    "body-body collision": "on request: all pairs of bodies",
    "initial overlap": "on request: all pairs of bodies that overlap where the file puts them",
    "equality": "equality constraints of spatial tendons, of flexes, within a rigid body",
    "tendon": "paths inside a sphere or cylinder; friction, armature, force limits, polynomials",
    "actuator": "muscles and other activation dynamics, cranks, reference sites, adhesion, "
    "armature, damping, delays, several controls or forces",
    "actuator gravcomp": "gravity compensation that counts as force of a limited joint",
    "mocap": "joints below mocap bodies, planes on them",
    "fluid": "a medium that acts on geoms as ellipsoids (fluidshape)",
    "flex": "deformable bodies",
    "plugin": "engine plugins",
    "collider": "signed distance fields that collide",
    "surface": "adhesion and moving surfaces",
    "override": "one set of contact parameters for all contacts (<flag override>)",
    "polynomial": "polynomial stiffness or damping, and plastic joints",
}


@dataclasses.dataclass
class Findings:
    """Collects findings while a file is read."""

    ignore: Collection[str]
    unsupported: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def refuse(self, feature: str, detail: str) -> None:
        """An unsupported feature: an error at the end, or a note when it is ignored on request."""
        if feature in self.ignore or "all" in self.ignore:
            self.notes.append(f"ignored on request, {feature}: {detail}")
        else:
            self.unsupported.append((feature, detail))

    def note(self, text: str) -> None:
        """Something approximated, merged or without effect here."""
        self.notes.append(text)

    def raise_if_unsupported(self, source: str) -> None:
        """Raise UnsupportedFeature with everything found."""
        if not self.unsupported:
            return
        names = sorted({feature for feature, _ in self.unsupported})
        details = "; ".join(f"{feature}: {detail}" for feature, detail in self.unsupported)
        raise UnsupportedFeature(
            f"{source}: not supported yet: {details}. To simulate without "
            f"{'it' if len(names) == 1 else 'them'}: dojo.load(..., ignore={names}), or "
            f"--ignore on the command line."
        )


def normalize_ignore(ignore: str | Collection[str]) -> frozenset[str]:
    """The set of ignored features, spelling checked."""
    names = frozenset([ignore] if isinstance(ignore, str) else ignore)
    for name in names - {"all"}:
        if name not in FEATURES:
            raise ValueError(
                f"ignore={name!r}: no such feature.{close_matches(name, FEATURES)} "
                f"Features: {', '.join(FEATURES)}, or 'all'."
            )
    return names


def listing(names: Collection[str], most: int = 4) -> str:
    """A short list for a message."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
