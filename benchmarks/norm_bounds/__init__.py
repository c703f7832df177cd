"""The parts of benchmarks/verify_norm_bounds.py."""
