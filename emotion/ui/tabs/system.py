"""System: what machine and engine do, advice, two chores, and the model's card."""

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import gradio as gr

from emotion.engine import SpeechEngine
from emotion.formatting import size
from emotion.monitor import memory_held
from emotion.texts import Words
from emotion.ui import system_render, theme
from emotion.ui.page_context import QUIET, PageContext
from emotion.ui.texts import html, text

_PATIENCE_S = 30.0
# Of measuring batches only one goes on at a time, whoever asks; more would only wait for each other.
_CHORE: dict[str, Any] = {
    "show_progress": "hidden",
    "api_visibility": "private",
    "concurrency_limit": 1,
    "concurrency_id": "chores",
}


@dataclass(frozen=True)
class Parts:
    """The components of this tab."""

    status: gr.HTML
    free: gr.Button
    warm: gr.Button
    note: gr.HTML
    card: gr.HTML

    @property
    def chores(self) -> list[gr.components.Component]:
        return [self.note, self.free, self.warm]


def add_system(context: PageContext) -> None:
    """Lay out the tab and wire it."""
    with gr.Column(elem_id="system"):
        parts = _lay_out()
    _wire_readings(parts, context)
    _wire_chores(parts, context)


def _lay_out() -> Parts:
    status = gr.HTML(
        text("system_waiting"),
        html_template=theme.asset("patched.html"),
        js_on_load=theme.asset("patched.js") + theme.asset("system.js"),
        apply_default_css=False,
        elem_id="system-status",
    )
    with gr.Row(elem_id="chores"):
        free = gr.Button(text("system_free"), scale=0, min_width=140, elem_id="free-memory")
        warm = gr.Button(text("system_warm"), scale=0, min_width=140, elem_id="warm-up")
        note = html("", "chore-note")
    return Parts(status, free, warm, note, html("", "model-card"))


def _wire_readings(parts: Parts, context: PageContext) -> None:
    def look(note: str, request: gr.Request) -> tuple[Any, ...]:
        watch = context.watch
        words, reading = context.words(request), watch.read()
        status = system_render.status(
            watch.readings or (reading,), watch.advice(), words, context.recognizer.engine.cache_stats
        )
        purpose = gr.skip() if note else system_render.note(words("system.chores"))
        return status, system_render.model_card(reading.model, words), purpose

    parts.status.tick(look, parts.note, [parts.status, parts.card, parts.note], **QUIET)


def _wire_chores(parts: Parts, context: PageContext) -> None:
    engine = context.recognizer.engine

    async def free(request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
        async for said in _free(engine, context.words(request)):
            yield said

    async def warm(request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
        is_measured = context.settings.batch_frames == 0
        async for said in _warm(engine, is_measured, context.words(request)):
            yield said

    parts.free.click(free, None, parts.chores, **_CHORE)
    parts.warm.click(warm, None, parts.chores, **_CHORE)


async def _free(engine: SpeechEngine, words: Words) -> AsyncIterator[tuple[Any, ...]]:
    yield _under_way(words("system.free_asked"))
    device = engine.card.device
    before = await asyncio.to_thread(memory_held, device)
    hindrance = await _hindrance(engine.free_memory(), words)
    if hindrance is not None:
        yield _over(hindrance)
        return
    after = await asyncio.to_thread(memory_held, device)
    said = [_freed(before.process_bytes, after.process_bytes, words)]
    if before.card_bytes is not None and after.card_bytes is not None:
        held = {"before": before.card_bytes, "after": after.card_bytes}
        said.append(words("system.free_card", **{name: size(count) for name, count in held.items()}))
    yield _over(words.joined(said))


def _freed(before_bytes: int, after_bytes: int, words: Words) -> str:
    before, after = size(before_bytes), size(after_bytes)
    if after_bytes >= before_bytes or before == after:
        return words("system.free_nothing", after=after)
    return words("system.free_done", before=before, after=after)


async def _warm(engine: SpeechEngine, is_measured: bool, words: Words) -> AsyncIterator[tuple[Any, ...]]:
    yield _under_way(words("system.warm_asked"))
    started_s = time.perf_counter()
    hindrance = await _hindrance(engine.warm_up(), words)
    if hindrance is not None:
        yield _over(hindrance)
        return
    said = [words("system.warm_done", seconds=f"{time.perf_counter() - started_s:.1f}")]
    if is_measured:
        pays = engine.batch_frames > 1
        said.append(words("system.batches_pay" if pays else "system.no_batches", frames=f"{engine.batch_frames:,}"))
    yield _over(words.joined(said))


async def _hindrance(chore: "Future[None]", words: Words) -> str | None:
    """Wait for a chore of the engine; why it did not come to its end, None if it did."""
    done, _ = await asyncio.wait({asyncio.wrap_future(chore)}, timeout=_PATIENCE_S)
    if not done:
        return words("system.chore_later")
    error = done.pop().exception()
    return None if error is None else words.error(error)


def _under_way(said: str) -> tuple[Any, ...]:
    return system_render.note(said), gr.update(interactive=False), gr.update(interactive=False)


def _over(said: str) -> tuple[Any, ...]:
    return system_render.note(said), gr.update(interactive=True), gr.update(interactive=True)
