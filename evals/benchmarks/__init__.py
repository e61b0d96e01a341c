"""Measurements of a checkout: accuracy, coverage, novelty, learning on; not part of the wheel."""
