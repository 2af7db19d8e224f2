import os
import time
import tracemalloc
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from emotion.outputs import History, similar, write_run
from emotion.outputs.similar import LEAST_CLIPS, ClipMap, EmbeddingIndex, StoredClip, directions, flat_map
from tests.fakes import NOON, analyze, loud_clip

pytestmark = pytest.mark.numeric

EMOTIONS = ("angry", "happy", "sad")


@pytest.fixture
def store(tmp_path):
    """Writes embeddings to the disk, each as a clip of its own."""

    def write(key, embedding, fingerprint="sha256:a", emotion="sad"):
        path = tmp_path / f"{key}.npy"
        np.save(path, np.asarray(embedding))
        return StoredClip(key, path, fingerprint, emotion)

    return write


def voices(count, size=16, seed=0, moods=3):
    """Embeddings [count, size] as the model gives them: far from 0, close together, in as many groups as moods."""
    random = np.random.default_rng(seed)
    centers = random.standard_normal((moods, size)) * 0.3
    around = centers[np.arange(count) % moods] + random.standard_normal((count, size)) * 0.05
    return (5.0 + around).astype(np.float32)


def stored_voices(store, count=9, **facts):
    return [
        store(f"clip{number}", one, emotion=EMOTIONS[number % 3], **facts) for number, one in enumerate(voices(count))
    ]


def raw_cosine(one, other):
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_the_nearest_clips_are_those_of_the_same_mood(store):
    gallery = EmbeddingIndex()
    gallery.update(stored_voices(store))
    found = gallery.nearest("clip0", 2)
    assert {one.key for one in found} == {"clip3", "clip6"}
    assert {one.emotion for one in found} == {"angry"}
    assert found[0].similarity >= found[1].similarity > 0.8
    assert gallery.nearest("clip0", 100)[-1].similarity < 0
    assert len(gallery.nearest("clip0", 100)) == 8


def test_similarity_is_the_cosine_around_the_mean_of_all(store):
    embeddings, gallery = voices(9), EmbeddingIndex()
    gallery.update(stored_voices(store))
    centered = embeddings - embeddings.mean(axis=0)
    assert raw_cosine(embeddings[0], embeddings[1]) > 0.99, "without the mean everything is alike"
    for one in gallery.nearest("clip0", 8):
        expected = raw_cosine(centered[0], centered[int(one.key.removeprefix("clip"))])
        assert one.similarity == pytest.approx(expected, abs=1e-4)


def test_over_all_pairs_the_similarities_nearly_cancel_out(store):
    gallery, count = EmbeddingIndex(), 30
    gallery.update([store(f"clip{n}", one) for n, one in enumerate(voices(count, moods=1))])
    pairs = [one.similarity for n in range(count) for one in gallery.nearest(f"clip{n}", count)]
    assert np.mean(pairs) == pytest.approx(-1 / (count - 1), abs=0.01)


def test_fewer_than_three_clips_cannot_be_compared(store):
    gallery, clips = EmbeddingIndex(), stored_voices(store, LEAST_CLIPS)
    assert gallery.comparable("clip0") == 0
    assert gallery.map() == ClipMap()
    for count in (1, 2):
        gallery.update(clips[:count])
        assert gallery.comparable("clip0") == count
        assert gallery.nearest("clip0", 5) == []
        assert gallery.map() == ClipMap()
    gallery.update(clips)
    assert len(gallery.nearest("clip0", 5)) == 2
    assert len(gallery.map().points) == 3


def test_frames_count_by_their_mean(store):
    embeddings, gallery = voices(4), EmbeddingIndex()
    frames = embeddings[0] + np.outer(np.linspace(-1, 1, 5001), np.ones(16)).astype(np.float32)
    clips = [store("frames", frames), *(store(f"clip{n}", one) for n, one in enumerate(embeddings))]
    gallery.update(clips)
    (nearest,) = gallery.nearest("frames", 1)
    assert nearest.key == "clip0"
    assert nearest.similarity == pytest.approx(1, abs=1e-4)


def test_of_a_very_long_recording_some_frames_stand_for_all(store, monkeypatch):
    monkeypatch.setattr(similar, "_MOST_FRAMES", 10)
    embeddings, gallery = voices(3), EmbeddingIndex()
    long = np.repeat(embeddings[:1], 25, axis=0)
    long[1::3] = np.nan  # every third frame is read, these are not
    gallery.update([store("long", long), *(store(f"clip{n}", one) for n, one in enumerate(embeddings))])
    assert gallery.nearest("long", 1)[0].key == "clip0"


