"""Shift: do new images come from where the labelled ones came from? Noticed from vectors alone, without labels."""
