"""Encoders: from images, and from texts where there is a text tower, to vectors."""
