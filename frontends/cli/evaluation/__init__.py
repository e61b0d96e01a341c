"""Commands that evaluate, compare, replay and stress."""