def test_clips_of_different_models_are_not_compared(store):
    gallery = EmbeddingIndex()
    mine = stored_voices(store)
    other = [store(f"other{n}", one, "sha256:b") for n, one in enumerate(voices(4, size=8))]
    impostor = store("impostor", np.ones(3, np.float32))
    gallery.update([*other, impostor, *mine])
    assert gallery.comparable("clip0") == 9
    assert gallery.comparable("other0") == 4
    assert gallery.comparable("impostor") == 1
    assert all(one.key.startswith("other") for one in gallery.nearest("other0", 20))
    assert {point.key for point in gallery.map().points} == {clip.key for clip in mine}
    assert {point.key for point in gallery.map("sha256:b").points} == {clip.key for clip in other}
    assert gallery.map("sha256:c") == ClipMap()


def test_each_file_is_read_once_until_it_changes(store, monkeypatch):
    read, opened = np.lib.format.open_memmap, []
    monkeypatch.setattr(
        "numpy.lib.format.open_memmap", lambda path, mode: opened.append(path.stem) or read(path, mode=mode)
    )
    gallery, clips = EmbeddingIndex(), stored_voices(store, 4)
    gallery.update(clips)
    assert opened == ["clip0", "clip1", "clip2", "clip3"]
    gallery.update(clips)
    assert len(opened) == 4
    store("clip1", voices(4)[0])
    os.utime(clips[1].embedding, ns=(1, 1))
    gallery.update([*clips, store("new", voices(5)[4])])
    assert opened[4:] == ["clip1", "new"]
    assert gallery.nearest("clip0", 1)[0].similarity == pytest.approx(1, abs=1e-4), "the new content counts"


def test_a_broken_file_is_read_once_too(store, monkeypatch):
    clips = stored_voices(store, 4)
    clips[0].embedding.write_bytes(b"noise")
    gallery = EmbeddingIndex()
    gallery.update(clips)
    monkeypatch.setattr("numpy.lib.format.open_memmap", lambda *_, **__: pytest.fail("read again"))
    gallery.update(clips)
    assert gallery.comparable("clip1") == 3


def test_clips_that_are_gone_are_forgotten(store):
    gallery, clips = EmbeddingIndex(), stored_voices(store)
    gallery.update(clips)
    gallery.update(clips[1:])
    assert gallery.nearest("clip0", 3) == []
    assert gallery.comparable("clip1") == 8
    clips[1].embedding.unlink()
    gallery.update(clips[1:])
    assert gallery.comparable("clip1") == 0
    assert "clip1" not in [one.key for one in gallery.nearest("clip2", 20)]


def test_another_emotion_of_the_same_file_is_shown(store):
    gallery, clips = EmbeddingIndex(), stored_voices(store)
    gallery.update(clips)
    gallery.update([replace(clips[0], emotion="other"), *clips[1:]])
    assert next(point.emotion for point in gallery.map().points if point.key == "clip0") == "other"


def test_of_too_many_clips_the_newest_are_kept(store):
    gallery, clips = EmbeddingIndex(most_clips=4), stored_voices(store)
    gallery.update(clips)
    assert {point.key for point in gallery.map().points} == {"clip0", "clip1", "clip2", "clip3"}


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def _npy(header, content=b""):
    text = header.ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


HOSTILE = {
    "empty": b"",
    "noise": b"this is no array" * 20,
    "cut off": _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (16,), }", b"\0" * 20),
    "enormous": _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 16), }", b"\0" * 64),
    "negative": _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-4, 16), }", b"\0" * 64),
    "no frames": _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 16), }"),
    "no shape": _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (), }", b"\0" * 4),
    "code": _npy("__import__('os').abort()"),
    "deep": _npy("(" * 100),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_file_that_is_no_array_is_skipped(store, content):
    clips = stored_voices(store, 5)
    clips[0].embedding.write_bytes(content)
    _require_skipped(clips)


@pytest.mark.parametrize(
    "array",
    [
        np.array([Trap()], dtype=object),
        np.full(16, np.nan, np.float32),
        np.full((3, 16), np.inf, np.float32),
        np.full(16, 1e30, np.float32),
        np.full(16, 1e300),
        np.ones((2, 2, 16), np.float32),
        np.ones(16, np.int16),
        np.array(["a"] * 16),
        np.ones(1, np.float32),
        np.ones(20_000, np.float32),
    ],
    ids=["pickle", "nan", "infinite", "absurd", "more absurd", "cube", "whole", "words", "one number", "too wide"],
)
def test_an_array_that_is_no_embedding_is_skipped(store, array):
    clips = stored_voices(store, 5)
    np.save(clips[0].embedding, array, allow_pickle=True)
    _require_skipped(clips)


