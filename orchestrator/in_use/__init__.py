"""Where a panel is used: how often labels occur there, what mistakes cost, and what a word is worth."""
