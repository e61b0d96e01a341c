"""Who decides the images of an evaluation: this process, several, or a Ray cluster."""