def test_an_archive_a_folder_a_pipe_and_an_impossible_name_are_skipped(store, tmp_path):
    clips = stored_voices(store, 5)
    np.savez(tmp_path / "archive.npz", voices(2))
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("archive.npz", "folder", "pipe", "missing", "nul\0", "x" * 5000):
        _require_skipped([replace(clips[0], embedding=tmp_path / name), *clips[1:]])


def _require_skipped(clips):
    gallery = EmbeddingIndex()
    gallery.update(clips)
    assert gallery.comparable("clip0") == 0
    assert gallery.nearest("clip0", 3) == []
    assert gallery.comparable("clip1") == 4
    assert len(gallery.map().points) == 4


def test_two_files_with_one_key_are_one_clip_the_newer(store):
    clips, gallery = stored_voices(store, 4), EmbeddingIndex()
    gallery.update([*clips, replace(clips[1], key="clip0")])
    assert gallery.comparable("clip0") == 4
    assert "clip1" in [one.key for one in gallery.nearest("clip0", 9)]


def test_equal_recordings_are_alike_and_nothing_is_divided_by_zero(store):
    gallery, one = EmbeddingIndex(), voices(1)[0]
    gallery.update([store(f"same{number}", one) for number in range(4)])
    assert [found.similarity for found in gallery.nearest("same0", 9)] == [0.0, 0.0, 0.0]
    assert {(point.x, point.y) for point in gallery.map().points} == {(0.0, 0.0)}
    assert gallery.map().shown == 0


# The map


def exact_map(unit):
    """The same by all singular vectors: points [N, 2] but for scale and sign, and the share shown."""
    centered = unit - unit.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centered.astype(np.float64), full_matrices=False)
    return left[:, :2] * sizes[:2], float((sizes[:2] ** 2).sum() / (sizes**2).sum())


@pytest.mark.parametrize(("count", "size"), [(5, 64), (60, 16), (300, 40)], ids=["few", "many", "more"])
def test_the_map_shows_what_a_full_decomposition_would(count, size):
    unit = directions(voices(count, size))
    places, shown = flat_map(unit)
    expected, expected_shown = exact_map(unit)
    assert shown == pytest.approx(expected_shown, abs=1e-3)
    expected /= np.abs(expected).max()
    for axis in (0, 1):
        difference = min(np.abs(places[:, axis] - sign * expected[:, axis]).max() for sign in (-1, 1))
        assert difference < 0.02


def test_the_map_fills_its_square_with_one_scale_for_both_axes():
    places, shown = flat_map(directions(voices(60)))
    assert np.abs(places).max() == pytest.approx(1)
    spread = places.std(axis=0)
    assert spread[0] >= spread[1] > 0, "the first axis shows most"
    assert 0.5 < shown <= 1


def test_moods_lie_apart_on_the_map(store):
    gallery = EmbeddingIndex()
    gallery.update(stored_voices(store, 60))
    points = gallery.map().points
    of_mood = {mood: np.array([(p.x, p.y) for p in points if p.emotion == mood]) for mood in EMOTIONS}
    within = max(places.std(axis=0).max() for places in of_mood.values())
    centers = [places.mean(axis=0) for places in of_mood.values()]
    between = min(np.linalg.norm(centers[a] - centers[b]) for a, b in [(0, 1), (0, 2), (1, 2)])
    assert between > 3 * within


def test_the_same_clips_in_another_order_lie_at_the_same_places(store):
    clips, first, second = stored_voices(store, 40), EmbeddingIndex(), EmbeddingIndex()
    first.update(clips)
    second.update(clips[::-1])
    there = {point.key: (point.x, point.y) for point in second.map().points}
    for point in first.map().points:
        assert (point.x, point.y) == pytest.approx(there[point.key], abs=1e-2)


def test_the_map_is_kept_until_the_clips_change(store, monkeypatch):
    gallery, clips, drawn = EmbeddingIndex(), stored_voices(store, 6), []
    monkeypatch.setattr(similar, "flat_map", lambda unit: drawn.append(len(unit)) or flat_map(unit))
    gallery.update(clips)
    assert gallery.map() is gallery.map()
    gallery.update(clips)
    gallery.map()
    assert drawn == [6]
    gallery.update(clips[1:])
    gallery.map()
    assert drawn == [6, 5]


def test_reading_hours_of_frames_takes_little_memory(store):
    clip = store("hours", np.ones((20_000, 256), np.float32))
    gallery = EmbeddingIndex()
    tracemalloc.start()
    try:
        gallery.update([clip])
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert gallery.comparable("hours") == 1
    assert peak_bytes < clip.embedding.stat().st_size / 2


