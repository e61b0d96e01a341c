"""Where labelled images are read from beside plain folders: manifests, and stores that their rows name."""
