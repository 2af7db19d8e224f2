import asyncio
import threading

import pytest

from emotion.analysis import AnalysisRequest
from emotion.engine import Admission, ConcurrencyLimit, Engine, EnginePlan, follow, follow_async, give_up
from emotion.errors import EngineBusy, EngineClosed, NotSound, TooManyRequests
from tests.fakes import HeldModel, loud_clip, wait_for

PATIENCE_S = 20.0


@pytest.fixture
def held():
    """An engine that takes two recordings at a time, over a model that waits; with a limit of three for each client."""
    model = HeldModel()
    engine = Engine(model, EnginePlan(queue_size=2))
    yield engine, model, Admission(engine, ConcurrencyLimit(3))
    model.let_go()
    engine.close(finish=False)


def of(client: str = "", **wanted: object) -> AnalysisRequest:
    return AnalysisRequest(client=client, **wanted)


def fill(engine: Engine) -> None:
    for _ in range(engine.queue_size):
        engine.submit(loud_clip())


def test_a_recording_is_submitted_at_once_or_refused(held):
    _, model, admission = held
    future = admission.submit(loud_clip(), of("ann"))
    admission.submit(loud_clip(), of("ann"))
    with pytest.raises(EngineBusy):
        admission.submit(loud_clip(), of("ann"))
    assert admission.limit.taken("ann") == 2
    model.let_go()
    assert future.result(PATIENCE_S).emotion.key == "angry"
    wait_for(lambda: admission.limit.taken("ann") == 0)


def test_a_client_has_so_many_slots_and_nobody_without_a_name_is_counted():
    model = HeldModel()
    with Engine(model, EnginePlan(queue_size=9)) as engine:
        admission = Admission(engine, ConcurrencyLimit(1))
        first = admission.submit(loud_clip(), of("ann"))
        with pytest.raises(TooManyRequests):
            admission.submit(loud_clip(), of("ann"))
        others = [admission.submit(loud_clip(), of(client)) for client in ("ben", "", "")]
        model.let_go()
        assert all(future.result(PATIENCE_S) for future in (first, *others))


def test_who_waits_gets_the_place_that_another_leaves(held):
    engine, model, admission = held
    fill(engine)
    admitted = admission.enqueue(loud_clip(), of("ann"))
    assert not admitted.done()
    model.let_go(1)
    future = admitted.result(PATIENCE_S)
    model.let_go()
    assert future.result(PATIENCE_S).emotion.key == "angry"


def test_who_waits_for_a_slot_gets_it_when_one_of_the_own_is_done_and_holds_up_nobody():
    model = HeldModel()
    with Engine(model, EnginePlan(queue_size=9)) as engine:
        admission = Admission(engine, ConcurrencyLimit(1))
        admission.submit(loud_clip(), of("ann"))
        second = admission.enqueue(loud_clip(), of("ann"))
        other = admission.enqueue(loud_clip(), of("ben"))
        assert other.done()
        assert not second.done()
        model.let_go()
        assert second.result(PATIENCE_S).result(PATIENCE_S)


def test_places_go_round_the_clients(held):
    engine, model, admission = held
    fill(engine)
    order: list[str] = []
    for client in ("ann", "ann", "ann", "ben", "cleo"):
        admitted = admission.enqueue(loud_clip(), of(client))
        admitted.add_done_callback(lambda _, client=client: order.append(client))
    for done in range(1, 6):
        model.let_go(1)
        wait_for(lambda done=done: len(order) == done)
    assert order == ["ann", "ben", "cleo", "ann", "ann"]


def test_background_work_leaves_a_quarter_of_the_queue_to_others():
    model = HeldModel()
    with Engine(model, EnginePlan(queue_size=8)) as engine:
        admission = Admission(engine, ConcurrencyLimit(0))
        waiting = [admission.enqueue(loud_clip(), of(priority="background")) for _ in range(8)]
        assert engine.queue_length == 6
        single = admission.submit(loud_clip(), of())
        model.let_go()
        assert single.result(PATIENCE_S)
        assert all(admitted.result(PATIENCE_S).result(PATIENCE_S) for admitted in waiting)


def test_who_gives_up_leaves_the_line_and_what_was_just_admitted_is_cancelled(held):
    engine, model, admission = held
    running = admission.enqueue(loud_clip(), of("ann"))
    fill_up, waiting = admission.enqueue(loud_clip(), of()), admission.enqueue(loud_clip(), of("ben"))
    give_up(waiting)
    assert waiting.cancelled()
    give_up(fill_up)
    assert fill_up.result().cancelled()
    model.let_go()
    assert running.result(PATIENCE_S).result(PATIENCE_S)
    wait_for(lambda: engine.queue_length == 0)


def test_patience_ends_with_engine_busy_and_frees_the_place_in_line(held):
    engine, model, admission = held
    fill(engine)
    with pytest.raises(EngineBusy):
        admission.submit_waiting(loud_clip(), of(), timeout_s=0.01)
    with pytest.raises(EngineBusy):
        asyncio.run(admission.submit_waiting_async(loud_clip(), of(), timeout_s=0.01))
    model.let_go()
    wait_for(lambda: engine.queue_length == 0)
    assert len(model.lengths) == 2


def test_a_task_that_is_cancelled_gives_up_its_place(held):
    engine, model, admission = held
    fill(engine)

    async def leave() -> None:
        waiting = asyncio.create_task(admission.submit_waiting_async(loud_clip(), of()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(leave())
    model.let_go()
    wait_for(lambda: engine.queue_length == 0)
    assert len(model.lengths) == 2


def test_those_who_wait_are_told_when_the_engine_closes(held):
    engine, model, admission = held
    fill(engine)
    admitted = admission.enqueue(loud_clip(), of())
    model.let_go()
    closing = threading.Thread(target=engine.close)
    with engine._change:  # so that no place is free before the engine takes nothing more
        engine._closed = True
    closing.start()
    with pytest.raises(EngineClosed):
        admitted.result(PATIENCE_S)
    closing.join()


def test_a_future_is_followed_until_it_is_done(held):
    engine, model, admission = held
    future = admission.submit(loud_clip(), of())
    assert model.began.acquire(timeout=PATIENCE_S)
    stages = []
    for progress in follow(engine, future, 0.01):
        stages.append(progress.stage)
        model.let_go()
    assert stages[0] == "recognising"
    assert future.done()


def test_on_an_event_loop_too_and_leaving_does_not_cancel_the_recording(held):
    engine, model, admission = held

    async def look_once() -> str:
        async for progress in follow_async(engine, future, 0.01, only_changes=True):
            return progress.stage
        return "done"

    future = admission.submit(loud_clip(), of())
    assert model.began.acquire(timeout=PATIENCE_S)
    assert asyncio.run(look_once()) == "recognising"
    model.let_go()
    assert future.result(PATIENCE_S)
    assert asyncio.run(look_once()) == "done"


def test_a_failure_is_the_recordings_and_not_the_followers(held):
    engine, _, admission = held
    future = admission.submit(b"no sound", of())
    assert list(follow(engine, future, PATIENCE_S)) == []
    with pytest.raises(NotSound):
        future.result()
