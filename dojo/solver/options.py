"""Options of the interior-point solver."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

_DEFAULT_KAPPA = {"float32": 1e-4, "float64": 1e-6}
_SMALLEST_KAPPA = {"float32": 1e-6, "float64": 1e-12}
_TOLERANCE = {"float32": 1e-4, "float64": 1e-9}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SolverOptions:
    """How a step is solved.

    Attributes:
        kappa: central-path parameter, the one smoothness knob: every complementarity product of
            the step ends at kappa, [J s] between normal impulse and gap, [J] in the friction cones.
            Smaller is harder contact; larger is smoother gradients. Physically a log barrier of
            kappa / timestep joules per contact: the gap at rest is kappa / impulse, and a sticking
            contact slides at kappa |b| / ((mu gamma)^2 - |b|^2). `None`: 1e-6 in float64 and 1e-4
            in float32. Values below 1e-12 (float64) or 1e-6 (float32) are clamped;
            `info.kappa` tells the value in force. Traced: changing it does not recompile.
        grad_kappa: the kappa at which derivatives are taken; `None` means `kappa`. A larger one
            gives hard rollouts with smooth gradients.
        max_iterations: Newton iterations allowed per step (static). A batch waits for its slowest
            lane: less where that matters more than the few steps that need hundreds.
        substeps: equal parts that a step is solved in, control and wrench the same in all (static).
            The remedy for STEP_TOO_LARGE.
        retry_substeps: equal parts that a step which was not solved is taken again in; 1: it is not
            (static). Under `vmap` all lanes pay for the parts that one of them takes, and for
            those that none takes.
        raise_on_failure: raise `dojo.SolverError` when a step does not converge (static). Inside a
            compiled function it is raised when the result is asked for, as JAX's runtime error
            with the same text.
        tolerance: largest scaled residual of a converged step (static); `None`: 1e-9 in
            float64 and 1e-4 in float32. One Newton iteration more follows it.
    """

    kappa: ArrayLike | None = None
    grad_kappa: ArrayLike | None = None
    max_iterations: int = dataclasses.field(default=1000, metadata={"static": True})
    tolerance: float | None = dataclasses.field(default=None, metadata={"static": True})
    substeps: int = dataclasses.field(default=1, metadata={"static": True})
    retry_substeps: int = dataclasses.field(default=1, metadata={"static": True})
    raise_on_failure: bool = dataclasses.field(default=False, metadata={"static": True})

    def __post_init__(self) -> None:
        for name in ("kappa", "grad_kappa"):
            value = getattr(self, name)
            if isinstance(value, (int, float)) and not value > 0:
                raise ValueError(f"SolverOptions({name}={value}): must be positive, e.g. 1e-6.")
        for name in ("max_iterations", "substeps", "retry_substeps"):
            value = getattr(self, name)
            if isinstance(value, int) and value < 1:
                raise ValueError(f"SolverOptions({name}={value}): must be at least 1.")


def resolve_kappa(kappa: ArrayLike | None, dtype: jnp.dtype) -> Array:
    """The kappa in force: the default of the dtype, never below its smallest supported value."""
    name = jnp.dtype(dtype).name
    value = _DEFAULT_KAPPA[name] if kappa is None else kappa
    return jnp.maximum(jnp.asarray(value, dtype), _SMALLEST_KAPPA[name])


def resolve_tolerance(options: SolverOptions, dtype: jnp.dtype) -> float:
    """The residual tolerance in force."""
    if options.tolerance is not None:
        return options.tolerance
    return _TOLERANCE[jnp.dtype(dtype).name]
