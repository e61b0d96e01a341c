"""What a panel holds, how it is written and read."""
