"""walk_plane(): the faces of networks in planes, and what to ask of them.

It may import ``paths``, ``exactness``, ``regions`` and below, and knows nothing of ``walking``. It hands on
``planes.Planes`` and ``tiles``: ``Tiles`` and ``PlaneFaces``, the answer for one plane as plain arrays.
"""
