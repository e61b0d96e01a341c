"""Recorded answers of agents, such as the paper's, weighed as live ones are."""
