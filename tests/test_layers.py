"""The import direction, and the size of files."""

import ast
from pathlib import Path

import pytest

import dojo

PACKAGE = Path(dojo.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# What each layer may import besides itself. The physics knows nothing of the solver, the solver
# nothing of robots; `step` is where they meet; files are read without simulating.
NUMERICS = {"math", "model", "physics"}
STEPPING = NUMERICS | {"solver", "report", "step"}
ALLOWED = {
    "math": set(),
    "solver": {"math"},
    "model": {"math"},
    "loaders": {"math", "model"},
    "models": {"math", "model", "loaders"},
    "export": {"math", "model", "loaders"},
    "inertial_parameters": {"math", "model"},
    "physics": {"math", "model"},
    "step_problem": NUMERICS | {"solver"},
    "restitution_problem": NUMERICS | {"solver", "step_problem"},
    "report": NUMERICS | {"solver", "step_problem"},
    "bounce": NUMERICS | {"solver", "step_problem", "restitution_problem", "report"},
    "parts": {"math", "solver", "report"},
    "step": NUMERICS | {"solver", "step_problem", "report", "bounce", "parts"},
    "rollout": STEPPING,
    "linearize": STEPPING | {"step_problem", "parts"},
    "metrics": STEPPING,
    "sensing": NUMERICS | {"report"},
    "sensors": STEPPING | {"metrics", "sensing"},
    "viewer": STEPPING | {"rollout", "linearize", "metrics"},
}
# The package itself gathers the public names; only the command line imports it.
ALLOWED["dojo"] = {*ALLOWED}
ALLOWED["cli"] = {*ALLOWED}


def layer(module):
    """The layer of `dojo.physics.inertia` is physics; of `dojo` itself, dojo."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "dojo"


def layer_of_file(path):
    inside = path.relative_to(PACKAGE)
    return (
        "dojo"
        if inside.name == "__init__.py" and len(inside.parts) == 1
        else inside.parts[0].removesuffix(".py")
    )


def imports(source):
    """Modules that the source imports, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the layer"
            if node.module == "dojo":
                # `from dojo import x` is a layer if x is one, the whole package otherwise.
                names = [alias.name for alias in node.names]
                yield from (f"dojo.{n}" if n in ALLOWED else "dojo" for n in names)
            else:
                yield node.module


def violations(name, source):
    ours = {layer(m) for m in imports(source) if m.split(".")[0] == "dojo"}
    return ours - ALLOWED[name] - {name}


def test_every_file_is_in_a_layer():
    assert {layer_of_file(path) for path in FILES} == set(ALLOWED)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_lower_layers(path):
    assert violations(layer_of_file(path), path.read_text()) == set()


def test_layers_form_a_direction():
    """No cycle: something at the bottom can be taken away again and again."""
    left = {name: set(below) for name, below in ALLOWED.items()}
    while left:
        bottom = {name for name, below in left.items() if not below & set(left)}
        assert bottom, f"cycle among {sorted(left)}"
        left = {name: below for name, below in left.items() if name not in bottom}


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("physics", "def f():\n    from dojo.solver.problem import Rows", {"solver"}),
        ("physics", "import dojo.loaders.load", {"loaders"}),
        ("solver", "from dojo import physics", {"physics"}),
        ("model", "from dojo import load", {"dojo"}),
        ("step", "import jax\nfrom dojo.solver import implicit\nfrom dojo.step import x", set()),
    ],
)
def test_the_check_sees_violations(name, source, expected):
    assert violations(name, source) == expected


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_is_at_most_400_lines_long(path):
    assert len(path.read_text().splitlines()) <= 400
