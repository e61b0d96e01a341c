"""The image memory: labelled images, their vectors, and the index that searches them."""
