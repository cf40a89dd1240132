"""JAX programs in numpy's long double, and the solution of a step there.

For differences where double precision leaves no room between rounding and the smoothing width
kappa / (mu gamma): below kappa = 1e-5 or so.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dojo
from dojo.physics import mechanics
from dojo.physics.kinematics import difference, displace
from dojo.solver.linear_system import newton_system
from dojo.solver.problem import Residual, residual
from dojo.step import checked, solved
from dojo.step_problem import Inputs, StepProblem

LONG = np.longdouble
needs_long_double = pytest.mark.skipif(
    np.finfo(LONG).eps > 1e-18, reason="this machine's long double is a double"
)

_ELEMENTWISE = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "neg": np.negative,
    "max": np.maximum,
    "min": np.minimum,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "sin": np.sin,
    "cos": np.cos,
    "atan2": np.arctan2,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "not": np.logical_not,
    "stop_gradient": np.asarray,
    "select_n": lambda which, *cases: np.choose(which.astype(int), cases),
}
# What moves numbers by indices is done by JAX itself, to their positions.
_INDEXED = {"gather", "scatter", "pad"}
_INNER = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr"}


def _wide(x):
    x = np.asarray(x)
    return x.astype(LONG) if x.dtype.kind == "f" else x


class Program:
    """A JAX function, traced for some arguments, evaluated with every float a long double."""

    def __init__(self, function, *arguments):
        self.traced = jax.make_jaxpr(function)(*arguments)
        self.places = {}

    def __call__(self, *leaves):
        """Outputs for the leaves of the arguments, flat."""
        return self._run(self.traced.jaxpr, self.traced.consts, leaves)

    def _run(self, jaxpr, consts, arguments):
        variables = [*jaxpr.constvars, *jaxpr.invars]
        values = dict(zip(variables, map(_wide, [*consts, *arguments]), strict=True))

        def read(x):
            return _wide(x.val) if hasattr(x, "val") else values[x]

        for equation in jaxpr.eqns:
            results = self._apply(equation, [read(x) for x in equation.invars])
            values.update(zip(equation.outvars, results, strict=True))
        return [read(x) for x in jaxpr.outvars]

    def _apply(self, equation, inputs):
        name, params = equation.primitive.name, equation.params
        if name in _ELEMENTWISE:
            return [_ELEMENTWISE[name](*inputs)]
        if name in _INDEXED:
            return [self._moved(equation, inputs)]
        if name in _INNER:
            inner = params[_INNER[name]]
            return self._run(inner.jaxpr, inner.consts, inputs)
        if name == "iota":
            return [np.asarray(equation.primitive.bind(**params))]
        if name == "custom_linear_solve":
            return [self._solved(params, inputs)]
        return [_OTHER[name](params, *inputs)]

    def _moved(self, equation, inputs):
        flat = np.concatenate([x.ravel() for x in inputs])
        return flat[self._places(equation, inputs)].astype(inputs[0].dtype)

    def _places(self, equation, inputs):
        """Where each entry of the result comes from."""
        indexed = equation.primitive.name != "pad"
        key = id(equation), inputs[1].tobytes() if indexed else b""
        if key not in self.places:
            sizes = np.cumsum([0, *(x.size for x in inputs)])
            places = [
                s + np.arange(x.size).reshape(x.shape)
                for s, x in zip(sizes[:-1], inputs, strict=True)
            ]
            params = equation.params
            if indexed:
                places[1] = inputs[1]
            if "fill_value" in params:
                params = params | {"fill_value": 0}  # it is NaN, which positions are not
            result = equation.primitive.bind(*map(jnp.asarray, places), **params)
            self.places[key] = np.asarray(result)
        return self.places[key]

    def _solved(self, params, inputs):
        """The solution of a linear system, from the matrix and not from its factor."""
        product = params["jaxprs"].matvec
        consts, b = inputs[: params["const_lengths"].matvec], inputs[-1]
        units = np.eye(len(b), dtype=LONG)
        columns = [self._run(product.jaxpr, product.consts, [*consts, e])[0] for e in units]
        return eliminated(np.stack(columns, axis=1), b)


def _product(params, a, b):
    contracted, batched = params["dimension_numbers"]
    assert not batched[0]
    return np.tensordot(a, b, axes=contracted)


def _reduced(params, x, start):
    """Sum or minimum: what `lax.reduce` is used for."""
    names = {e.primitive.name for e in params["jaxpr"].eqns}
    reduction = np.sum if "add" in names else np.min
    return reduction(x, axis=tuple(params["dimensions"]), initial=start[()])


def eliminated(matrix, rhs):
    """Solution of matrix @ x = rhs by elimination, in the precision of the inputs."""
    table = np.concatenate([matrix, rhs[:, None]], axis=1)
    for k in range(len(table)):
        pivot = k + np.argmax(np.abs(table[k:, k]))
        table[[k, pivot]] = table[[pivot, k]]
        table[k] /= table[k, k]
        others = np.arange(len(table)) != k
        table[others] -= table[others, k : k + 1] * table[k]
    return table[:, -1]


def _converted(params, x):
    kind = params["new_dtype"].kind
    return x.astype(LONG if kind == "f" else params["new_dtype"])


def _broadcast(params, x):
    shape = np.ones(len(params["shape"]), int)
    shape[list(params["broadcast_dimensions"])] = x.shape
    return np.broadcast_to(x.reshape(shape), params["shape"])


def _slice(params, x):
    bounds = params["start_indices"], params["limit_indices"], params["strides"] or [1] * x.ndim
    return x[tuple(map(slice, *bounds))]


_OTHER = {
    "broadcast_in_dim": _broadcast,
    "slice": _slice,
    "squeeze": lambda params, x: np.squeeze(x, params["dimensions"]),
    "reshape": lambda params, x: np.reshape(x, params["new_sizes"]),
    "transpose": lambda params, x: np.transpose(x, params["permutation"]),
    "concatenate": lambda params, *x: np.concatenate(x, params["dimension"]),
    "stack": lambda params, *x: np.stack(x, params["axis"]),
    "convert_element_type": _converted,
    "integer_pow": lambda params, x: x ** params["y"],
    "dot_general": _product,
    "reduce": _reduced,
    "reduce_sum": lambda params, x: np.sum(x, axis=tuple(params["axes"])),
    "reduce_max": lambda params, x: np.max(x, axis=tuple(params["axes"])),
    # Factors are for `custom_linear_solve`, which does not use them here.
    "cholesky": lambda params, x: x,
}


def _step_equations(h, x, data):
    """Equations of a step whose inputs moved by h times their rates, and changes of its q, v."""
    inputs, rates, center = data
    (model, q, v, u, kappa), (model_rate, dq, dv, du, dkappa) = inputs, rates
    model, v, u, kappa = jax.tree.map(
        lambda a, rate: a + h * rate, (model, v, u, kappa), (model_rate, dv, du, dkappa)
    )
    problem = StepProblem.build(Inputs(model, displace(model, q, h * dq), v, u, None))
    trial = mechanics.move(model, problem.node, x.v)
    left = residual(problem, problem.rows_after(x.v, trial), x, kappa)
    q, v, _ = mechanics.arrive(model, problem.node, trial, x.v, jnp.zeros_like(x.v))
    return left, (difference(model, center, q), v)


@jax.jit
def _solution(inputs):
    """The solved point in double precision, and the Newton system there."""
    model, q, v, u, kappa = inputs
    options = dojo.SolverOptions(kappa=kappa)
    problem, solution, _ = solved(checked(model, dojo.State(q, v), u, None), options)
    x = solution.x
    _, tangent = problem.linearize(x.v)
    return x, newton_system(problem, tangent, x)


@jax.jit
def _newton_step(system, left):
    return system.solve(left)


class ExtendedSteps:
    """Steps of one topology: changes of the next q and v, (2 nv,), as a function of h.

    Newton's method with residuals in long double and the double precision system of h = 0.
    """

    def __init__(self):
        self.program = None

    def along(self, inputs, rates, center):
        """Inputs (model, q, v, u, kappa) that move by h times their rates, q's (nv,) a tangent.

        The change of the next q is that from `center`, (nq,).
        """
        start, system = _solution(inputs)
        data = (inputs, rates, center)
        self.program = self.program or Program(_step_equations, 0.0, start, data)
        given = jax.tree.leaves(data)

        def change(h):
            x, last = jax.tree.map(_wide, start), np.inf
            while True:
                *left, dq, dv = self.program(LONG(h), *x, *given)
                dx = _exact_step(system, Residual(*left))
                moved = max(map(_share, dx, x))
                if not moved < 0.5 * last:
                    assert moved < 1e-10, "Newton's method does not converge"
                    return np.concatenate([dq, dv])
                x, last = jax.tree.map(np.subtract, x, dx), moved

        return change


def _exact_step(system, left):
    """Newton's step for residuals that doubles may not hold."""
    size = max(np.abs(r).max(initial=np.finfo(LONG).tiny) for r in left)
    scaled = jax.tree.map(lambda r: (r / size).astype(float), left)
    return jax.tree.map(lambda d: size * np.asarray(d), _newton_step(system, scaled))


def _share(change, x):
    """Largest change of an entry, as a share of its size."""
    floor = 1e-3 * np.abs(x).max(initial=np.finfo(LONG).tiny)
    return np.abs(change / (np.abs(x) + floor)).max(initial=0.0)
