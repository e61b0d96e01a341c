"""Agents on an encoder's features, one file each."""
