"""What a child of this process makes of something that was used before."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


def works_in_a_child(check: Callable[[], bool]) -> bool:
    """Return whether `check` is true in a forked child; one that hangs is ended after 30 s."""
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        code = 1
        try:
            code = 0 if check() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
