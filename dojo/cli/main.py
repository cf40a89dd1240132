"""`dojo`: simulate, inspect and show robots from the command line."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from dojo.cli import demo, inspection, simulation
from dojo.model.errors import ModelError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0 on success, 1 on an unconverged run, 2 on a bad model or use."""
    args = parser().parse_args(argv)
    _prepare_jax()
    try:
        return int(args.run(args))
    except (ModelError, ValueError) as error:
        print(f"dojo: {error}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="dojo", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    simulate = commands.add_parser(
        "simulate",
        help="simulate a robot from file",
        description="Simulate an MJCF or URDF file and report energy, gaps and convergence.",
    )
    _file(simulate)
    simulate.add_argument("--seconds", type=float, default=5.0, help="simulated time [s]")
    simulate.add_argument("--timestep", type=float, help="[s]; default: the file's")
    simulate.add_argument("--kappa", type=float, help="central-path parameter; default: 1e-6")
    simulate.add_argument("--substeps", type=int, default=1, help="parts a step is solved in")
    simulate.add_argument(
        "--retry-substeps",
        type=int,
        default=1,
        help="parts that a step which was not solved is taken again in",
    )
    simulate.add_argument(
        "--control",
        default="zero",
        help="zero, random (seeded), home (the keyframe's), or a .npy file of shape (T, nu)",
    )
    simulate.add_argument("--keyframe", help="start from this keyframe of the file")
    simulate.add_argument("--seed", type=int, default=0, help="seed of random control")
    simulate.add_argument("--html", type=Path, help="write a self-contained animation here")
    simulate.set_defaults(run=simulation.run)

    inspect = commands.add_parser(
        "inspect",
        help="list what a file holds",
        description="List links, joints, geoms, actuators, and what is not supported.",
    )
    _file(inspect)
    inspect.set_defaults(run=inspection.run)

    show = commands.add_parser(
        "demo",
        help="a robot, contact, gradients and an animation in one go",
        description="Drop a robot, differentiate through its contacts, write an animation.",
    )
    show.add_argument("--html", type=Path, default=Path("dojo_demo.html"), help="where to write it")
    show.set_defaults(run=demo.run)
    return top


def _file(command: argparse.ArgumentParser) -> None:
    command.add_argument("file", help="MJCF or URDF file")
    command.add_argument(
        "--ignore",
        nargs="+",
        default=(),
        metavar="FEATURE",
        help="unsupported features to do without, by the name the error gives, or all",
    )
    command.add_argument(
        "--root",
        choices=("fixed", "floating"),
        help="of a URDF, whether its root link is fixed to the world; default: if without inertia",
    )
    command.add_argument(
        "--motors", action="store_true", help="of a URDF, give its joints motors, see dojo.load"
    )
    command.add_argument(
        "--repair-inertia",
        action="store_true",
        help="of a URDF, replace inertias that no body can have by the nearest possible ones",
    )
    command.add_argument(
        "--overlapping-links",
        choices=("exclude", "collide"),
        default="exclude",
        help="whether links of one robot that overlap where the file puts them collide",
    )


def _prepare_jax() -> None:
    import jax

    # A command is a process of its own: here the precision and the cache may be chosen for it.
    jax.config.update("jax_enable_x64", True)
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if cache is None:
        home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(home / "dojo" / "jax"))
    # XLA's older code generator for CPUs takes two thirds of the time, and what it makes is no
    # slower (docs/performance.md). An unknown flag would end the process.
    flags = os.environ.get("XLA_FLAGS", "")
    if version("jaxlib").startswith("0.10.") and "xla_cpu_use_fusion_emitters" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_use_fusion_emitters=false".strip()


if __name__ == "__main__":
    sys.exit(main())
