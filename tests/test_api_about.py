from dataclasses import replace

import httpx
import pytest
from pydantic import TypeAdapter

from emotion.api.schemas import Problem, component_schemas
from emotion.engine.recognizer import ModelState
from emotion.errors import HubUnreachable
from emotion.labels import EMOTIONS
from emotion.record import AnalysisRecord, JobRecord
from emotion.settings import Settings
from tests.api_server import LOUD, WAV, ApiRecognizer, asking
from tests.fakes import FakeModel


def keys_of(name: str) -> set[str]:
    return set(component_schemas()[name]["properties"])


@pytest.mark.parametrize("shape", [AnalysisRecord, JobRecord, Problem])
def test_each_example_has_the_shape_that_it_shows(shape):
    example = component_schemas()[shape.__name__]["example"]
    assert TypeAdapter(shape).validate_python(example, strict=True, extra="forbid") == example


def test_labels_are_those_of_the_model_in_its_order():
    with asking(ApiRecognizer()) as client:
        told = client.get("/v1/labels").json()
    assert told["model"] == "fake"
    assert [label["key"] for label in told["labels"]] == [emotion.key for emotion in EMOTIONS]
    assert told["labels"][3]["chinese"] == "快乐"
    assert all(set(label) == keys_of("LabelRecord") for label in told["labels"])


@pytest.mark.parametrize("name", ["unsupported", "untold"])
def test_labels_that_the_model_does_not_know_are_said_to_be_unsupported(name):
    recognizer = ApiRecognizer()
    recognizer.state = ModelState(replace(recognizer.model.card, unsupported_labels=("other",)), "fake", "ready")
    with asking(recognizer) as client:
        labels = client.get("/v1/labels").json()["labels"]
    assert [label["key"] for label in labels if label[name]] == ["other"]


def test_models_tell_which_answers_and_no_path():
    recognizer = ApiRecognizer()
    wanted, reason = "/home/somebody/models/mine", HubUnreachable("The hub is away.")
    recognizer.state = ModelState(recognizer.model.card, wanted, "built_in", reason=reason)
    with asking(recognizer) as client:
        answer = client.get("/v1/models")
    told = answer.json()
    assert (told["answering"]["name"], told["wanted"], told["reason"]) == ("fake", "mine", "The hub is away.")
    assert [model["name"] for model in told["models"]][:2] == ["compact", "emotion2vec_plus_large"]
    assert "somebody" not in answer.text


def test_status_counts_recordings_and_tells_nothing_of_any():
    with asking(ApiRecognizer(settings=Settings(queue_size=7))) as client:
        client.post("/v1/analyses?name=secret.wav", content=LOUD, headers=WAV)
        answer = client.get("/v1/status")
    told = answer.json()
    assert (told["engine"]["queue_size"], told["engine"]["queue_length"]) == (7, 0)
    assert "secret" not in answer.text
    assert "recent" not in told["engine"]
    assert set(told) == keys_of("StatusRecord")
    assert set(told["engine"]) == keys_of("EngineRecord")


def test_a_server_lives_and_is_ready_as_long_as_its_model_serves():
    recognizer = ApiRecognizer(FakeModel())
    with asking(recognizer) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").json() == {"status": "ready", "model": "fake"}
        recognizer.engine.close()
        assert client.get("/healthz").status_code == 200
        refused: httpx.Response = client.get("/readyz")
        assert (refused.status_code, refused.json()["code"]) == (503, "engine_closed")
        assert "retry-after" in refused.headers
