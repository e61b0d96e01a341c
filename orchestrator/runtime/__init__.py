"""How agents are called: time limits, the background loop, threads."""
