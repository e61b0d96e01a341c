"""What weighs: it never sees an image, only what agents say of it."""
