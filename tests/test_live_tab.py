import asyncio
from typing import Any

import gradio as gr
import pytest
from fastapi import FastAPI

from emotion.analysis import AnalysisRequest
from emotion.live import LiveSession
from emotion.settings import Settings
from emotion.texts import Words
from emotion.ui.clip_view import clip_key
from emotion.ui.tabs.live import add_live, saved_values
from tests.fakes import tone
from tests.page_server import FakeRecognizer, page_context, text_of, visitor_of
from tests.test_live import pcm

ENGLISH = Words("en")


@pytest.fixture
def recognizer(tmp_path):
    recognizer = FakeRecognizer(Settings(outputs=tmp_path / "outputs"))
    yield recognizer
    recognizer.close()


@pytest.fixture
def context(recognizer):
    return page_context(recognizer)


def saved_run(recognizer) -> str:
    session = LiveSession(recognizer, 16_000, lambda _: None, AnalysisRequest("frame"))
    session.feed(pcm(tone(1.0)))
    return clip_key(session.stop().result(30), recognizer.settings)


def test_a_saved_session_is_shown_and_becomes_the_open_clip(context, recognizer):
    run = saved_run(recognizer)
    card, timeline, downloads, log, opened = saved_values(run, context, visitor_of(context.recognizer))
    assert text_of(card).startswith("😠 Angry Confidence:")
    assert timeline["clip"] == opened == run
    assert "Processed audio" in downloads
    assert run in log


@pytest.mark.parametrize("run", ["", "..", "../../etc", "outputs_20261122_120000", "outputs_20261122_120000/../x", "/"])
def test_a_run_that_is_none_is_a_sentence_and_opens_nothing(context, run):
    card, timeline, downloads, log, opened = saved_values(run, context, visitor_of(context.recognizer))
    assert "This result is not there" in text_of(card)
    assert (timeline, downloads, log, opened) == (None, "", "", gr.skip())


def test_who_watches_an_emotion_change_gets_its_course_unless_it_is_not_wished(context):
    async def config() -> dict[str, Any]:
        with gr.Blocks() as page:
            add_live(context, FastAPI())
        return page.config

    parts = {part["props"].get("elem_id"): part["props"] for part in asyncio.run(config())["components"]}
    assert parts["live-granularity"]["value"] == "frame"
    assert parts["live-keep-audio"]["value"] is True
