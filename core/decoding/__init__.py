"""What stands between a file from anywhere and the decoders: bounds on their work, and files that they read wrongly."""
