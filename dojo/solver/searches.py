"""Where a solve searches, one search after the other until one of them ends at the solution.

A path that follows contacts too strong to let go may fold; small impulses at the unhindered motion
lie beyond the fold. What remains is for the fixed point r = mu gamma(r) of the cones' radii: held
at r they are Tresca's friction, a monotone problem, which is solved from nearly any start.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from dojo.math.vectors import at_least, contract

# FREE: the problem as it is. RELEASED: it goes on from where the last search ended with the problem
# as it is. HELD: the cones keep their radii, those that the last search of this kind led to. NEXT:
# likewise, and it goes on from where that one ended, if the radii hardly changed. AFRESH: HELD, at
# the radii that the last search, of whatever kind, got to. NEARBY: NEXT, if the last search was
# solved; else the radii stay.
FREE, RELEASED, HELD, NEXT, AFRESH, NEARBY = range(6)
# Iterations after which a search of each kind counts as going round in circles. NEARBY, it ends
# within a few where it goes on from a solution, or hardly ever.
_PATIENCE = (40, 10, 40, 40, 100, 100)
_PATIENCE_NEARBY = 12
HERE = -1
FIXED_POINT = ((0, 1.0, HELD), (0, 1.0, NEXT), (0, 1.0, NEXT), (HERE, 1.0, RELEASED))
# The fixed point again, from a jam: most cones have the radii there that they end with.
FROM_JAM = (*9 * ((HERE, 0.03, NEARBY),), (HERE, 1.0, RELEASED))

Rows = tuple[tuple[int, float, int], ...]
# Each search: at which of the problem's starts it begins, or where the last one got to, how far
# inside the cones, its kind.
SEARCHES: Rows = (
    (1, 0.1, FREE),
    (1, 3e-3, FREE),
    (1, 0.03, FREE),
    (HERE, 4.0, FREE),
    (0, 0.03, FREE),
    (1, 0.3, FREE),
    *6 * FIXED_POINT,
    (1, 1e-4, FREE),
    (0, 0.1, FREE),
    (0, 100.0, FREE),
    (HERE, 0.1, FREE),
    (0, 0.01, FREE),
    (0, 1e-3, FREE),
    (HERE, 100.0, FREE),
    *20 * FIXED_POINT,
)
# Among many bodies there is one that jams from anywhere, while the others are nearly solved for.
AMONG_MANY: Rows = (
    (1, 0.1, FREE),
    (1, 3e-3, FREE),
    (HERE, 4.0, FREE),
    (1, 0.03, FREE),
    (HERE, 0.03, AFRESH),
    *3 * FROM_JAM,
    *SEARCHES[4:],
)


def last_row(rows: Rows) -> int:
    """The last search of a solve; the row after it follows to the end.

    Where there is no solution, radii and impulses grow along the direction that proves it.
    """
    return next(k for k, row in enumerate(rows) if row[2] == HELD)


# Bounds of the relaxation of the fixed point.
_LEAST, _MOST = 0.3, 8.0
# Radii that change by no more than this share of the largest: the last solution is near.
_NEAR = 0.05


class Search(NamedTuple):
    """A row of the list of searches."""

    start: Array
    factor: Array
    kind: Array
    patience: Array

    @property
    def holds(self) -> Array:
        """Whether the cones keep their radii."""
        return self.kind >= HELD

    @property
    def strict(self) -> Array:
        """Whether only a solution leads on."""
        return self.kind >= AFRESH

    def goes_on(self, near: Array) -> Array:
        """Whether it begins where the last one ended, given whether that is near."""
        return (self.kind == RELEASED) | ((self.kind == NEXT) | (self.kind == NEARBY)) & near

    @property
    def age_nearby(self) -> Array:
        """Its age where it goes on: not much patience is left."""
        return jnp.where(self.kind == NEARBY, self.patience - _PATIENCE_NEARBY, 1)


def search_at(rows: Rows, row: Array) -> Search:
    """The search of a row."""
    start, factor, kind = (jnp.asarray(column)[row] for column in zip(*rows, strict=True))
    return Search(start, factor, kind, jnp.asarray(_PATIENCE)[kind])


class Radii(NamedTuple):
    """The search for the fixed point of the cones' radii."""

    history: Array  # (3, c): radii to hold, those held before, what changed them then

    @classmethod
    def at(cls, radius: Array) -> "Radii":
        """The search that begins with this radius (c,)."""
        return cls(jnp.stack([radius, radius, jnp.zeros_like(radius)]))

    @property
    def held(self) -> Array:
        """(c,)"""
        return self.history[0]

    def found(self, radius: Array) -> "Radii":
        """The search after held radii led to others, (c,): Irons and Tuck's relaxation.

        Plain iteration takes dozens of rounds past a fixed point that has just vanished, and may go
        round in a circle. Source: Int. J. Numer. Methods Eng. 1 (1969) 275.
        """
        held, before, change_before = self.history
        change = radius - held
        step, bend = held - before, change - change_before
        factor = -contract(step, bend) / at_least(contract(bend, bend))
        # Where the radii run away, after them.
        factor = jnp.where(factor > 0, jnp.clip(factor, _LEAST, _MOST), _MOST)
        factor = jnp.where(contract(step, step) > 0, factor, 1.0)
        # Radii are positive.
        following = jnp.maximum(held + factor * change, 0.25 * jnp.minimum(held, radius))
        return Radii(jnp.stack([following, held, change]))

    def near(self) -> Array:
        """Whether the radii to hold are close to those held before."""
        held, before, _ = self.history
        change = jnp.max(jnp.abs(held - before), initial=0.0)
        return change <= _NEAR * jnp.max(before, initial=0.0)
