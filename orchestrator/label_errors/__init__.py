"""Labels of the panel's own images that are perhaps wrong: found here, and moved by nobody."""
