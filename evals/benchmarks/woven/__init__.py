"""Small defects in large images: woven cloth, made."""
