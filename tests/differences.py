"""Derivatives by differences, for comparison."""

import functools
import itertools

import numpy as np


def richardson(function, scale):
    """Derivative at zero of a function of one number: central, without its second-order error."""

    def central(h):
        return (function(h) - function(-h)) / (2 * h)

    return (4 * central(scale / 2) - central(scale)) / 3


def best_richardson(function, scales):
    """That of the scales whose result agrees best with that of the next smaller one.

    Between rounding, which small scales suffer from, and the terms of higher order; large changes
    may leave the domain of the function.
    """
    once = functools.cache(function)  # scales that double have changes in common
    results = [richardson(once, scale) for scale in sorted(scales)]
    gaps = [np.abs(a - b).max() for a, b in itertools.pairwise(results)]
    return results[int(np.nanargmin(gaps)) + 1]
