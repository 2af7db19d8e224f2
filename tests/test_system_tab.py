"""The tab System without a browser: what its rows say, and what its chores tell."""

import asyncio
from dataclasses import replace

import pytest

from emotion.engine import ClipTimes, Engine, EnginePlan
from emotion.errors import OutOfMemory
from emotion.hardware import Gpu, Usage
from emotion.model import Accuracy, ModelCard
from emotion.model.compact import load_compact
from emotion.monitor import Advice, EngineStatus, MachineStatus, MemoryHeld, StageShares, StudioStatus
from emotion.texts import Words
from emotion.ui import system_render
from emotion.ui.tabs import system
from tests.fakes import LABELS, FakeModel, HeldModel, loud_clip
from tests.page_server import text_of

EN, ZH = Words("en"), Words("zh")
GB = 1_000_000_000
CARD = ModelCard("emotion2vec_plus_large", "sha256:be50", "openvino", "cpu", "bf16", LABELS, 1024)
MACHINE = MachineStatus(
    cores=8,
    cpu_percent=37.25,
    process_cpu_percent=120.0,
    process_bytes=2 * GB,
    process_threads=25,
    memory=Usage(5 * GB, 16 * GB),
    swap=Usage(0, 4 * GB),
)
ENGINE = EngineStatus(
    queue_length=3,
    queue_size=64,
    clips_done=1234,
    batch_frames=1,
    decode_threads=2,
    inference_threads=4,
    recent=(ClipTimes(8.0, 0.5, 200.0), ClipTimes(10.0, 0.5, 400.0), ClipTimes(9.0, 1.5, 100.0)),
    shares=StageShares(busy=0.62, starved=0.03, idle=0.35),
)
NOW = StudioStatus(MACHINE, ENGINE, CARD, uptime_s=8_000.0, period_s=2.0)
RTX = Gpu("RTX <4060>", 8_000, 2_000, 31, 55, "cuda:0")


def shown(status=NOW, words=EN, advice=()):
    return text_of(system_render.status([status], advice, words))


def on(*gpus, **machine):
    return replace(NOW, machine=replace(MACHINE, gpus=gpus, **machine))


def test_one_look_tells_machine_and_recogniser():
    text = shown()
    for said in (
        "Processor 37.2%",
        "this program 1.2 of 8 cores",
        "Memory 5.00 GB of 16.00 GB",
        "this program 2.00 GB",
        "Swap 0 KB of 4.00 GB",
        "Queue 3 of 64 places",
        "Recordings done 1,234",
        "Running for 2 h 13 min",
        "2 decode · 4 network · 25 in all",
        "median of the last 3 recordings Decode 9.0 ms Queue 0.5 ms Inference 200.0 ms",
        "at work 62% waits for decoding 3% idle 35%",
        "Nothing stands out",
    ):
        assert said in text


def test_the_same_in_chinese():
    text = shown(words=ZH)
    for said in (
        "处理器 37.2%",
        "内存 5.00 GB / 16.00 GB",
        "队列 3 / 64",
        "已运行 2 小时 13 分钟",
        "推理 200.0 毫秒",
        "没有 GPU",
    ):
        assert said in text


def test_no_gpu_is_said_plainly_and_a_card_that_is_silent_too():
    assert "no GPU; the model works on the processor" in shown()
    assert "its driver does not answer" in shown(replace(NOW, model=replace(CARD, device="cuda:0")))


def test_each_graphics_card_has_its_work_and_its_memory():
    text = shown(on(RTX, Gpu("Shared", 0, 0)))
    assert "Graphics card RTX &lt;4060&gt; 31.0% · 55 °C" in text
    assert "its memory 2.10 GB of 8.39 GB" in text
    assert "Graphics card Shared unknown" in text
    assert text.count("its memory") == 1, "one without memory of its own has no row for it"


def test_what_is_nearly_full_says_so_in_words():
    assert "nearly full" not in shown()
    text = shown(on(memory=Usage(15 * GB, 16 * GB), container=Usage(95, 100), swap=Usage(0, 0)))
    assert "Memory 15.00 GB of 16.00 GB · nearly full" in text
    assert "Limit of the container 1 KB of 1 KB · nearly full" in text
    assert "Swap none" in text


def test_before_the_first_recording_there_are_no_times():
    text = shown(replace(NOW, engine=replace(ENGINE, recent=())))
    assert "no recording yet Decode – Queue – Inference –" in text
    assert "of the last recording" in shown(replace(NOW, engine=replace(ENGINE, recent=ENGINE.recent[:1])))


def test_advice_is_filled_with_numbers_of_people():
    full = Advice("memory_full", {"used_percent": 97, "process_bytes": 2 * GB})
    text = shown(advice=[full, Advice("queue_nearly_full", {"queue_length": 60, "queue_size": 64})])
    assert "Memory is 97% full; this program holds 2.00 GB." in text
    assert "60 of 64 places in the queue are taken" in text
    assert "Nothing stands out" not in text


