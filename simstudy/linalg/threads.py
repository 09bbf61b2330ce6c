"""One BLAS thread: matrices of this package are small, and threads that wait for each other cost more than they do."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController

P = ParamSpec("P")
T = TypeVar("T")


@functools.cache
def _controller() -> ThreadpoolController:
    """The libraries loaded; finding them takes milliseconds, limiting them microseconds."""
    return ThreadpoolController()


def on_one_thread(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function run with one BLAS thread, as studies do; the caller's number is restored."""

    @functools.wraps(function)
    def limited(*args: P.args, **options: P.kwargs) -> T:
        with _controller().limit(limits=1, user_api="blas"):
            return function(*args, **options)

    return limited
