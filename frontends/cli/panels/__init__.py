"""Commands that make, show and use a panel."""
