"""What people run: the command line, the demo, and the reproduction of the paper.

It may import all rooms; no room imports it. It hands on ``cli.main``.
"""
