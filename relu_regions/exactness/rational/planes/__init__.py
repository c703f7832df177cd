"""Planes in integers and fractions: convex polygons, cut face by face as a network's gates bend.

It may import what stands beside it in ``exactness.rational``. It hands on ``walk_plane``.
"""
