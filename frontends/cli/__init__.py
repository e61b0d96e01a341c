"""The command line; its commands lie in rooms by what they are for."""
