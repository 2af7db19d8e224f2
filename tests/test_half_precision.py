"""Half precision that is not to be trusted: answers that are no numbers, and a processor that multiplies wrongly."""

import numpy as np
import pytest

from emotion.engine import Engine
from emotion.errors import AnswerNotFinite
from emotion.model import Prediction
from emotion.model.half_precision import FiniteModel, bf16_holds
from tests.fakes import FakeModel, loud_clip, soft, tone


class OverflowingModel(FakeModel):
    """Has no number for loud sound."""

    def predict(self, waveforms):
        return [
            Prediction(p.logits * np.float32(np.nan), p.embeddings) if p.logits[0].argmax() == 0 else p
            for p in super().predict(waveforms)
        ]


class ShiftedModel(FakeModel):
    """Says something else by a constant."""

    def __init__(self, shift):
        super().__init__()
        self.shift = shift

    def predict(self, waveforms):
        return [Prediction(p.logits + self.shift * np.eye(9)[1], p.embeddings) for p in super().predict(waveforms)]


def normalized(samples):
    return (samples - samples.mean()) / samples.std()


def test_an_answer_that_is_no_number_is_computed_again_and_the_others_are_not():
    exact = FakeModel()
    model = FiniteModel(OverflowingModel(), lambda: exact)
    loud, quiet = model.start([normalized(tone(1.0)), normalized(soft(1.0))])()
    assert (loud.logits[0].argmax(), quiet.logits[0].argmax()) == (0, 6)
    assert exact.lengths == [16_000]


def test_what_float32_has_no_number_for_is_an_error_and_never_an_emotion():
    with Engine(FiniteModel(OverflowingModel(), OverflowingModel)) as engine:
        future = engine.submit(loud_clip())
        with pytest.raises(AnswerNotFinite, match="damaged"):
            future.result()


@pytest.mark.parametrize(("shift", "holds"), [(0.01, True), (2.0, False), (np.nan, False)])
def test_bf16_is_compared_with_float32_once_for_a_model_and_a_processor(shift, holds, tmp_path):
    opened = []

    def open_precision(precision):
        opened.append(precision)
        return ShiftedModel(shift if precision == "bf16" else 0.0)

    for _ in range(2):
        assert bf16_holds(open_precision, "sha256:1", "openvino", tmp_path) is holds
    assert opened == ["fp32", "bf16"]
    bf16_holds(open_precision, "sha256:2", "openvino", tmp_path)
    assert len(opened) == 4
