"""Commands that learn from people: feedback, review, history, learning, suggestions, drift."""
