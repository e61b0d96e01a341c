"""Runs an image-text model of Hugging Face transformers (Qwen2.5-VL or another) in this process, in batches."""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

from consilience.agents.vlm.checkpoint import EXTRA, end_tokens, open_checkpoint, special_texts
from consilience.agents.vlm.conversation import Message
from consilience.agents.vlm.endpoint.chat_completion import CompletionChoice, Usage
from consilience.agents.vlm.lora_adapter import merged
from consilience.core.errors import AgentError, ConsilienceError, first_line, import_extra
from consilience.core.settings.transformers_settings import TransformersSettings

log = logging.getLogger(__name__)

Conversations: TypeAlias = Sequence[Sequence[Message]]


@dataclass(frozen=True)
class ModelReply:
    """What a model returns for one conversation.

    Attributes:
        usage: the tokens and seconds that it took.
        choices: replies, where these were asked for.
        scores: log probabilities of words, where these were asked for.
    """

    usage: Usage
    choices: list[CompletionChoice] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)


Work: TypeAlias = Callable[[Conversations], list[ModelReply]]

_opened: WeakValueDictionary[tuple[str, str, str, str | None], ImageTextModel] = WeakValueDictionary()
_opening = threading.Lock()


def open_model(settings: TransformersSettings) -> ImageTextModel:
    """Return the model, loaded once for all agents of this process that use it. Errors as of `open_checkpoint`."""
    key = (settings.model, settings.device, settings.dtype, settings.adapter)
    with _opening:
        model = _opened.get(key) or ImageTextModel(*key)
        _opened[key] = model
    return model


