"""History, feedback of people, learning from it, drift."""
