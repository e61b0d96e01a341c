"""What everything rests on: data types, errors, images, datasets; inside, settings, storage and rendering."""
