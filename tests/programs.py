"""What a traced program is made of."""

import jax


def equations(jaxpr):
    """All equations of a jaxpr, those of inner programs too."""
    inside = getattr(jaxpr, "jaxpr", jaxpr)
    for equation in inside.eqns:
        yield equation
        for part in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_program):
            if _is_program(part):
                yield from equations(part)


def _is_program(x):
    return hasattr(x, "eqns") or hasattr(x, "jaxpr")
