"""Limits: how much one address, and all together, may ask of the server."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import Counter, OrderedDict
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
        who = network(address)
        self._unused_from[who] = self._next(who)
        self._unused_from.move_to_end(who)
        if len(self._unused_from) > MAX_ADDRESSES:
            self._unused_from.popitem(last=False)

    def check(self, address: str) -> None:
        """Count nothing.

        Raises:
            TooManyError: 429, a request of the address would not be taken.
        """
        self._next(network(address))

    def _next(self, who: str) -> float:
        """Return the moment at which the address will have used nothing, one request later. Raises as `take` does."""
        now = self._clock()
        unused_from = max(self._unused_from.get(who, now), now) + self._share
        if (seconds := unused_from - now - 60.0) > 1e-9:
            raise TooManyError(
                429, f"too many requests from your address: try again in {math.ceil(seconds)} s", seconds
            )
        return unused_from


class Shares:
    """A limit of what is in use at once: by all together, and by each address, which gets at most half.

    Attributes:
        taken: by all together.
    """

    def __init__(self, what: str, most: int) -> None:
        """Share out `most` of `what` (in words: 'images', 'connections', ...)."""
        self._what, self._most, self._each = what, most, max(1, most // 2)
        self.taken = 0
        self._taken_by: Counter[str] = Counter()

    def take(self, address: str, amount: int = 1) -> None:
        """Take some; `give_back` has to follow.

        Raises:
            TooManyError: 503, all are taken; 429, the address has its half.
        """
        who = network(address)
        if self.taken + amount > self._most:
            raise TooManyError(503, f"the server is busy with {self._what} already: try again in a moment", 2.0)
        if self._taken_by[who] + amount > self._each:
            raise TooManyError(429, f"too many {self._what} at once from your address: try again in a moment", 2.0)
        self.taken += amount
        self._taken_by[who] += amount

    def give_back(self, address: str, amount: int = 1) -> None:
        """Give back what was taken."""
        who = network(address)
        self.taken -= amount
        self._taken_by[who] -= amount
        if self._taken_by[who] <= 0:
            del self._taken_by[who]

    @contextmanager
    def holding(self, address: str) -> Iterator[None]:
        """Take one, and give it back at the end.

        Raises:
            TooManyError: see `take`.
        """
        self.take(address)
        try:
            yield
        finally:
            self.give_back(address)


def network(address: str) -> str:
    """Return whose address it is: of IPv6, one household has 2^64; one of IPv4 may be written as one of IPv6.

    >>> network("2001:db8::1"), network("192.0.2.7"), network("::ffff:192.0.2.7")
    ('2001:db8::/64', '192.0.2.7', '192.0.2.7')
    """
    try:
        ip = ipaddress.ip_address(address)
        if ip.version == 6:
            return str(ip.ipv4_mapped or ipaddress.ip_network(f"{address.partition('%')[0]}/64", strict=False))
    except ValueError:
        pass
    return address
