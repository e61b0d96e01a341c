"""Consilience: independent vision agents, weighed by the trust that each has earned."""
