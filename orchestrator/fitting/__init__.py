"""From labelled images to a panel: fit, add, new labels, selection of agents, which image to label next."""
