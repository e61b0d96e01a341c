"""The weighing of agents, beside other methods."""
