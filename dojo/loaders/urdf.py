"""URDF as people have it, made into what MuJoCo's compiler reads.

Meshes are searched for upwards from the file and, where the compiler does not read their format,
converted; the root link floats if it, or what is fixed to it, has inertia; impossible inertias are
named. What has no part
in a simulation goes: visual geometry (unless the file's MuJoCo extension keeps it), shapes of no
size, second definitions of a material.
"""

import dataclasses
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Literal

import numpy as np

from dojo.loaders.findings import Findings, listing
from dojo.loaders.meshes import readable
from dojo.model.errors import ModelError

Root = Literal["fixed", "floating"]
_Element = ElementTree.Element
_SCHEMES = ("package://", "model://", "file://")
# Principal moments A, B, C of a body have A + B >= C; files round.
_ROUNDING = 1e-6
# A repaired body is at least this large [m]: the compiler refuses moments that are zero.
_LEAST_RADIUS = 1e-3


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A URDF for MuJoCo's compiler: its text, and the meshes by the names that it gives them."""

    text: str
    assets: dict[str, bytes]


def is_urdf(text: str) -> bool:
    """Whether this is the XML of a URDF."""
    robot = parsed(text)
    return "<robot" in text if robot is None else robot.tag == "robot"


def prepared(
    text: str, folder: Path, name: str, root: Root | None, repair: bool, found: Findings
) -> Prepared:
    """The URDF of a file in `folder`, `name` for messages.

    Raises:
        ModelError: unexpanded macros, a mesh that is nowhere, an impossible inertia, no single
            root link.
    """
    robot = parsed(text)
    if robot is None:
        return Prepared(text, {})  # the compiler says where it is malformed
    if any("xacro" in element.tag for element in robot.iter()):
        raise ModelError(f"{name}: is a xacro. Expand it first: xacro {name} > robot.urdf.")
    keeps_visuals = _compiler(robot).get("discardvisual", "true") == "false"
    _without_visuals(robot, keeps_visuals)
    _without_empty_shapes(robot, found)
    _materials_once(robot)
    _with_root(robot, root, name, found)
    _checked_inertias(robot, repair, name, found)
    assets = _with_meshes(robot, folder, name)
    return Prepared(ElementTree.tostring(robot, encoding="unicode"), assets)


def parsed(text: str) -> _Element | None:
    """The XML; None if it is malformed."""
    # Some files go on after their end, with bytes that are no XML.
    body, end, _ = text.rpartition("</robot>")
    try:
        return ElementTree.fromstring(body + end if end else text)
    except ElementTree.ParseError:
        return None


def _compiler(robot: _Element) -> _Element:
    """The options of the MuJoCo extension."""
    extension = robot.find("mujoco")
    if extension is None:
        extension = ElementTree.SubElement(robot, "mujoco")
    compiler = extension.find("compiler")
    return ElementTree.SubElement(extension, "compiler") if compiler is None else compiler


def _without_visuals(robot: _Element, kept: bool) -> None:
    for link in robot.findall("link"):
        for visual in [] if kept else link.findall("visual"):
            link.remove(visual)


def _without_empty_shapes(robot: _Element, found: Findings) -> None:
    empty = []
    for link in robot.findall("link"):
        for shape in [*link.findall("collision"), *link.findall("visual")]:
            if _empty(shape):
                link.remove(shape)
                empty.append(link.get("name", "?"))
    if empty:
        found.note(f"shapes without size left out, of links {listing(sorted(set(empty)))}")


def _empty(shape: _Element) -> bool:
    """Whether a box, sphere or cylinder has a side of zero."""
    sizes = [
        part.get(key, "")
        for part in shape.iterfind("geometry/*")
        for key in ("size", "radius", "length")
        if part.tag in ("box", "sphere", "cylinder", "capsule")
    ]
    try:
        return any(float(x) == 0.0 for size in sizes for x in size.split())
    except ValueError:
        return False  # the compiler names the number


def _materials_once(robot: _Element) -> None:
    """The compiler refuses a material that is defined twice: the first definition holds."""
    known = set()
    for material in robot.iter("material"):
        if len(material):
            if material.get("name") in known:
                for part in list(material):
                    material.remove(part)
            known.add(material.get("name"))


def _with_root(robot: _Element, root: Root | None, name: str, found: Findings) -> None:
    """Declares the world where joints only name it, and lets the root link float or not."""
    links = {link.get("name", "") for link in robot.findall("link")}
    joints = robot.findall("joint")
    ends = [{end.get("link", "") for end in robot.iterfind(f"joint/{tag}")} for tag in _ENDS]
    if "world" in ends[0] - links:
        ElementTree.SubElement(robot, "link", name="world")
        links.add("world")
    roots = sorted(links - ends[1])
    if len(roots) != 1:
        raise ModelError(
            f"{name}: {len(roots)} root links ({listing(roots) or 'none'}), must be one: every "
            "other link is the child of a joint."
        )
    heavy = any(_mass(robot, link) > 0 for link in _fixed_to(robot, roots[0]))
    heavy &= roots[0] != "world"
    floats = heavy if root is None else root == "floating"
    if floats:
        ElementTree.SubElement(robot, "link", name=_WORLD)
        taken = {joint.get("name") for joint in joints}
        free = next(n for n in ("root", "floating_base", _WORLD) if n not in taken)
        joint = ElementTree.SubElement(robot, "joint", name=free, type="floating")
        ElementTree.SubElement(joint, "parent", link=_WORLD)
        ElementTree.SubElement(joint, "child", link=roots[0])
    if floats and root is None:
        found.note(
            f"root link {roots[0]} (or what is fixed to it) has inertia: it floats. "
            "dojo.load(..., root='fixed') welds it to the world"
        )
    elif heavy and not floats:
        found.note(f"root link {roots[0]} is welded to the world, its inertia has no effect")


