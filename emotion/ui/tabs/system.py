"""System: what machine and engine do, advice, two chores, and the model's card."""

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import Any

import gradio as gr

from emotion.engine import SpeechEngine
from emotion.formatting import size
from emotion.monitor import memory_held
from emotion.texts import Words
from emotion.ui import system_render, templates
from emotion.ui.layout import html, text
from emotion.ui.page_context import QUIET, PageContext

_PATIENCE_S = 30.0
# Of measuring batches only one goes on at a time, whoever asks; more would only wait for each other.
_CHORE: dict[str, Any] = {
    "show_progress": "hidden",
    "api_visibility": "private",
    "concurrency_limit": 1,
    "concurrency_id": "chores",
}


def add_system(context: PageContext) -> None:
    """Lay out the tab and wire it."""
    with gr.Column(elem_id="system"):
        status = html(text("system_waiting"), "system-status", template="patched.html", script="system")
        with gr.Row(elem_id="chores"):
            free = gr.Button(text("system_free"), scale=0, min_width=140, elem_id="free-memory")
            warm = gr.Button(text("system_warm"), scale=0, min_width=140, elem_id="warm-up")
            note = html("", "chore-note")
        card = html("", "model-card")
    handlers = SystemHandlers(context)
    status.tick(handlers.show_status, note, [status, card, note], **QUIET)
    free.click(handlers.free_memory, None, [note, free, warm], **_CHORE)
    warm.click(handlers.warm_up, None, [note, free, warm], **_CHORE)


class SystemHandlers:
    """The events of the tab: each method is one, and gives the values of the components after it."""

    def __init__(self, context: PageContext) -> None:
        self._context, self._engine = context, context.recognizer.engine

    def show_status(self, note: str, request: gr.Request) -> tuple[Any, ...]:
        """Machine, recogniser and model; what the buttons are for, until they said something."""
        words, watch = self._context.words(request), self._context.watch
        reading = watch.read()
        status = system_render.status(watch.readings or (reading,), watch.advice(), words, self._engine.cache_stats)
        purpose = gr.skip() if note else _note(words("system.chores"), words)
        return status, system_render.model_card(reading.model, words), purpose

    async def free_memory(self, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
        """Each step of giving unused memory back."""
        async for values in _free(self._engine, self._context.words(request)):
            yield values

    async def warm_up(self, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
        """Each step of warming the engine up."""
        is_measured = self._context.settings.batch_frames == 0
        async for values in _warm(self._engine, is_measured, self._context.words(request)):
            yield values


async def _free(engine: SpeechEngine, words: Words) -> AsyncIterator[tuple[Any, ...]]:
    yield _step(words("system.free_asked"), words, is_over=False)
    device = engine.card.device
    before = await asyncio.to_thread(memory_held, device)
    hindrance = await _hindrance(engine.free_memory(), words)
    if hindrance is not None:
        yield _step(hindrance, words)
        return
    after = await asyncio.to_thread(memory_held, device)
    said = [_freed(before.process_bytes, after.process_bytes, words)]
    if before.card_bytes is not None and after.card_bytes is not None:
        held = {"before": before.card_bytes, "after": after.card_bytes}
        said.append(words("system.free_card", **{name: size(count) for name, count in held.items()}))
    yield _step(words.joined(said), words)


def _freed(before_bytes: int, after_bytes: int, words: Words) -> str:
    before, after = size(before_bytes), size(after_bytes)
    if after_bytes >= before_bytes or before == after:
        return words("system.free_nothing", after=after)
    return words("system.free_done", before=before, after=after)


async def _warm(engine: SpeechEngine, is_measured: bool, words: Words) -> AsyncIterator[tuple[Any, ...]]:
    yield _step(words("system.warm_asked"), words, is_over=False)
    started_s = time.perf_counter()
    hindrance = await _hindrance(engine.warm_up(), words)
    if hindrance is not None:
        yield _step(hindrance, words)
        return
    said = [words("system.warm_done", seconds=f"{time.perf_counter() - started_s:.1f}")]
    if is_measured:
        pays = engine.batch_frames > 1
        said.append(words("system.batches_pay" if pays else "system.no_batches", frames=f"{engine.batch_frames:,}"))
    yield _step(words.joined(said), words)


async def _hindrance(chore: "Future[None]", words: Words) -> str | None:
    """Wait for a chore of the engine; why it did not come to its end, None if it did."""
    done, _ = await asyncio.wait({asyncio.wrap_future(chore)}, timeout=_PATIENCE_S)
    if not done:
        return words("system.chore_later")
    error = done.pop().exception()
    return None if error is None else words.error(error)


def _step(said: str, words: Words, *, is_over: bool = True) -> tuple[Any, ...]:
    return _note(said, words), gr.update(interactive=is_over), gr.update(interactive=is_over)


def _note(text: str, words: Words) -> str:
    return templates.render("system/note.html", words, text=text)
