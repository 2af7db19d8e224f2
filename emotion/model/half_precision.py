"""What keeps half precision honest: answers that are no numbers are computed again, and bf16 is compared once."""

import json
import logging
import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from emotion.errors import AnswerNotFinite
from emotion.model.contract import Collect, FloatArray, ModelCard, Prediction, SpeechModel, softmax

_LOG = logging.getLogger(__name__)
Open = Callable[[str], SpeechModel]
"""Opens a model in a precision."""

# Random large networks differ by up to 9e-3 between bf16 and float32 from one second of sound on; a processor that
# multiplies wrongly differs by far more (openvinotoolkit/openvino, issue 38256).
MOST_DIFFERENCE = 2e-2
_SAMPLES = 40_000


class FiniteModel:
    """A model whose answers are numbers: a waveform that made it overflow is computed once more in float32.

    Without `open_exact` it is float32 already. Raises AnswerNotFinite where that gives no numbers either.
    """

    def __init__(self, model: SpeechModel, open_exact: Callable[[], SpeechModel] | None = None) -> None:
        self._model, self._open_exact = model, open_exact

    @property
    def card(self) -> ModelCard:
        return self._model.card

    def start(self, waveforms: Sequence[FloatArray]) -> Collect:
        """What `SpeechModel.start` says."""
        collect = self._model.start(waveforms)
        return lambda: [self._checked(*pair) for pair in zip(waveforms, collect(), strict=True)]

    def free_memory(self) -> None:
        """Give back what is only cached."""
        self._model.free_memory()

    @cached_property
    def _exact(self) -> SpeechModel | None:
        return None if self._open_exact is None else self._open_exact()

    def _checked(self, waveform: FloatArray, prediction: Prediction) -> Prediction:
        if _is_finite(prediction):
            return prediction
        if self._exact is not None:
            _LOG.warning("an answer in %s was not finite; float32 computes it again", self.card.precision)
            (prediction,) = self._exact.start([waveform])()
        if not _is_finite(prediction):
            raise AnswerNotFinite(self.card.name)
        return prediction


def bf16_holds(open_precision: Open, fingerprint: str, runtime: str, cache_dir: Path) -> bool:
    """Whether this processor's bf16 gives the scores of float32 within MOST_DIFFERENCE on a fixed sound.

    Both are opened once for each model, runtime and processor; `cache_dir` keeps the outcome.
    """
    known = cache_dir / "bf16" / f"{_key(fingerprint, runtime)}.json"
    with suppress(OSError, ValueError, LookupError):
        return bool(json.loads(known.read_text(encoding="utf-8"))["difference"] <= MOST_DIFFERENCE)
    exact, half = (_scores(open_precision(precision)) for precision in ("fp32", "bf16"))
    difference = float(np.abs(exact - half).max())
    holds = difference <= MOST_DIFFERENCE  # false for NaN
    log = _LOG.info if holds else _LOG.warning
    log("bf16 differs from float32 by %.4f in the scores; %s is used", difference, "bf16" if holds else "float32")
    with suppress(OSError):
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text(json.dumps({"difference": difference if np.isfinite(difference) else 1.0}), encoding="utf-8")
    return holds


def _scores(model: SpeechModel) -> FloatArray:
    """Scores [C] of two and a half seconds of a gliding tone in noise, normalised as a clip is."""
    times_s = np.arange(_SAMPLES) / 16_000
    glide = np.sin(2 * np.pi * (150 * times_s + 30 * np.sin(3 * times_s)))
    sound = glide + 0.3 * np.random.default_rng(0).standard_normal(_SAMPLES)
    (prediction,) = model.start([((sound - sound.mean()) / sound.std()).astype(np.float32)])()
    return softmax(prediction.logits.mean(axis=0))


def _key(fingerprint: str, runtime: str) -> str:
    try:
        release = version(runtime)
    except PackageNotFoundError:
        release = ""
    return sha256("|".join((fingerprint, runtime, release, _processor())).encode()).hexdigest()[:16]


def _processor() -> str:
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next((line for line in lines if line.startswith("model name")), platform.machine())
    return platform.processor() or platform.machine()


def _is_finite(prediction: Prediction) -> bool:
    # The embeddings of a second are 200 kB; their sum is not finite if one of them is not.
    logits = np.where(np.isneginf(prediction.logits), 0, prediction.logits)  # labels that are masked
    return bool(np.isfinite(logits).all() and np.isfinite(prediction.embeddings.sum()))
