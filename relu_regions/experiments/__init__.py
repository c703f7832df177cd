"""The paper's experiments: data sets, training, and one module for each figure."""