def test_two_thousand_clips_are_mapped_in_a_moment():
    unit = directions(voices(2000, 1024, moods=9))
    seconds = []
    for _ in range(3):
        started_s = time.process_time()  # the clock would count who else works on this machine
        flat_map(unit)
        seconds.append(time.process_time() - started_s)
    assert min(seconds) < 1.0, "all eigenvectors would take longer; on an idle machine it is a tenth of this"


# The history


@pytest.fixture
def history(tmp_path):
    return History(tmp_path / "outputs")


def keep(history, number, embedding=None, model=None):
    """A run of its own in the history, a second after the one before; its folder."""
    analysis = analyze(loud_clip(name=f"call{number}.wav"), embedding=embedding is not None)
    analysis = replace(analysis, timestamp=analysis.timestamp + timedelta(seconds=number))
    if model is not None:
        analysis = replace(analysis, model=replace(analysis.model, name=model, fingerprint=f"sha256:{model}"))
    files = write_run(history.outputs, analysis)
    if embedding is not None:
        np.save(files.embedding, embedding)
    return files.folder.name


def test_around_a_clip_of_the_history_lie_its_nearest_and_the_map(history):
    folders = [keep(history, number, one) for number, one in enumerate(voices(6))]
    plain = keep(history, 6)
    around = EmbeddingIndex().query_neighborhood(history, folders[0], 2)
    assert around.view == "compared"
    assert around.neighbors[0].key == folders[3]
    assert len(around.neighbors) == 2
    assert (around.comparable, around.embedded) == (6, 6)
    assert [point.key for point in around.map.points] == folders[::-1], "newest first"
    assert list(around.clips) == [plain, *folders[::-1]]
    assert around.clips[folders[0]].entry.file == "call0.wav"
    assert around.clips[folders[1]].started == NOON + timedelta(seconds=1)


def test_why_a_clip_cannot_be_compared_is_told(history):
    gallery = EmbeddingIndex()
    assert gallery.query_neighborhood(history, "", 5).view == "none_open"
    assert gallery.query_neighborhood(history, "outputs_20261122_120000", 5).view == "gone"
    plain, broken = keep(history, 0), keep(history, 1, np.ones(4, np.float32))
    (history.outputs / broken / "embedding.npy").write_bytes(b"no array")
    embeddings = voices(5)
    first, second = keep(history, 2, embeddings[0]), keep(history, 3, embeddings[1])
    assert gallery.query_neighborhood(history, plain, 5).view == "no_embedding"
    assert gallery.query_neighborhood(history, broken, 5).view == "unreadable"
    around = gallery.query_neighborhood(history, first, 5)
    assert (around.view, around.comparable, around.neighbors) == ("few", 2, ())
    foreign = keep(history, 4, embeddings[2], model="other")
    around = gallery.query_neighborhood(history, foreign, 5)
    assert (around.view, around.comparable, around.embedded) == ("other_model", 1, 3)
    third = keep(history, 5, embeddings[3])
    assert gallery.query_neighborhood(history, third, 5).view == "compared"
    around = gallery.query_neighborhood(history, foreign, 5)
    assert {point.key for point in around.map.points} == {first, second, third}, "the map of those that have one"


def test_the_map_around_a_clip_is_that_of_its_own_model(history):
    embeddings, gallery = voices(9), EmbeddingIndex()
    for number in range(5):
        keep(history, number, embeddings[number])
    foreign = [keep(history, number, embeddings[number], model="other") for number in range(5, 8)]
    around = gallery.query_neighborhood(history, foreign[0], 5)
    assert around.view == "compared"
    assert {point.key for point in around.map.points} == {*foreign}
    assert len(gallery.query_neighborhood(history, "", 5).map.points) == 5


@pytest.mark.parametrize("folder", ["..", "../outputs", "outputs_20261122_120000/..", "\0", "x" * 5000])
def test_a_folder_that_is_not_in_the_history_is_gone(history, folder):
    keep(history, 0, voices(1)[0])
    assert EmbeddingIndex().query_neighborhood(history, folder, 5).view == "gone"


def test_beyond_the_three_nearest_only_what_has_something_in_common_is_told(history):
    folders = [keep(history, number, one) for number, one in enumerate(voices(12, moods=4))]
    around = EmbeddingIndex().query_neighborhood(history, folders[0], 10)
    assert len(around.neighbors) < 10
    assert all(one.similarity > 0 for one in around.neighbors[3:])
    few = EmbeddingIndex().query_neighborhood(History(history.outputs), folders[0], 1)
    assert len(few.neighbors) == 1
    for folder in folders[4:]:
        history.delete(folder)
    around = EmbeddingIndex().query_neighborhood(history, folders[0], 10)
    assert len(around.neighbors) == 3
    assert around.neighbors[-1].similarity < 0
