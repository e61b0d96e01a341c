"""Tuning a vision-language model on labelled images."""
