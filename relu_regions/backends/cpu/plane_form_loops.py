"""The loops that numba compiles for the forms of faces, each in one pass over memory."""

import numpy as np
from numba import njit

__all__ = ["bend_relu", "summands"]

# Above 1 by more than all that rounds here.
MORE = 1 + 2.0**-40


@njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def bend_relu(forms, errors, parents, pieces):
    """The output of ReLUs on parts, ``(P, 3, units)``, and its bounds, ``(P, units)``, from those of whole faces."""
    parts, units = pieces.shape
    made, bounds = np.empty((parts, 3, units)), np.empty((parts, units) if errors.shape[0] > 0 else (0, 0))
    for p in range(parts):
        face = parents[p]
        for j in range(3):
            for u in range(units):
                made[p, j, u] = forms[face, j, u] if pieces[p, u] > 0 else 0.0
        if errors.shape[0] > 0:
            for u in range(units):
                bounds[p, u] = errors[face, u] if pieces[p, u] > 0 else 0.0
    return made, bounds


@njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def summands(forms, errors, reach, rounding):
    """``(1 + rounding) e + rounding (|a| + S |b| + T |c|)`` of every number, and a little more."""
    faces, numbers = errors.shape
    made = np.empty((faces, numbers))
    for f in range(faces):
        reach_s, reach_t = reach[f, 0], reach[f, 1]
        for u in range(numbers):
            size = abs(forms[f, 0, u]) + reach_s * abs(forms[f, 1, u]) + reach_t * abs(forms[f, 2, u])
            made[f, u] = (errors[f, u] + rounding * (size + errors[f, u])) * MORE
    return made
