from emotion import trace


def test_what_happens_in_a_request_knows_its_id():
    assert trace.request_id() == trace.NO_REQUEST
    with trace.request("r1"):
        assert trace.request_id() == "r1"
    assert trace.request_id() == trace.NO_REQUEST
    assert trace.new_request_id() != trace.new_request_id()


def test_a_thread_belongs_to_the_request_that_made_it():
    seen = []
    with trace.request("r2"):
        thread = trace.thread("work", lambda word: seen.append((word, trace.request_id())), "written")
    thread.start()
    thread.join()
    assert seen == [("written", "r2")]
