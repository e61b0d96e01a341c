"""Decoding in a process of its own, which can be ended: of AVIF and HEIC, whose decoders take a file as one piece.

Such a file can hold thousands of pictures of which one is shown, each of them decoded: 65 kB took 11 s.
"""

from __future__ import annotations

import base64
import json
import math
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

import PIL.Image

from consilience.core.decoding.apart_program import STRIP
from consilience.core.decoding.bounded_work import took_too_long

PROGRAM = Path(__file__).with_name("apart_program.py")

WAITED = 10
"""Times the computing time that it is waited for the process, which may get less than a core."""


def decoded_apart(
    data: bytes, kind: str, seconds: float, name: str, check: Callable[[int, int], None]
) -> PIL.Image.Image:
    """Return the picture in a file, decoded in a process that is ended when it takes too long; 0.1 s more than here.

    Args:
        data: the bytes of the file.
        kind: "AVIF" or "HEIC".
        seconds: of computing, all threads of the decoder together; rounded up to whole ones.
        name: what messages call the file.
        check: raises ImageError where a picture of this width and height is over a limit.

    Raises:
        ImageError: it took too long, or is over a limit.
        ValueError: the file is damaged.
    """
    command = [sys.executable, "-P", str(PROGRAM), kind, str(math.ceil(seconds))]  # -P: not what lies in this folder
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes) as program:  # noqa: S603  this interpreter, our own program, no shell
        to, out = cast("IO[bytes]", program.stdin), cast("IO[bytes]", program.stdout)
        watch = threading.Timer(WAITED * seconds, program.kill)
        watch.daemon = True
        watch.start()
        try:
            with suppress(BrokenPipeError):
                to.write(data)
                to.close()
            image = _read(out, check)
        finally:
            watch.cancel()
            program.kill()
    if image is not None:
        return image
    if program.returncode < 0:
        raise took_too_long(name, seconds)
    raise ValueError(f"its decoder ended with {program.returncode}")


def _read(out: IO[bytes], check: Callable[[int, int], None]) -> PIL.Image.Image | None:
    """Return the picture that the program writes; None if it ends before it has written all of it."""
    if not (line := out.readline()):
        return None
    head = json.loads(line)
    if "error" in head:
        raise ValueError(head["error"])
    mode, (width, height) = head["mode"], head["size"]
    check(width, height)
    image = PIL.Image.new(mode, (width, height))
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        size = width, min(rows, height - top)
        wanted = len(mode) * width * size[1]  # a byte a channel: "L", "LA", "RGB", "RGBA"
        if len(strip := out.read(wanted)) < wanted:
            return None
        image.paste(PIL.Image.frombytes(mode, size, strip), (0, top))
    image.info["exif"] = base64.b64decode(head["exif"])
    return image
