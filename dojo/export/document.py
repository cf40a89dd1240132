"""An MJCF document: its sections, its bodies by link, names that are free."""

import dataclasses
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree

import mujoco
import numpy as np

from dojo.model.errors import ModelError
from dojo.model.model import Model
from dojo.model.topology import WORLD

Element = ElementTree.Element
_SECTIONS = (
    "option",
    "custom",
    "asset",
    "worldbody",
    "contact",
    "equality",
    "tendon",
    "actuator",
    "sensor",
    "keyframe",
)


@dataclasses.dataclass
class Document:
    """What is written so far."""

    model: Model
    root: Element
    # The element of each link's body, of the world too; links of one body share it.
    bodies: dict[int, Element] = dataclasses.field(default_factory=dict)
    joints: list[str] = dataclasses.field(default_factory=list)  # their names here
    sites: dict[str, Any] = dataclasses.field(default_factory=dict)  # names, and what they are
    notes: list[str] = dataclasses.field(default_factory=list)  # what the format cannot say

    @classmethod
    def of(cls, model: Model, name: str) -> "Document":
        """An empty document."""
        root = Element("mujoco", model=name)
        add(root, "compiler", angle="radian", autolimits=False, inertiafromgeom=False)
        for section in _SECTIONS:
            ElementTree.SubElement(root, section)
        document = cls(model, root, joints=unique(model.topology.joint_names))
        document.bodies[WORLD] = document.section("worldbody")
        return document

    def section(self, name: str) -> Element:
        """One of the document's sections."""
        found = self.root.find(name)
        assert found is not None
        return found

    def site(self, link: int, name: str, **attributes: Any) -> str:
        """A site in a link's body, a new one if there is none; the name that it got."""
        what = link, {key: _written(value) for key, value in attributes.items()}
        for known, other in self.sites.items():
            if other == what:
                return known
        own = unused(name, self.sites)
        self.sites[own] = what
        add(self.bodies[link], "site", name=own, **attributes)
        return own

    def compiled(self) -> mujoco.MjModel:
        """What MuJoCo makes of it.

        Raises:
            ModelError: nothing, because of some parameter.
        """
        try:
            return mujoco.MjModel.from_xml_string(self.text())
        except ValueError as error:
            raise ModelError(
                f"save_mjcf: MuJoCo's compiler does not take this model: {error}."
            ) from None

    def text(self) -> str:
        """The XML, without empty sections."""
        root = Element("mujoco", self.root.attrib)
        root.extend(part for part in self.root if len(part) or part.attrib or part.text)
        ElementTree.indent(root)
        return ElementTree.tostring(root, encoding="unicode") + "\n"


def add(parent: Element, tag: str, **attributes: Any) -> Element:
    """A new element; attributes that are None are left out."""
    element = ElementTree.SubElement(parent, tag)
    write(element, **attributes)
    return element


def write(element: Element, **attributes: Any) -> None:
    """More attributes of an element."""
    for key, value in attributes.items():
        if value is not None:
            element.set(key, _written(value))


def unused(name: str, taken: Iterable[str]) -> str:
    """The name, with a number behind it if it is taken."""
    names, k, own = {*taken}, 1, name
    while own in names:
        k += 1
        own = f"{name}_{k}"
    return own


def unique(names: Iterable[str]) -> list[str]:
    """The names in their order, those that come again with a number."""
    found: list[str] = []
    for name in names:
        found.append(unused(name, found))
    return found


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, int | np.integer):
        return str(int(value))
    # Enough digits to read the same number again.
    return " ".join(f"{x:.17g}" for x in np.ravel(np.asarray(value, dtype=float)))
