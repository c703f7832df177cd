"""The paper's experiments: data sets, training, and one module for each figure.

It may import all rooms, and nothing imports it but the command line and the demo.
"""
