"""The bound on what the agents of one run may spend together, in US dollars."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from consilience.core.errors import BudgetSpentError


@dataclass
class _Account:
    """One agent's requests: how many run, how many have ended, and what those cost."""

    running: int = 0
    ended: int = 0
    usd: float = 0.0

    @property
    def mean_usd(self) -> float:
        """The mean cost of a request that has ended; 0 before any has."""
        return self.usd / self.ended if self.ended else 0.0


class Budget:
    """Bounds what is spent: a request begins only if there is room for it.

    There is room while the sum of what was spent, of the requests that run and of the new one, each at its agent's mean
    cost, is within the bound. Where it is not, the request waits for those that run, which may cost less; and until it
    is known what an agent's first request cost, its others wait. So the bound is exceeded by no more than an agent's
    first request, or as far as requests that run at the same time cost more than the mean. All requests come from one
    event loop at a time.
    """

    def __init__(self, max_usd: float | None = None) -> None:
        """Bound the spending at `max_usd` US dollars; None: no bound."""
        self.max_usd = max_usd
        self._accounts: defaultdict[str, _Account] = defaultdict(_Account)
        self._changed = asyncio.Event()

    @property
    def spent_usd(self) -> float:
        """What all requests that have ended cost, in US dollars."""
        return sum(account.usd for account in self._accounts.values())

    @asynccontextmanager
    async def request(self, agent: str, cost: Callable[[], float]) -> AsyncIterator[None]:
        """Wait for room, and count what the request made inside the `async with` costs, even if it fails.

        Args:
            agent: the name of the agent that asks.
            cost: returns the agent's costs so far in US dollars; called before and after the request.

        Raises:
            BudgetSpentError: there is no room, and nothing runs that could leave some.
        """
        await self._room(agent)
        account, before = self._accounts[agent], cost()
        account.running += 1
        try:
            yield
        finally:
            account.running -= 1
            account.ended += 1
            account.usd += cost() - before
            self._changed.set()
            self._changed = asyncio.Event()

    async def _room(self, agent: str) -> None:
        """Wait until there is room. Raises BudgetSpentError if nothing runs that could leave some."""
        while not self._has_room(agent):
            if not any(account.running for account in self._accounts.values()):
                raise BudgetSpentError(
                    f"the budget of this run is spent: {self.spent_usd:.4f} of {self.max_usd:g} USD "
                    f"(policy.max_run_cost_usd), and a request of '{agent}' costs {self._accounts[agent].mean_usd:.4f} "
                    "on average. Raise it and run the same again: answers in the reply cache are not paid for twice"
                )
            await self._changed.wait()

    def _has_room(self, agent: str) -> bool:
        """Return whether a request of the agent may begin now."""
        if self.max_usd is None:
            return True
        mine = self._accounts[agent]
        if mine.running and not mine.ended:
            return False
        expected = sum(account.running * account.mean_usd for account in self._accounts.values()) + mine.mean_usd
        return self.spent_usd + expected <= self.max_usd * (1 + 1e-9)
