"""Moving images of a labelled folder into the folder of another label, and back."""
