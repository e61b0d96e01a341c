"""Calibration, trust and fusion: from what agents say to one posterior."""
