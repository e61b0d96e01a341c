"""What the agents of one run may spend together."""

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
        return self.usd / self.ended if self.ended else 0.0


class Budget:
    """Lets a request begin while what was spent, and what runs and it itself at their agents' mean cost, are within it.

    Where they are not, a request waits for those that run, whose cost may leave room for it; and until it is known what
    an agent's first request cost, its others wait. So a budget is exceeded by no more than an agent's first request, or
    as far as what runs at the same time costs more than the mean. All requests come from one event loop at a time.
    """

    def __init__(self, max_usd: float | None = None) -> None:
        """None: no bound."""
        self.max_usd = max_usd
        self._accounts: defaultdict[str, _Account] = defaultdict(_Account)
        self._changed = asyncio.Event()

    @property
    def spent_usd(self) -> float:
        return sum(account.usd for account in self._accounts.values())

    @asynccontextmanager
    async def request(self, agent: str, cost: Callable[[], float]) -> AsyncIterator[None]:
        """Wait for room, and count what the request inside costs, even if it fails.

        Args:
            agent: who asks.
            cost: US dollars that a sum stands at to which the request adds what it costs.

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
        while not self._has_room(agent):
            if not any(account.running for account in self._accounts.values()):
                raise BudgetSpentError(
                    f"the budget of this run is spent: {self.spent_usd:.4f} of {self.max_usd:g} USD "
                    f"(policy.max_run_cost_usd), and a request of '{agent}' costs {self._accounts[agent].mean_usd:.4f} "
                    "on average. Raise it and run the same again: answers in the reply cache are not paid for twice"
                )
            await self._changed.wait()

    def _has_room(self, agent: str) -> bool:
        if self.max_usd is None:
            return True
        mine = self._accounts[agent]
        if mine.running and not mine.ended:
            return False
        expected = sum(account.running * account.mean_usd for account in self._accounts.values()) + mine.mean_usd
        return self.spent_usd + expected <= self.max_usd * (1 + 1e-9)
