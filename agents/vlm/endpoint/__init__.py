"""A model behind an address: the requests that it takes, and what its replies hold."""