def test_the_lines_show_the_last_two_minutes_and_no_more():
    readings = [replace(on(RTX, cpu_percent=float(place)), period_s=3.0) for place in range(100)]
    html = system_render.status(readings, (), EN)
    lines = html.split('points="')[1:]
    assert len(lines) == 3, "processor, memory and graphics card"
    points = [[float(number) for number in point.split(",")] for point in lines[0].split('"')[0].split()]
    assert 40 <= len(points) <= 42
    assert points[-1][0] == 120
    assert points[0][0] == pytest.approx(0)
    assert points[0][1] > points[-1][1], "more work is higher up"


def test_a_card_that_came_later_has_a_line_all_the_same():
    assert 'points="' in system_render.status([NOW, on(RTX)], (), EN)


# The card of the model


def test_the_card_of_the_large_model_says_what_is_known_of_it():
    html = system_render.model_card(CARD, EN)
    text = text_of(html)
    assert "The model: emotion2vec+ large" in text
    assert "162 M parameters" in text
    assert "iic/emotion2vec_plus_large" in text
    assert "FunASR Model License" in text
    assert "no lie detector" in text
    assert "openvino · cpu · bf16" in text
    assert "sha256:be50" in text
    assert "Accuracy" not in text
    assert 'rel="noopener noreferrer"' in html


def test_the_card_of_the_built_in_model_tells_its_accuracy_and_what_it_cannot_tell():
    card = replace(
        CARD, name="compact", unsupported_labels=("unknown",), embedding_size=load_compact().config.embedding_size
    )
    card = replace(card, accuracy=Accuracy((0.58, 0.79), (0.25, 0.4)))
    text = text_of(system_render.model_card(card, EN))
    for said in (
        "Built-in model",
        "58% to 79%",
        "25% to 40%",
        "Cannot tell: ❓ Unknown",
        "CC BY-NC-SA 4.0",
        "384 numbers",
    ):
        assert said in text
    assert "模型：内置模型" in text_of(system_render.model_card(card, ZH))


def test_the_card_of_a_foreign_model_claims_nothing_and_brings_no_markup():
    card = replace(CARD, name="<b>mine", labels=("<i>", "b"), fingerprint="<u>")
    html = system_render.model_card(card, EN)
    assert "does not know by name" in html
    assert "As its makers say." in html
    assert not any(markup in html for markup in ("<b>", "<i>", "<u>"))


# Chores


def told(steps):
    """What is said at each step, and whether the buttons can be pressed."""

    async def follow():
        return [(text_of(note), free["interactive"], warm["interactive"]) async for note, free, warm in steps]

    return asyncio.run(follow())


def test_freeing_memory_tells_what_was_held_and_what_is_held_now(monkeypatch):
    held = iter([MemoryHeld(2 * GB, 8 * GB), MemoryHeld(1 * GB, 3 * GB)])
    monkeypatch.setattr(system, "memory_held", lambda _device: next(held))
    model = FakeModel()
    with Engine(model) as engine:
        steps = told(system._free(engine, EN))
    assert steps[0] == ("Memory is freed as soon as nothing waits …", False, False)
    assert steps[1][0] == (
        "Done: this program held 2.00 GB, now 1.00 GB. In use on the graphics card: 8.00 GB, now 3.00 GB."
    )
    assert steps[1][1:] == (True, True)
    assert model.times_freed == 1


def test_where_nothing_was_to_be_freed_that_is_said(monkeypatch):
    monkeypatch.setattr(system, "memory_held", lambda _device: MemoryHeld(GB))
    with Engine(FakeModel()) as engine:
        assert "没有可释放的内存，本程序占用 1.00 GB" in told(system._free(engine, ZH))[-1][0]


def test_behind_long_work_a_chore_is_left_for_later(monkeypatch):
    monkeypatch.setattr(system, "_PATIENCE_S", 0.4)
    model = HeldModel()
    with Engine(model) as engine:
        future = engine.submit(loud_clip())
        assert model.began.acquire(timeout=20)
        steps = told(system._warm(engine, True, EN))
        assert steps[-1] == ("Recordings are still in work. It is done as soon as nothing waits.", True, True)
        model.let_go()
        future.result(20)


def test_warming_up_tells_whether_batches_pay():
    model = FakeModel()
    with Engine(model) as engine:
        said = told(system._warm(engine, True, EN))[-1][0]
    assert said.startswith("Warm, in ")
    assert "Batches " in said
    assert model.batches
    with Engine(FakeModel(), EnginePlan(batch_frames=500)) as engine:
        assert "Batches" not in told(system._warm(engine, False, EN))[-1][0]


def test_a_model_that_cannot_be_warmed_says_why():
    class Broken(FakeModel):
        def start(self, _):
            raise OutOfMemory("cuda:0")

    with Engine(Broken(), EnginePlan(batch_frames=500)) as engine:
        said = told(system._warm(engine, False, EN))[-1]
    assert said == ("The memory of the graphics card does not hold this recording. Try a shorter one.", True, True)
