"""Which labelled images show one thing: given by a manifest or a pattern on the path, or found."""
