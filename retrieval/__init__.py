"""From images to vectors, and to the most similar labelled images."""
