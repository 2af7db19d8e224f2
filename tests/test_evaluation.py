import pytest

from emotion.analysis.evaluation import evaluate, label_of_word, read_labelled
from emotion.errors import EmotionError

SUFFIXES = frozenset({".wav"})


def test_accuracies_and_f1_of_a_small_table():
    pairs = [("happy", "happy")] * 3 + [("happy", "sad")] + [("sad", "sad")] + [("sad", "angry")]
    evaluation = evaluate(pairs)
    assert evaluation.references == ("happy", "sad")
    assert evaluation.recognized == ("angry", "happy", "sad")
    assert evaluation.confusion.tolist() == [[0, 3, 1], [1, 0, 1]]
    assert evaluation.recalls == {"happy": 0.75, "sad": 0.5}
    assert evaluation.unweighted_accuracy == 0.625
    assert evaluation.weighted_accuracy == pytest.approx(4 / 6)
    assert evaluation.f1 == pytest.approx((2 * 3 / 7 + 2 * 1 / 4) / 2)


def test_a_label_that_is_never_recognised_has_no_recall_and_no_f1():
    evaluation = evaluate([("fearful", "sad"), ("sad", "sad")])
    assert evaluation.recalls["fearful"] == 0
    assert evaluation.record()["rows"] == ["fearful", "sad"]


def test_nothing_to_evaluate_is_said():
    with pytest.raises(EmotionError, match="nothing to evaluate"):
        evaluate([])


@pytest.mark.parametrize(
    ("word", "label"),
    [
        ("Anger", "angry"),
        ("开心", "happy"),
        ("快乐", "happy"),
        ("<unk>", "unknown"),
        ("Pleasant Surprise", "surprised"),
    ],
)
def test_the_words_of_corpora_become_labels(word, label):
    assert label_of_word(word) == label


def test_an_unknown_word_names_the_labels():
    with pytest.raises(EmotionError, match="angry, disgusted"):
        label_of_word("hangry")


def test_folders_give_labels(tmp_path):
    for label in ("happy", "anger"):
        (tmp_path / "deep" / label).mkdir(parents=True)
        (tmp_path / "deep" / label / "a.wav").touch()
    (tmp_path / "notes.txt").touch()
    assert [(file.path.name, file.label) for file in read_labelled(tmp_path, SUFFIXES)] == [
        ("a.wav", "angry"),
        ("a.wav", "happy"),
    ]


def test_a_recording_outside_every_label_folder_is_said(tmp_path):
    (tmp_path / "a.wav").touch()
    with pytest.raises(EmotionError, match=r"a\.wav"):
        read_labelled(tmp_path, SUFFIXES)


def test_a_csv_gives_labels_with_paths_relative_to_it(tmp_path):
    (tmp_path / "list.csv").write_text("\ufeffpath,label\nx/a.wav,joy\n", encoding="utf-8")
    (file,) = read_labelled(tmp_path / "list.csv", SUFFIXES)
    assert file.path == tmp_path / "x" / "a.wav"
    assert file.label == "happy"


@pytest.mark.parametrize("text", ["", "file,emotion\na.wav,happy\n", "path,label\n"])
def test_a_csv_without_its_columns_or_rows_is_said(tmp_path, text):
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    with pytest.raises(EmotionError, match=r"list\.csv"):
        read_labelled(tmp_path / "list.csv", SUFFIXES)


def test_a_missing_source_is_said(tmp_path):
    with pytest.raises(EmotionError, match="nowhere"):
        read_labelled(tmp_path / "nowhere", SUFFIXES)
