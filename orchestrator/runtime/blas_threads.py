"""One thread for NumPy's BLAS, whose threads spin while they wait for the next product, and take the cores from others.

A batch of 8 images took 22 ms of the processor's time an image with BLAS threads, and 12 without.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import Any

from threadpoolctl import ThreadpoolController, threadpool_limits


def one_blas_thread() -> AbstractContextManager[Any]:
    """Fit without BLAS threads: for products this small they wait for each other, 15 times longer on a busy machine."""
    import scipy.linalg  # noqa: F401  the limit holds for what is loaded: scipy brings a BLAS of its own

    limit: AbstractContextManager[Any] = threadpool_limits(1, user_api="blas")
    return limit


class OneBlasThread:
    """A context without NumPy's BLAS threads. Entered by many at once, it gives them back when the last one leaves.

    What is loaded later than the first entry is not limited; finding what is loaded takes as long as a diagnosis.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._controller: ThreadpoolController | None = None
        self._limit: AbstractContextManager[Any] | None = None

    def __enter__(self) -> None:
        with self._lock:
            self._controller = self._controller or ThreadpoolController()
            if self._inside == 0:
                self._limit = self._controller.limit(limits=1, user_api="blas")
                self._limit.__enter__()
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._limit is not None:
                self._limit.__exit__(None, None, None)


DIAGNOSING = OneBlasThread()
