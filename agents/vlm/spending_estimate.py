"""What the answers of models to many images will take: calls, tokens, money and time, before the first is paid for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from consilience.agents.vlm.conversation import MessagePicture
from consilience.agents.vlm.image_question import CaptionQuestion, ImageQuestion, prompts_of
from consilience.agents.vlm.reply_cache import ReplyCache
from consilience.core.images import Image
from consilience.core.settings.model_settings import EndpointSettings, ReasonerSettings
from consilience.core.settings.vlm_settings import VlmSettings
from consilience.core.task import Task

# Rough figures, in tokens and seconds, which providers' models vary around by a factor of two or so.
PIXELS_A_TOKEN, CHARACTERS_A_TOKEN = 750, 4
ANSWER_TOKENS, LABEL_TOKENS = 100, 5
"""Written in an answer with its reason, and in one that is a label alone."""

EVIDENCE_TOKENS, RECORD_TOKENS = 250, 1200
"""Read in the text of a second look beyond that of a first one, and in the record that a reasoner reads."""

SECONDS_A_CALL, TOKENS_A_SECOND = 1.0, 50.0


@dataclass(frozen=True)
class SpendingEstimate:
    """What the answers of some agents will take, about; answers that are kept from before are left out.

    Attributes:
        agents: who is asked.
        calls: requests.
        tokens: read and written.
        usd: at the prices in the settings, in US dollars.
        seconds: of waiting, with as many requests at once as the settings allow.
        unpriced: those of the agents whose provider is paid, though no price is set.
    """

    agents: tuple[str, ...] = ()
    calls: int = 0
    tokens: int = 0
    usd: float = 0.0
    seconds: float = 0.0
    unpriced: tuple[str, ...] = ()

    def __add__(self, other: SpendingEstimate) -> SpendingEstimate:
        """Return the estimate of both: agents are asked at the same time."""
        return SpendingEstimate(
            tuple(dict.fromkeys([*self.agents, *other.agents])),
            self.calls + other.calls,
            self.tokens + other.tokens,
            self.usd + other.usd,
            max(self.seconds, other.seconds),
            tuple(dict.fromkeys([*self.unpriced, *other.unpriced])),
        )

    def of_more(self, times: float) -> SpendingEstimate:
        """Return the estimate for so many times as many images, of which as large a share is answered already."""
        calls, tokens = round(self.calls * times), round(self.tokens * times)
        return replace(self, calls=calls, tokens=tokens, usd=self.usd * times, seconds=self.seconds * times)

    def is_above(self, usd: float) -> bool:
        """Return whether it is above so many US dollars; without a price a million tokens count as one dollar."""
        return self.usd > usd or (bool(self.unpriced) and self.tokens / 1e6 > usd)

    def words(self, budget: float | None = None) -> str:
        """Return the estimate in plain words; `budget` is what may be spent, in US dollars."""
        minutes = self.seconds / 60
        time = f"{self.seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min"
        money = f"{self.usd:.2f} USD" if self.usd >= 0.01 or not self.usd else "under 0.01 USD"
        if len(self.unpriced) == len(self.agents):
            money = "no price is set"
        said = [f"{', '.join(self.agents)}: about {self.calls:,} calls, {self.tokens:,} tokens, {money}, {time}."]
        if self.unpriced and self.usd:
            said.append(f"No price is set for {', '.join(self.unpriced)}.")
        if budget is not None and self.usd > budget:
            said.append(
                f"policy.max_run_cost_usd is {budget:g}: it would stop after about {100 * budget / self.usd:.0f} % of "
                "that, and keep the answers. Raise it to get through."
            )
        return " ".join(said)


def of_looks(
    settings: VlmSettings, task: Task, example: Image, images: Sequence[str], cache: ReplyCache | None, captions: bool
) -> SpendingEstimate:
    """Return what a model's first looks at all images take, and second ones if it gives some.

    Args:
        settings: of the agent.
        task: the question.
        example: one of the images, whose size stands for all.
        images: their identities.
        cache: where answers are kept.
        captions: whether it also describes each image.
    """
    if not is_paid(settings):
        return SpendingEstimate()
    first, caption = ImageQuestion(settings, task, example), CaptionQuestion(settings, task, example)
    written = settings.answers * min(LABEL_TOKENS if settings.label_only else ANSWER_TOKENS, settings.max_tokens)
    read = _read(first)
    total = _of_calls(settings, settings.name, _asked(settings, first.prompts, images, cache), read, written)
    if settings.second_look:
        more = EVIDENCE_TOKENS + settings.neighbours_shown * settings.neighbour_side**2 // PIXELS_A_TOKEN
        asked = _asked(settings, prompts_of("second", task), images, cache)
        total = _after(total, _of_calls(settings, settings.name, asked, read + more, written))
    if captions:
        asked = _asked(settings, caption.prompts, images, cache)
        total = _after(_of_calls(settings, settings.name, asked, _read(caption), ANSWER_TOKENS), total)
    return total


def of_reasoner(settings: ReasonerSettings, name: str, images: Sequence[str]) -> SpendingEstimate:
    """Return what it takes that a reasoner called `name` reads the record of each image."""
    if not is_paid(settings):
        return SpendingEstimate()
    return _of_calls(settings, name, len(images), RECORD_TOKENS, min(ANSWER_TOKENS, settings.max_tokens))


def is_paid(settings: EndpointSettings) -> bool:
    """Return whether answers cost money: there is a price, or a key for an address on the public internet."""
    from consilience.core.fetch import is_public_host

    host = urlsplit(settings.base_url).hostname or ""
    return not settings.is_free or (settings.key_variable is not None and is_public_host(host))


def _asked(settings: VlmSettings, prompts: str, images: Sequence[str], cache: ReplyCache | None) -> int:
    """Return about how many images it will be asked about: those of which no answer to these prompts is kept."""
    kept = set() if cache is None else cache.images_answered(settings.model, prompts)
    return len([image for image in images if image not in kept])


def _read(question: ImageQuestion) -> int:
    """Return how many tokens the messages of a question have."""
    parts = [part for message in question.messages() for part in message.parts]
    pictures = [part.scaled().size for part in parts if isinstance(part, MessagePicture)]
    characters = sum(len(part) for part in parts if isinstance(part, str))
    return characters // CHARACTERS_A_TOKEN + sum(width * height // PIXELS_A_TOKEN for width, height in pictures)


def _of_calls(settings: EndpointSettings, name: str, calls: int, read: int, written: int) -> SpendingEstimate:
    if not calls:
        return SpendingEstimate()
    rounds = -(-calls // settings.concurrency)
    seconds = rounds * (SECONDS_A_CALL + written / TOKENS_A_SECOND)
    prices = settings.price_per_million_input_tokens * read + settings.price_per_million_output_tokens * written
    usd = calls * prices / 1e6 + seconds * settings.price_per_gpu_second
    return SpendingEstimate((name,), calls, calls * (read + written), usd, seconds, (name,) if settings.is_free else ())


def _after(first: SpendingEstimate, then: SpendingEstimate) -> SpendingEstimate:
    """Return the estimate of both, one after the other."""
    both = first + then
    return SpendingEstimate(both.agents, both.calls, both.tokens, both.usd, first.seconds + then.seconds, both.unpriced)
