"""Limits: how much one address, and all together, may ask of the server."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MAX_ADDRESSES = 10_000
"""Addresses that are remembered; the ones that asked longest ago are forgotten."""


class TooManyError(Exception):
    """Too many requests.

    Attributes:
        status: the HTTP status.
        seconds: after which the next try may succeed.
    """

    def __init__(self, status: int, message: str, seconds: float) -> None:
        super().__init__(message)
        self.status, self.seconds = status, seconds


class Rate:
    """A limit of requests a minute for each address: all at once, or spread.

    It is the generic cell rate algorithm (ITU-T I.371): each request moves the moment at which an address has used
    nothing by a minute's share, and that moment may be a minute ahead at most.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._share, self._clock = 60.0 / per_minute, clock
        self._unused_from: OrderedDict[str, float] = OrderedDict()

    def take(self, address: str) -> None:
        """Count a request of an address.

        Raises:
            TooManyError: 429, the address has used up its share.
        """
        who, now = network(address), self._clock()
        unused_from = max(self._unused_from.get(who, now), now) + self._share
        if (seconds := unused_from - now - 60.0) > 1e-9:
            raise TooManyError(
                429, f"too many requests from your address: try again in {math.ceil(seconds)} s", seconds
            )
        self._unused_from[who] = unused_from
        self._unused_from.move_to_end(who)
        if len(self._unused_from) > MAX_ADDRESSES:
            self._unused_from.popitem(last=False)


class Places:
    """A limit of requests under way."""

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, 0

    @contextmanager
    def take(self) -> Iterator[None]:
        """Take a place, and give it back at the end.

        Raises:
            TooManyError: 503, none is free.
        """
        if self.taken >= self.most:
            raise TooManyError(503, f"the server is busy with {self.most} images already: try again in a moment", 2.0)
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


def network(address: str) -> str:
    """Return whose address it is: of IPv6, one household has 2^64.

    >>> network("2001:db8::1"), network("192.0.2.7")
    ('2001:db8::/64', '192.0.2.7')
    """
    try:
        if ipaddress.ip_address(address).version == 6:
            return str(ipaddress.ip_network(f"{address.partition('%')[0]}/64", strict=False))
    except ValueError:
        pass
    return address
