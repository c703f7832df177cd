"""One region: its activation pattern, its affine map and norms, its half-spaces, and bounds for the whole network.

It may import ``lines`` and below. It hands on ``affine_maps``, ``norms``, ``patterns``, ``polytope.Polytope`` with its
linear programs and ``class_change``, and ``lipschitz_bounds``.
"""
