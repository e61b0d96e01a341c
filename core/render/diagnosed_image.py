"""The image of a diagnosis, as it was kept or loaded again."""

from __future__ import annotations

from consilience.core.diagnosis_record import DiagnosisRecord
from consilience.core.errors import ImageError
from consilience.core.images import Image, load_image


def image_of(diagnosis: DiagnosisRecord) -> Image:
    """Return the image that was diagnosed.

    Raises:
        ImageError: it was not kept, and its source cannot be loaded or holds another image by now.
    """
    if diagnosis.image is not None:
        return diagnosis.image
    try:
        image = load_image(diagnosis.source)
    except ImageError as cause:
        raise ImageError(
            f"the image of this diagnosis was not kept and cannot be loaded again: {cause}; "
            "put it back where it was, or diagnose it anew"
        ) from cause
    if image.identity != diagnosis.identity:
        raise ImageError(f"'{diagnosis.source}' is not the image that was diagnosed any more; diagnose it anew")
    return image
