"""The loops that numba compiles for a CPU: gate by gate (``compiled``), and whole chains of gates (``chained``)."""