class ImageTextModel:
    """An image-text model with its processor. Many threads may use it; it works for one at a time.

    What a checkpoint sets for sampling (top-k, a penalty of repetitions, ...) is not used: answers follow from the
    model's own probabilities.
    """

    def __init__(self, name: str, device: str, dtype: str, adapter: str | None = None) -> None:
        """Open the model; `adapter` is a folder with a LoRA adapter that is merged into it.

        Other arguments and errors as of `open_checkpoint`, and of `merged` where there is an adapter.
        """
        self._torch = import_extra("torch", EXTRA)
        self._processor, self._model = open_checkpoint(name, device, dtype)
        if adapter is not None:
            self._model = merged(self._model, Path(adapter))
        self._tokenizer = self._processor.tokenizer
        self._tokenizer.padding_side = "left"  # every reply begins where its conversation ends
        self._ends = end_tokens(self._model, self._tokenizer)
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.convert_ids_to_tokens(self._ends[0])
        self._model.generation_config = import_extra("transformers", EXTRA).GenerationConfig(
            eos_token_id=self._ends, pad_token_id=self._tokenizer.pad_token_id
        )
        self._special = special_texts(self._processor)
        self._context = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        self._lock = threading.Lock()
        self._fitting: int | None = None  # conversations at once, where more did not fit into memory

    def replies(
        self, conversations: Conversations, n: int, temperature: float, max_tokens: int, at_once: int
    ) -> list[ModelReply | AgentError]:
        """Return n replies to each conversation: the likeliest token each time at temperature 0, else sampled.

        Args:
            conversations: what the model is asked.
            n: replies to each.
            temperature: of the sampling.
            max_tokens: longest reply, in tokens.
            at_once: conversations in a batch, at most; fewer where they don't fit into memory.

        Returns:
            For each conversation, in order, the replies, or the AgentError that says why it failed; the others go on.
        """
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        how = (sampling if temperature > 0 else {"do_sample": False}) | {"num_return_sequences": n}

        def work(some: Conversations) -> list[ModelReply]:
            inputs = self._read(some, max_tokens)
            written = self._model.generate(**inputs, **how, max_new_tokens=max_tokens)
            replies = [self._reply(tokens) for tokens in written[:, inputs["input_ids"].shape[1] :].tolist()]
            each = [replies[start : start + n] for start in range(0, len(replies), n)]
            return [
                ModelReply(Usage(read, sum(length for _, length in own)), choices=[choice for choice, _ in own])
                for own, read in zip(each, _lengths(inputs), strict=True)
            ]

        return self._batched(work, conversations, at_once)

    def scores(self, conversations: Conversations, words: Sequence[str], at_once: int) -> list[ModelReply | AgentError]:
        """Return the log probability of each word as the whole reply to each conversation; the rest as for `replies`.

        It is that of the word's tokens, one after the other, and of an end after them, which tells a word from a longer
        one that begins with it. The model is not constrained, so that the probabilities sum to less than 1.
        """

        def work(some: Conversations) -> list[ModelReply]:
            paths = self._paths(some[0], words)
            inputs = self._read(some, max(map(len, paths)) + 1)
            scores = self._torch.zeros(len(some), len(paths), device=self._model.device)
            steps = 0
            for beginning, following in self._following(inputs, paths):
                steps += 1
                for number, path in enumerate(paths):
                    if path == beginning:
                        scores[:, number] += following[:, self._ends].logsumexp(dim=1)
                    elif path[: len(beginning)] == beginning:
                        scores[:, number] += following[:, path[len(beginning)]]
            rows = zip(scores.tolist(), _lengths(inputs), strict=True)
            return [ModelReply(Usage(read, steps), scores=row) for row, read in rows]

        return self._batched(work, conversations, at_once)

    @property
    def network(self) -> Any:
        """The model itself, a torch module, for tuning."""
        return self._model

    def read_answered(self, conversations: Conversations, answers: Sequence[str]) -> tuple[Any, Any]:
        """Return the model's inputs for n conversations with their answers, and the target tokens.

        The targets, int (n, tokens), are the tokens of the answers and of the end after them, and -100 elsewhere.

        Raises:
            AgentError: the chat template does not write an answer right after its question.
        """
        texts, lengths, pictures = [], [], []
        for conversation, answer in zip(conversations, answers, strict=True):
            chat = [self._turn(message) for message in conversation]
            start = self._processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
            replied = [*chat, {"role": "assistant", "content": [{"type": "text", "text": self._data(answer)}]}]
            whole = self._processor.apply_chat_template(replied, tokenize=False)
            asked, full = (self._tokenizer(text, add_special_tokens=False)["input_ids"] for text in (start, whole))
            if full[: len(asked)] != asked:
                raise AgentError("the model's chat template does not write an answer right after its question")
            texts.append(whole)
            lengths.append(len(full) - len(asked))
            pictures.append(
                [part.scaled() for message in conversation for part in message.parts if not isinstance(part, str)]
            )
        inputs = self._processor(text=texts, images=pictures, padding=True, return_tensors="pt")  # padded on the left
        wanted = self._torch.full_like(inputs["input_ids"], -100)
        for row, length in enumerate(lengths):
            answer = inputs["input_ids"][row, -length:]
            ended = [place for place, token in enumerate(answer.tolist()) if token in self._ends][:1] or [length - 1]
            wanted[row, -length:][: ended[0] + 1] = answer[: ended[0] + 1]  # templates write blanks after the end
        return inputs.to(self._model.device, self._model.dtype), wanted.to(self._model.device)

    def _paths(self, conversation: Sequence[Message], words: Sequence[str]) -> list[tuple[int, ...]]:
        """Return the tokens of each word as a reply, as the chat template writes it (with a blank before it, say).

        Where a token would span the end of the question and the word's beginning, the word is tokenised by itself.
        """
        chat = [self._turn(message) for message in conversation]
        start = self._processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        before = self._tokenizer(start, add_special_tokens=False)["input_ids"]
        paths = []
        for word in map(self._data, words):
            replied = [*chat, {"role": "assistant", "content": [{"type": "text", "text": word}]}]
            whole = self._processor.apply_chat_template(replied, tokenize=False)
            lead, separator, _ = whole.removeprefix(start).partition(word)
            known = separator and whole.startswith(start)
            tokens = self._tokenizer(f"{start}{lead}{word}", add_special_tokens=False)["input_ids"] if known else []
            if tokens[: len(before)] != before:
                tokens = [*before, *self._tokenizer(word, add_special_tokens=False)["input_ids"]]
            paths.append(tuple(tokens[len(before) :]))
        return paths

    def _following(
        self, inputs: dict[str, Any], paths: Sequence[tuple[int, ...]]
    ) -> Iterator[tuple[tuple[int, ...], Any]]:
        """Yield each beginning of a path, and the log probabilities of the token after it, (conversations, tokens).

        The conversations with their pictures are read once. `generate` is asked for one token at a time, because it
        alone knows where each model places a token that comes after pictures and padding.
        """
        torch, shape = self._torch, inputs["input_ids"].shape
        options = {"do_sample": False, "max_new_tokens": 1, "return_dict_in_generate": True, "output_logits": True}
        asked = self._model.generate(**inputs, **options)
        yield (), asked.logits[0].log_softmax(dim=-1)
        by_token = {name: value for name, value in inputs.items() if value.shape == shape}
        for beginning in sorted({path[:end] for path in paths for end in range(1, len(path) + 1)}):
            tokens = torch.tensor(beginning, device=self._model.device).expand(len(inputs["input_ids"]), -1)
            more = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
            longer = {
                name: torch.cat([value, more.get(name, torch.zeros_like(tokens))], dim=1)
                for name, value in by_token.items()
            }
            kept = copy.deepcopy(asked.cache)  # what is read is added to it
            yield beginning, self._model.generate(**longer, **options, cache=kept).logits[0].log_softmax(dim=-1)

    def _read(self, conversations: Conversations, more: int) -> Any:
        """Return the model's inputs for the conversations, padded on the left.

        Raises:
            AgentError: they and `more` tokens exceed what the model can hold.
        """
        chats = [[self._turn(message) for message in conversation] for conversation in conversations]
        texts = self._processor.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
        pictures = [
            [part.scaled() for message in conversation for part in message.parts if not isinstance(part, str)]
            for conversation in conversations
        ]
        inputs = self._processor(text=texts, images=pictures, padding=True, return_tensors="pt")
        length = inputs["input_ids"].shape[1]
        if self._context is not None and length + more > self._context:
            raise AgentError(
                f"the question has {length} tokens and the answer up to {more}, but the model holds {self._context}; "
                "lower image_side, neighbours_shown or max_tokens"
            )
        return inputs.to(self._model.device, self._model.dtype)

    def _turn(self, message: Message) -> dict[str, Any]:
        """Return a message as chat templates take it; pictures are passed apart from it."""
        parts = [
            {"type": "text", "text": self._data(part)} if isinstance(part, str) else {"type": "image"}
            for part in message.parts
        ]
        return {"role": message.role, "content": parts}

    def _data(self, text: str) -> str:
        """Return the text with a blank in each control token, so that it is read as text (no end of a turn, ...)."""
        for mark in self._special:
            text = text.replace(mark, f"{mark[0]} {mark[1:]}")
        return text

    def _reply(self, tokens: Sequence[int]) -> tuple[CompletionChoice, int]:
        """Return the reply and its length in tokens, its end included; what follows that is padding."""
        end = next((place for place, token in enumerate(tokens) if token in self._ends), None)
        text = self._tokenizer.decode(tokens[:end], skip_special_tokens=True)
        return CompletionChoice.of(text, ended=end is not None), len(tokens) if end is None else end + 1

    def _batched(self, work: Work, rows: Conversations, at_once: int) -> list[ModelReply | AgentError]:
        """Do the work in batches of at most `at_once`, or of as many as have fitted into memory."""
        done: list[ModelReply | AgentError] = []
        while len(done) < len(rows):
            done += self._apart(work, rows[len(done) :][: min(at_once, self._fitting or at_once)])
        return done

    def _apart(self, work: Work, rows: Conversations) -> list[ModelReply | AgentError]:
        """Do the work on all rows at once; if it fails, on each half, until what fails stands alone."""
        try:
            with self._lock, self._torch.inference_mode():
                started = time.perf_counter()
                answers = work(rows)
                seconds = (time.perf_counter() - started) / len(rows)
            return [replace(answer, usage=replace(answer.usage, seconds=seconds)) for answer in answers]
        except Exception as cause:  # whatever a template, a processor or a model raises is a failure of its image
            problem = self._problem(cause, len(rows))
        if len(rows) == 1:
            return [problem]
        if self._model.device.type == "cuda":
            self._torch.cuda.empty_cache()
        half = len(rows) // 2
        return [*self._apart(work, rows[:half]), *self._apart(work, rows[half:])]

    def _problem(self, cause: Exception, rows: int) -> AgentError:
        """Return an error that says the cause, but does not hold it: its traceback keeps what fills the memory."""
        if isinstance(cause, ConsilienceError):
            return AgentError(str(cause))
        log.debug("the model failed on %d images", rows, exc_info=cause)
        if isinstance(cause, self._torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(cause):
            self._fitting = max(1, rows // 2)
            return AgentError(
                f"the memory of '{self._model.device}' is too small for one image at a time; "
                "lower image_side or neighbours_shown, or use a smaller model or dtype"
            )
        return AgentError(f"the model failed ({type(cause).__name__}: {first_line(cause)})")


def _lengths(inputs: Any) -> list[int]:
    """Return the number of tokens of each conversation, without padding."""
    lengths: list[int] = inputs["attention_mask"].sum(dim=1).tolist()
    return lengths
