"""The built-in model: it keeps the large network's contract, and it has learned something."""

import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from emotion.model.compact import (
    CONFIG_FILE,
    LABELS,
    WEIGHTS_FILE,
    Compact,
    CompactConfig,
    load_compact,
    num_frames,
    weights_sha256,
)

pytestmark = pytest.mark.numeric

SPEECH_FOLDER = Path(__file__).parents[2] / "shared" / "speech"


@pytest.fixture(scope="module")
def network() -> Compact:
    return load_compact()


@pytest.fixture
def one_thread() -> Iterator[None]:
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def normalize(waveform: Tensor) -> Tensor:
    return (waveform - waveform.mean()) / torch.sqrt(waveform.var(unbiased=False) + 1e-5)


def hum(seconds: float, seed: int = 0) -> Tensor:
    """A voice-like sound [n]: gliding harmonics with breath noise, normalised."""
    generator = torch.Generator().manual_seed(seed)
    times_s = torch.arange(int(seconds * 16_000)) / 16_000
    phase = 2 * torch.pi * (150 * times_s + 8 * torch.sin(3 * times_s))
    harmonics = sum((torch.sin(order * phase) / order for order in range(1, 12)), torch.zeros(()))
    return normalize(harmonics + 0.1 * torch.randn(len(times_s), generator=generator))


def test_a_second_of_sound_gives_49_frames_of_logits_and_embeddings(network: Compact) -> None:
    logits, embeddings = network(hum(1.0))
    assert logits.shape == (49, 9)
    assert embeddings.shape == (49, network.config.embedding_size)
    assert logits.dtype == embeddings.dtype == torch.float32


@pytest.mark.parametrize("size", [400, 401, 719, 720, 721, 1_039, 1_040, 15_999, 16_000, 48_123])
def test_frames_follow_the_law_of_the_large_network(network: Compact, size: int) -> None:
    logits, embeddings = network(hum(4.0)[:size])
    assert len(logits) == len(embeddings) == num_frames(size) == (size - 400) // 320 + 1


def test_the_mean_of_the_frames_logits_is_the_logits_of_the_mean_embedding(network: Compact) -> None:
    logits, embeddings = network(hum(2.0))
    known = [place for place, label in enumerate(LABELS) if label != "unknown"]
    torch.testing.assert_close(logits.mean(0)[known], network.head(embeddings.mean(0))[known], atol=1e-4, rtol=1e-4)


def test_classes_it_cannot_tell_have_score_0_and_are_named(network: Compact) -> None:
    silent = json.loads(CONFIG_FILE.read_text(encoding="utf-8"))["silent_labels"]
    assert silent == ["unknown"]
    logits, _ = network(hum(1.0))
    for place, label in enumerate(LABELS):
        assert torch.isneginf(logits[:, place]).all() == (label in silent)
    assert float(logits.mean(0).softmax(0)[LABELS.index("unknown")]) == 0.0


@pytest.mark.parametrize("size", [400, 16_000, 30 * 16_000])
def test_silence_gives_numbers(network: Compact, size: int) -> None:
    logits, embeddings = network(torch.zeros(size))
    assert not logits.isnan().any()
    assert embeddings.isfinite().all()
    assert logits.mean(0).softmax(0).isfinite().all()


@pytest.mark.parametrize("waveform", [torch.ones(8_000), 50 * torch.eye(1, 20_000)[0], 40 * hum(0.5)])
def test_odd_waveforms_give_numbers(network: Compact, waveform: Tensor) -> None:
    logits, embeddings = network(waveform)
    assert logits[:, :8].isfinite().all()
    assert embeddings.isfinite().all()


def test_the_same_sound_gives_the_same_numbers(network: Compact) -> None:
    waveform = hum(1.5)
    first, again, reloaded = network(waveform), network(waveform), load_compact()(waveform)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[0], reloaded[0])
    assert torch.equal(first[1], reloaded[1])


def test_frames_in_the_middle_do_not_depend_on_what_is_far_away(network: Compact) -> None:
    # The clips differ only more than two seconds later, so windows can be stitched; the clip's mean moves a little.
    clip = hum(9.0)
    changed = torch.cat([clip[:80_000], clip[80_000:].flip(0)])
    difference = (network(clip)[1][:90] - network(changed)[1][:90]).abs().mean()
    assert difference < 0.1 * network(clip)[1][:90].abs().mean()


def test_a_minute_goes_through_in_one_piece(network: Compact) -> None:
    logits, _ = network(hum(60.0))
    assert len(logits) == 2_999
    assert logits[:, :8].isfinite().all()


def test_loaded_weights_are_for_inference(network: Compact) -> None:
    assert not network.training
    assert not any(weight.requires_grad for weight in network.parameters())
    assert network.labels == LABELS


def test_an_untrained_network_learns_from_a_step() -> None:
    torch.manual_seed(0)
    fresh = Compact(CompactConfig(width=16, picture_size=8, hidden_size=8, summary_size=4, dilations=(1, 2)))
    logits, _ = fresh(hum(1.0))
    logits.mean(0)[3].backward()
    assert all(weight.grad is not None for weight in fresh.parameters())


def test_the_weights_are_small_and_have_a_fingerprint() -> None:
    assert WEIGHTS_FILE.stat().st_size < 8_000_000
    assert weights_sha256().startswith("sha256:")
    assert len(weights_sha256()) == len("sha256:") + 64


def test_the_card_states_the_licence_and_the_measured_numbers() -> None:
    card = (WEIGHTS_FILE.parent / "MODEL_CARD.md").read_text(encoding="utf-8")
    measured = json.loads(CONFIG_FILE.read_text(encoding="utf-8"))["leave_speakers_out"]
    assert "CC BY-NC-SA 4.0" in card
    for corpus in measured.values():
        assert f"{corpus['unweighted_accuracy']:.3f}" in card


def test_measured_accuracy_on_unseen_speakers_is_twice_chance_and_more() -> None:
    measured = json.loads(CONFIG_FILE.read_text(encoding="utf-8"))["leave_speakers_out"]
    assert measured["emodb"]["unweighted_accuracy"] > 0.70
    for corpus in ("emodb", "ravdess", "nemo"):
        assert measured[corpus]["unweighted_accuracy"] > 2 / measured[corpus]["classes"]


@pytest.mark.usefixtures("one_thread")
def test_it_runs_much_faster_than_real_time_on_one_core(network: Compact) -> None:
    waveform = hum(20.0)
    network(waveform)
    times_s = []
    for _ in range(5):
        start_s = time.thread_time()  # the clock would count who else works on this machine
        network(waveform)
        times_s.append(time.thread_time() - start_s)
    # Measured: well over 100 times; a busy machine may halve it.
    assert 20.0 / min(times_s) > 40


# On one thread, since for clips of a few seconds threads would mostly wait for each other.
@pytest.mark.usefixtures("one_thread")
@pytest.mark.skipif(not SPEECH_FOLDER.exists(), reason="the emotional speech is not beside the project")
def test_clips_of_acted_speech_are_recognised(network: Compact) -> None:
    soundfile = pytest.importorskip("soundfile")
    with (SPEECH_FOLDER / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["corpus"] in ("emodb", "ravdess")][::40]
    right = 0
    for row in rows:
        samples, _ = soundfile.read(SPEECH_FOLDER / row["path"], dtype="float32")
        logits, _ = network(normalize(torch.from_numpy(samples)))
        right += LABELS[int(logits.mean(0).argmax())] == row["label"]
    assert right / len(rows) > 0.5
