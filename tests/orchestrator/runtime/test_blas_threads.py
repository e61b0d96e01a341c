"""BLAS threads: one while anybody diagnoses, all again afterwards."""

from __future__ import annotations

from threadpoolctl import threadpool_info, threadpool_limits

from consilience.orchestrator.runtime.blas_threads import OneBlasThread


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_the_last_to_leave_gives_the_threads_back() -> None:
    guard = OneBlasThread()
    with threadpool_limits(2, user_api="blas"):
        for _ in range(2):
            with guard:
                with guard:
                    assert blas_threads() == {1}
                assert blas_threads() == {1}
            assert blas_threads() == {2}
