"""Slow, obvious, independent answers that the library is judged by."""
