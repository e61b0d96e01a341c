"""Agents that ask a vision-language model: prompts, endpoints, replies, budgets, models in this process."""
