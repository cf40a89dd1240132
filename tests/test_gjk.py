"""The direction in which convex geoms are nearest, while they almost touch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dojo.physics import gjk
from dojo.physics.kinematics import Frames
from dojo.physics.solids import Solid

COUNT = 5000
SIGNS = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8)
nearest = jax.jit(gjk.direction)


def solid(core, pos, turn):
    """Polytopes by their corners (3, V, n)."""
    zero = jnp.zeros((3, COUNT))
    # The search reads no faces and no edges.
    rest = dict.fromkeys(("normals", "faces", "edges", "has_face", "has_edge"))
    pose = Frames.of(jnp.asarray(turn), jnp.asarray(pos))
    return Solid(pose, jnp.asarray(core), spread=zero, radius=zero[0], **rest)


def boxes(rng):
    return SIGNS[..., None] * rng.uniform(0.03, 0.1, (3, 1, COUNT))


def triangles(rng):
    corners = rng.uniform(-0.1, 0.1, (3, 3, COUNT))
    return corners - corners.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("shapes", [triangles, boxes])
@pytest.mark.parametrize("upright", [False, True], ids=["turned", "upright"])
def test_it_is_found_however_near_they_are(shapes, upright):
    """Apart by 1e-8 to 0.1 m along a known direction: along no other, they are so by less."""
    rng = np.random.default_rng(0)
    one, two = shapes(rng), boxes(rng)
    turn = Rotation.random(COUNT, rng=rng).as_matrix().transpose(1, 2, 0)
    way = rng.normal(size=(3, COUNT))
    if upright:
        turn, way = np.tile(np.eye(3)[..., None], COUNT), np.tile([[0.0], [0.0], [1.0]], COUNT)
    way /= np.linalg.norm(way, axis=0)
    world = np.einsum("ijn,jkn->ikn", turn, two)

    def apart(n, scale):
        """By how much the geoms, scaled, would be apart along n with the origins in one place."""
        first, second = (np.einsum("in,ikn->kn", n, x) for x in (one, world))
        return scale * (second.min(axis=0) - first.max(axis=0))

    pos = way * (10 ** rng.uniform(-8, -1, COUNT) - apart(way, 1.0))
    still = np.tile(np.eye(3)[..., None], COUNT)
    found = nearest(solid(one, np.zeros((3, COUNT)), still), solid(two, pos, turn))
    n = np.asarray(found)
    known, reached = ((x * pos).sum(axis=0) + apart(x, 0.999) for x in (way, n))
    assert (reached > known - 1e-10).all(), (known - reached).max()
