"""What became of a solve."""

import enum


class Status(enum.IntEnum):
    """Outcome of a step, one integer per batch lane in `info.status`."""

    CONVERGED = 0
    MAX_ITERATIONS = 1
    STEP_TOO_LARGE = 2
    NONFINITE = 3
    INFEASIBLE = 4
    KAPPA_TOO_LARGE = 5

    @property
    def message(self) -> str:
        """What happened, and what to try."""
        return _MESSAGES[self]


class SolverError(RuntimeError):
    """A step was not solved, and `SolverOptions(raise_on_failure=True)` asked to be told."""


_MESSAGES = {
    Status.CONVERGED: "The step was solved to its tolerance.",
    Status.MAX_ITERATIONS: (
        "The iteration limit was reached before the tolerance. Try a smaller timestep, a larger "
        "kappa or a larger SolverOptions(max_iterations=...)."
    ),
    Status.STEP_TOO_LARGE: (
        "Links or limited tendons turned, or would turn unhindered, so far within the step that "
        "there may be no solution: the momentum of a chain of links saturates at large angles. Or "
        "the only motion found has contacts make energy. "
        "Use a smaller timestep, or SolverOptions(substeps=...)."
    ),
    Status.NONFINITE: (
        "The state, the control or a parameter holds a NaN or an infinity, or the solve produced "
        "one. Check the inputs of this batch lane."
    ),
    Status.INFEASIBLE: (
        "Contacts, limits and equality constraints contradict each other, or friction jams what "
        "would meet them: no motion satisfies them all. Start from a state where bodies do not "
        "overlap and joints are within their limits, widen a limit or a passage, or lower the "
        "friction."
    ),
    Status.KAPPA_TOO_LARGE: (
        "The contacts' barrier alone, kappa / timestep joules each, has the energy to turn a link "
        "by more than a radian within the step. Use a smaller kappa: it counts against the mass "
        "and the size of the body."
    ),
}
