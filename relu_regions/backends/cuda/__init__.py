"""Triton's programs for a CUDA device: gate by gate (``compiled``), and whole chains of gates (``chained``)."""
