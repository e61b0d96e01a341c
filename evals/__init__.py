"""Evaluation: scores of a panel and its agents on labelled images, and benchmarks."""
