from emotion.logs import request_context


def test_what_happens_in_a_request_knows_its_id():
    assert request_context.request_id() == request_context.NO_REQUEST
    with request_context.request_scope("r1"):
        assert request_context.request_id() == "r1"
    assert request_context.request_id() == request_context.NO_REQUEST
    assert request_context.new_request_id() != request_context.new_request_id()


def test_a_thread_belongs_to_the_request_that_made_it():
    seen = []
    with request_context.request_scope("r2"):
        thread = request_context.thread(
            "work", lambda word: seen.append((word, request_context.request_id())), "written"
        )
    thread.start()
    thread.join()
    assert seen == [("written", "r2")]