_ENDS = ("parent", "child")
_WORLD = "dojo_world"


def _fixed_to(robot: _Element, root: str) -> list[str]:
    """The root link and all that is fixed to it."""
    fixed = [joint for joint in robot.findall("joint") if joint.get("type") == "fixed"]
    ends = [[joint.find(tag) for tag in _ENDS] for joint in fixed]
    pairs = [[end.get("link", "") for end in pair if end is not None] for pair in ends]
    found = [root]
    for link in found:
        found += [pair[1] for pair in pairs if len(pair) == 2 and pair[0] == link]
    return found


def _mass(robot: _Element, link: str) -> float:
    mass = robot.find(f"link[@name='{link}']/inertial/mass")
    try:
        return 0.0 if mass is None else float(mass.get("value", "0"))
    except ValueError:
        return 0.0  # the compiler names the number


def _checked_inertias(robot: _Element, repair: bool, name: str, found: Findings) -> None:
    """Names links whose inertia no body can have, or makes it possible."""
    wrong = []
    for link in robot.findall("link"):
        element, mass = link.find("inertial/inertia"), _mass(robot, link.get("name", ""))
        inertia = None if element is None else _inertia(element)
        if element is None or inertia is None or not mass > 0 or possible(inertia):
            continue
        wrong.append(link.get("name", "?"))
        if repair:
            nearest = nearest_possible(inertia, mass)
            for key, (i, j) in _MOMENTS.items():
                element.set(key, repr(float(nearest[i, j])))
    if wrong and not repair:
        raise ModelError(
            f"{name}: no body has the inertia of links {listing(wrong)}: its moments must be "
            "positive, and two of them together at least the third. Correct them, or take the "
            "nearest possible ones: dojo.load(..., repair_inertia=True)."
        )
    if wrong:
        found.note(f"impossible inertias repaired, of links {listing(wrong)}")


_MOMENTS = {
    "ixx": (0, 0),
    "iyy": (1, 1),
    "izz": (2, 2),
    "ixy": (0, 1),
    "ixz": (0, 2),
    "iyz": (1, 2),
}


def _inertia(element: _Element) -> np.ndarray | None:
    matrix = np.zeros((3, 3))
    for key, (i, j) in _MOMENTS.items():
        try:
            matrix[i, j] = matrix[j, i] = float(element.get(key, "0"))
        except ValueError:
            return None  # the compiler names the number
    return matrix


def _spread(inertia: np.ndarray) -> np.ndarray:
    """Integral of x x^T over the mass: tr(J) / 2 - J, as positive as that of any body."""
    return 0.5 * np.trace(inertia) * np.eye(3) - inertia


def possible(inertia: np.ndarray) -> bool:
    """Whether a body may have this inertia (3, 3) about its centre of mass."""
    moments = np.linalg.eigvalsh(inertia)
    spread = np.linalg.eigvalsh(_spread(inertia))
    return bool(moments[0] > 0 and spread[0] >= -_ROUNDING * moments[-1])


def nearest_possible(inertia: np.ndarray, mass: float) -> np.ndarray:
    """The inertia (3, 3) of a body whose spread of mass is nearest to that asked for.

    In the Frobenius norm of the integral of x x^T, whose eigenvalues are cut off below at those
    of a body of 1 mm. Source: Wensing, Kim, Slotine, IEEE RA-L 3 (2018) 60, for the condition.
    """
    values, vectors = np.linalg.eigh(_spread(inertia))
    least = mass * _LEAST_RADIUS**2
    spread = vectors @ np.diag(np.maximum(values, least)) @ vectors.T
    return np.trace(spread) * np.eye(3) - spread


def _with_meshes(robot: _Element, folder: Path, name: str) -> dict[str, bytes]:
    """Points every mesh at an asset, and returns these."""
    compiler = _compiler(robot)
    base = folder / compiler.attrib.pop("meshdir", "")
    compiler.set("strippath", "false")
    assets: dict[str, bytes] = {}
    names: dict[Path, str] = {}
    for mesh in robot.iter("mesh"):
        asked = mesh.get("filename", "")
        path = located(asked, [base, *folder.absolute().parents, folder])
        if path is None:
            raise ModelError(
                f"{name}: mesh {asked!r} is not there. Looked for it from {folder.absolute()} "
                "upwards, with and without the package's name. Put the package's folder above the "
                "file, or correct the path."
            )
        if path not in names:
            data, suffix = readable(path, f"{name}: mesh {asked!r}")
            names[path] = _free_name(path.stem, suffix, assets)
            assets[names[path]] = data
        mesh.set("filename", names[path])
    return assets


def _free_name(stem: str, suffix: str, taken: dict[str, bytes]) -> str:
    name, count = stem + suffix, 1
    while name in taken:
        count += 1
        name = f"{stem}_{count}{suffix}"
    return name


def located(asked: str, folders: list[Path]) -> Path | None:
    """The file that a mesh's path means: from each folder, whole or without the package's name.

    Or its name alone, as MuJoCo's compiler takes the paths of a URDF.
    """
    rest = asked
    for scheme in _SCHEMES:
        rest = rest.removeprefix(scheme)
    parts = Path(rest).parts
    if Path(rest).is_absolute() and Path(rest).is_file():
        return Path(rest)
    parts = tuple(part for part in parts if part != "/")
    tails = [parts, parts[1:], parts[-1:]] if parts else []
    for tail in [tail for tail in tails if tail]:
        for folder in folders:
            if (folder / Path(*tail)).is_file():
                return (folder / Path(*tail)).resolve()
    return None
