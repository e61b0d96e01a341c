"""Panels of answers: fitted on tables of what agents said, without images, and what they make of such answers."""
