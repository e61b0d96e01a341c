"""Where in an image a panel sees what it says: heat maps of a diagnosis."""
