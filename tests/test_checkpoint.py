"""Models on disk and on hubs: found, converted once, refused when broken, fetched with resume."""

import errno
import hashlib
import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import safetensors
import safetensors.torch
import torch
import yaml
from filelock import FileLock

from emotion.errors import CheckpointBroken, DiskFull, EmotionError, HubUnreachable, ModelError, ModelNotFound
from emotion.model.checkpoint import (
    GOLDEN,
    KNOWN_MODELS,
    download,
    example_clip,
    fetch,
    find_checkpoint,
    hub_answers,
    is_present,
    list_models,
    unreachable_message,
)
from emotion.model.checkpoint import convert as convert_module
from emotion.model.checkpoint.config import parse_convolutions
from emotion.model.checkpoint.convert import is_full_disk
from emotion.model.opening import RuntimeSpec, open_model
from tests.checkpoints import TINY, TOKENS, TOKENS_WITH_UNUSED, config_document, random_state, write_checkpoint
from tests.hubs import FakeHub

SHARED = Path(__file__).parents[2] / "shared" / "model" / "emotion2vec_plus_large"
MODEL_ID = "someone/tiny"
download_module = sys.modules["emotion.model.checkpoint.download"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "tiny", TINY, TOKENS_WITH_UNUSED)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way out raises: sockets, names, and processes that could open them."""

    def refuse(*_: object, **__: object) -> Any:
        raise AssertionError("the network was used")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)


def test_a_folder_in_the_format_of_funasr_is_a_checkpoint(folder: Path, cache: Path) -> None:
    checkpoint = find_checkpoint(str(folder), cache)

    assert checkpoint.name == "tiny"
    assert checkpoint.tokens == TOKENS_WITH_UNUSED
    assert checkpoint.labels == ("angry", "happy", "neutral", "sad", "unknown")
    assert checkpoint.fingerprint == f"sha256:{hashlib.sha256((folder / 'model.pt').read_bytes()).hexdigest()}"
    assert checkpoint.example_clip is None
    assert open_model(checkpoint).card.labels == checkpoint.labels


@pytest.mark.usefixtures("sealed")
def test_a_model_that_is_here_is_opened_without_network(folder: Path, cache: Path) -> None:
    checkpoint = find_checkpoint(str(folder), cache)

    assert (
        open_model(checkpoint, RuntimeSpec("torch", threads=torch.get_num_threads())).card.fingerprint
        == checkpoint.fingerprint
    )
    assert download(str(folder), cache).fingerprint == checkpoint.fingerprint


def test_the_second_opening_neither_reads_nor_converts_the_published_file(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = find_checkpoint(str(folder), cache)
    monkeypatch.setattr(convert_module, "file_sha256", None)
    monkeypatch.setattr(torch, "load", None)

    assert find_checkpoint(str(folder), cache) == first


def test_a_folder_that_changed_is_converted_again(folder: Path, cache: Path) -> None:
    first = find_checkpoint(str(folder), cache)
    write_checkpoint(folder, TINY, TOKENS_WITH_UNUSED, random_state(TINY, TOKENS_WITH_UNUSED, seed=2))

    second = find_checkpoint(str(folder), cache)

    assert second.fingerprint != first.fingerprint
    assert len(list((cache / "converted").iterdir())) == 1


def test_nothing_is_written_into_the_folder_of_the_user(folder: Path, cache: Path) -> None:
    before = sorted(folder.rglob("*"))
    find_checkpoint(str(folder), cache)

    assert sorted(folder.rglob("*")) == before


def test_only_inference_tensors_are_kept_and_in_float32(folder: Path, cache: Path) -> None:
    half = {name: value.half() for name, value in random_state(TINY, TOKENS_WITH_UNUSED).items()}
    write_checkpoint(folder, TINY, TOKENS_WITH_UNUSED, half)

    kept = safetensors.torch.load_file(find_checkpoint(str(folder), cache).weights)

    assert not [name for name in kept if "decoder" in name]
    assert {value.dtype for value in kept.values()} == {torch.float32}


@pytest.mark.parametrize("form", ["bare", "without prefix"])
def test_a_state_without_its_key_or_its_prefix_is_read_as_well(folder: Path, cache: Path, form: str) -> None:
    expected = find_checkpoint(str(folder), cache).weights.read_bytes()[-1000:]
    state: dict[str, Any] = random_state(TINY, TOKENS_WITH_UNUSED)
    if form == "without prefix":
        state = {"model": {name.removeprefix("d2v_model."): value for name, value in state.items()}}
    torch.save(state, folder / "model.pt")

    assert find_checkpoint(str(folder), cache).weights.read_bytes()[-1000:] == expected


def test_two_programs_that_convert_at_once_leave_one_whole_file(folder: Path, cache: Path) -> None:
    start = threading.Barrier(2)

    def find() -> str:
        start.wait()
        return find_checkpoint(str(folder), cache).fingerprint

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(find) for _ in range(2)]
        assert futures[0].result() == futures[1].result()

    assert [path.suffix for path in (cache / "converted").iterdir()] == [".safetensors"]


def test_a_converted_file_that_was_cut_off_is_made_again(folder: Path, cache: Path) -> None:
    weights = find_checkpoint(str(folder), cache).weights
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])

    again = find_checkpoint(str(folder), cache).weights.read_bytes()

    assert len(again) == len(whole)
    assert again[-1000:] == whole[-1000:]


# What is broken says so


def cut_off(folder: Path) -> None:
    content = (folder / "model.pt").read_bytes()
    (folder / "model.pt").write_bytes(content[: len(content) // 2])


def without_weights(folder: Path) -> None:
    (folder / "model.pt").unlink()


def without_head(folder: Path) -> None:
    state = random_state(TINY, TOKENS_WITH_UNUSED)
    del state["proj.weight"]
    torch.save({"model": state}, folder / "model.pt")


def other_shapes(folder: Path) -> None:
    torch.save({"model": random_state(TINY, TOKENS[:4])}, folder / "model.pt")


def no_state(folder: Path) -> None:
    torch.save({"model": [1, 2, 3]}, folder / "model.pt")


def repeated_label(folder: Path) -> None:
    (folder / "tokens.txt").write_text("a/angry\nb/angry\n<unk>", encoding="utf-8")


def no_text(folder: Path) -> None:
    (folder / "tokens.txt").write_bytes(b"\xff\xfe\x00")


def huge_text(folder: Path) -> None:
    (folder / "config.yaml").write_text("x" * 1_000_001, encoding="utf-8")


def without_config(folder: Path) -> None:
    (folder / "config.yaml").unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut_off, "damaged"),
        (without_weights, "holds no model.pt"),
        (without_head, "lacks proj.weight"),
        (other_shapes, r"proj.weight in model.pt is \(4, 32\), config.yaml says \(9, 32\)"),
        (no_state, "no tensors"),
        (repeated_label, "not a list of different labels"),
        (no_text, "tokens.txt cannot be read"),
        (huge_text, "larger than 1 MB"),
        (without_config, "config.yaml is missing"),
    ],
)
def test_a_broken_folder_says_what_is_wrong_and_names_no_path(
    folder: Path, cache: Path, damage: Callable[[Path], None], reason: str
) -> None:
    damage(folder)

    with pytest.raises(CheckpointBroken, match=reason) as caught:
        find_checkpoint(str(folder), cache)

    assert str(folder.parent) not in caught.value.message
    assert not list(cache.rglob("*.safetensors*"))


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_code_in_a_weights_file_does_not_run(folder: Path, cache: Path, tmp_path: Path) -> None:
    torch.save({"model": {"x": Bomb(tmp_path / "was-here")}}, folder / "model.pt")

    with pytest.raises(CheckpointBroken):
        find_checkpoint(str(folder), cache)

    assert not (tmp_path / "was-here").exists()


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("conf", "embed_dim", 10**9),
        ("conf", "embed_dim", "1024"),
        ("conf", "depth", True),
        ("conf", "num_heads", 5),
        ("conf", "mlp_ratio", 1e9),
        ("conf", "mlp_ratio", "four"),
        ("conf", "layer_norm_first", True),
        ("conf", "normalize", False),
        ("conf", "modalities", None),
        ("audio", "num_extra_tokens", -1),
        ("audio", "learned_alibi", True),
        ("audio", "extractor_mode", "default"),
        ("audio", "feature_encoder_spec", None),
        ("audio", "feature_encoder_spec", "[(16, 10, 5)]"),
    ],
)
def test_a_config_outside_of_what_can_be_computed_is_refused(
    folder: Path, cache: Path, section: str, key: str, value: object
) -> None:
    document = config_document(TINY)
    conf = document["model_conf"]
    (conf if section == "conf" else conf["modalities"]["audio"])[key] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")

    with pytest.raises(CheckpointBroken):
        find_checkpoint(str(folder), cache)


@pytest.mark.parametrize("text", ["[", "model: Paraformer", "model: Emotion2vec", "!!python/object/apply:os.getcwd []"])
def test_a_config_that_is_no_config_is_refused(folder: Path, cache: Path, text: str) -> None:
    (folder / "config.yaml").write_text(text, encoding="utf-8")

    with pytest.raises(CheckpointBroken):
        find_checkpoint(str(folder), cache)


def test_the_list_of_convolutions_is_read_as_the_published_files_write_it() -> None:
    spec = "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]"

    assert parse_convolutions(spec) == ((512, 10, 5), *[(512, 3, 2)] * 4, (512, 2, 2), (512, 2, 2))


@pytest.mark.parametrize(
    "spec",
    [
        "__import__('os').getcwd()",
        "[(512, 10, 5)] * 10 ** 9",
        "[(512, 10, 5)] * 1000000000",
        "[(512, 10, 5)] * -1",
        "[(512, 10)]",
        "[(512, 10, 5.0)]",
        "[(10 ** 9, 10, 5)]",
        "[(99999, 10, 5)]",
        "[]",
        "7",
        "(" * 500,
        "-" * 900 + "1",
    ],
)
def test_a_list_of_convolutions_is_never_evaluated(spec: str) -> None:
    with pytest.raises(CheckpointBroken):
        parse_convolutions(spec)


def test_a_disk_without_room_is_refused_before_writing(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))

    with pytest.raises(DiskFull):
        find_checkpoint(str(folder), cache)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        safetensors.SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_disk_that_fills_up_while_writing_leaves_nothing_behind(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fill(_state: object, path: Path, _metadata: object) -> None:
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(safetensors.torch, "save_file", fill)

    with pytest.raises(DiskFull):
        find_checkpoint(str(folder), cache)

    assert not list((cache / "converted").iterdir())
    assert not is_full_disk(OSError(errno.EACCES, "no"))


# Names


def test_a_name_that_nobody_knows_lists_what_there_is(cache: Path) -> None:
    with pytest.raises(ModelNotFound, match="emotion2vec_plus_large"):
        find_checkpoint("whisper", cache)
    with pytest.raises(ModelNotFound, match="compact"):
        download("whisper", cache)


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize("name", ["emotion2vec_plus_large", "iic/emotion2vec_plus_seed", "someone/else"])
def test_a_model_that_is_not_here_says_how_to_get_it(name: str, cache: Path) -> None:
    with pytest.raises(ModelNotFound, match=f"models download {name}"):
        find_checkpoint(name, cache)
    assert not is_present(name, cache)
    assert example_clip(name, cache) is None


def test_the_list_of_models_knows_which_are_here(folder: Path, cache: Path) -> None:
    assert [entry.present for entry in list_models(cache)] == [False, False, False]
    assert [entry.model.name for entry in list_models(cache)] == [model.name for model in KNOWN_MODELS]
    assert is_present(str(folder), cache)


def test_the_checkpoint_room_is_imported_without_torch() -> None:
    code = "import sys, emotion.model.checkpoint; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[1]).returncode == 0


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published scores are not beside this checkout")
def test_the_golden_scores_are_the_published_ones() -> None:
    published = json.loads((SHARED / "golden.json").read_text(encoding="utf-8"))

    assert [list(scores) for scores in GOLDEN.published_scores] == published["published_scores"]
    assert GOLDEN.clip_sha256 == published["sha256"]
    assert KNOWN_MODELS[0].weights_sha256 == published["official_checkpoint"]["model.pt"]["sha256"]
    assert KNOWN_MODELS[0].weights_bytes == published["official_checkpoint"]["model.pt"]["bytes"]
    assert KNOWN_MODELS[0].hf_revision == published["official_checkpoint"]["revision"]


# Hubs: the real clients of both, against a hub on the loopback interface

HUBS = pytest.mark.parametrize("hub", ["modelscope", "hf"])


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    state = random_state(TINY) | {"left.over": torch.zeros(6_000_000)}  # 24 MB: both clients take several bites
    source = write_checkpoint(tmp_path / "published", TINY, state=state)
    names = ("config.yaml", "tokens.txt", "model.pt")
    return {"example/test.wav": b"RIFF", "README.md": b"no"} | {name: (source / name).read_bytes() for name in names}


def use(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
        monkeypatch.setenv(variable, hub.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@HUBS
def test_a_model_is_downloaded_converted_and_then_here(
    hub: str, files: dict[str, bytes], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[tuple[int, int]] = []
    with FakeHub(MODEL_ID, files) as fake:
        use(fake, monkeypatch)
        checkpoint = download(MODEL_ID, cache, hub, lambda done, total: counts.append((done, total)))
        asked = len(fake.paths)
        again = download(MODEL_ID, cache, hub)

        assert len(fake.paths) == asked, "a model that is here is not asked for"
    wanted_bytes = sum(len(body) for name, body in files.items() if name != "README.md")
    assert counts[-1] == (wanted_bytes, wanted_bytes)
    assert checkpoint == again == find_checkpoint(MODEL_ID, cache)
    assert checkpoint.fingerprint == f"sha256:{hashlib.sha256(files['model.pt']).hexdigest()}"
    assert is_present(MODEL_ID, cache)
    assert checkpoint.example_clip == example_clip(MODEL_ID, cache) is not None
    here = sorted(str(path.relative_to(checkpoint.folder)) for path in checkpoint.folder.rglob("*") if path.is_file())
    assert here == ["config.yaml", "example/test.wav", "model.safetensors", "tokens.txt"]
    assert checkpoint.weights.stat().st_size < 1_000_000


class Stopped(Exception):
    pass


@HUBS
def test_a_download_that_was_stopped_goes_on_where_it_ended(
    hub: str, files: dict[str, bytes], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_bite = 12_000_000

    counts: list[int] = []

    def stop(done_bytes: int, _total: int) -> None:
        counts.append(done_bytes)
        if done_bytes > 10_000_000 and counts[-2:] == [done_bytes] * 2:  # nothing more comes
            raise Stopped

    with FakeHub(MODEL_ID, files, stall_after=first_bite) as fake:
        use(fake, monkeypatch)
        with pytest.raises(Stopped):
            download(MODEL_ID, cache, hub, stop)
        assert not is_present(MODEL_ID, cache)

        checkpoint = download(MODEL_ID, cache, hub)

        start = int(fake.ranges[-1].removeprefix("bytes=").split("-")[0])
    assert 10_000_000 <= start <= first_bite
    assert checkpoint.fingerprint == f"sha256:{hashlib.sha256(files['model.pt']).hexdigest()}"


@HUBS
def test_weights_that_are_not_the_published_ones_are_deleted_and_it_is_said(
    hub: str, files: dict[str, bytes], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = KNOWN_MODELS[0]
    with FakeHub(large.hf_id if hub == "hf" else large.modelscope_id, files) as fake:
        use(fake, monkeypatch)
        with pytest.raises(CheckpointBroken, match="SHA-256"):
            download(large.name, cache, hub)

        assert hub != "hf" or any(large.hf_revision in path for path in fake.paths)
    assert [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


@HUBS
def test_a_model_that_the_hub_does_not_have_is_not_found(
    hub: str, files: dict[str, bytes], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeHub("someone/else", files) as fake:
        use(fake, monkeypatch)
        with pytest.raises(ModelNotFound, match=MODEL_ID):
            download(MODEL_ID, cache, hub)


def test_a_repository_that_holds_no_emotion2vec_model_is_not_one(
    files: dict[str, bytes], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del files["model.pt"]
    with FakeHub(MODEL_ID, files) as fake:
        use(fake, monkeypatch)
        with pytest.raises(ModelNotFound, match=r"no model\.pt"):
            download(MODEL_ID, cache, "hf")


def test_damaged_weights_in_the_cache_are_fetched_anew(
    files: dict[str, bytes], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeHub(MODEL_ID, files) as fake:
        use(fake, monkeypatch)
        weights = download(MODEL_ID, cache, "hf").weights
        weights.write_bytes(b"damaged")
        with pytest.raises(CheckpointBroken, match="models download"):
            find_checkpoint(MODEL_ID, cache)

        assert download(MODEL_ID, cache, "hf") == find_checkpoint(MODEL_ID, cache)


@HUBS
def test_a_hub_that_is_away_is_said_at_once(hub: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeHub(MODEL_ID, {}) as fake:
        use(fake, monkeypatch)
        assert hub_answers(hub, timeout_s=5)
    assert not hub_answers(hub, timeout_s=5)
    with pytest.raises(HubUnreachable) as caught:
        download(MODEL_ID, cache, hub)
    assert caught.value.message == unreachable_message(hub)


def test_asking_a_hub_ends_in_time_even_if_its_name_is_never_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()

    def never_resolve(*_: object, **__: object) -> None:
        end.wait(30)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", never_resolve)

    assert not hub_answers("hf", timeout_s=0.05)
    end.set()


@HUBS
def test_the_fetching_process_counts_bytes_and_says_how_it_ended(
    hub: str,
    files: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    request = fetch.Request(hub, MODEL_ID, "main", tuple(files), str(tmp_path / "parts"))
    monkeypatch.setattr(sys, "argv", ["fetch", request.to_json()])
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "locks"))
    with FakeHub(MODEL_ID, files) as fake:
        use(fake, monkeypatch)
        template = fake.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        fetch.main()

    *counts, end = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert end == {"end": "done", "needed": 0}
    assert counts[-1] == {"done": sum(map(len, files.values())), "total": sum(map(len, files.values()))}
    assert all((tmp_path / "parts" / name).read_bytes() == body for name, body in files.items())


def test_a_part_that_is_whole_or_too_long_is_not_continued(
    files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter, part, size = fetch.Meter(), tmp_path / "model.part", len(files["tokens.txt"])
    with FakeHub(MODEL_ID, files) as fake:
        use(fake, monkeypatch)
        url = f"{fake.url}/{MODEL_ID}/resolve/main/tokens.txt"
        part.write_bytes(b"x" * (size + 1))
        fetch._continue_hf_file(url, part, size, meter)
        asked = len(fake.paths)
        fetch._continue_hf_file(url, part, size, meter)

        assert len(fake.paths) == asked
    assert part.read_bytes() == files["tokens.txt"]
    assert meter.done_bytes == 2 * size


def test_a_hub_that_begins_again_is_written_and_counted_from_the_start(
    files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter, part, body = fetch.Meter(), tmp_path / "model.part", files["tokens.txt"]
    part.write_bytes(body[:7])
    with FakeHub(MODEL_ID, files, knows_ranges=False) as fake:
        use(fake, monkeypatch)
        fetch._continue_hf_file(f"{fake.url}/{MODEL_ID}/resolve/main/tokens.txt", part, len(body), meter)

    assert part.read_bytes() == body
    assert meter.done_bytes == len(body)


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        ("absent", ModelNotFound),
        ("away", HubUnreachable),
        ("full", DiskFull),
        ("damaged", CheckpointBroken),
        ("", HubUnreachable),
    ],
)
def test_each_end_of_the_fetching_process_has_its_error(
    end: str, kind: type[EmotionError], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = json.dumps({"end": end, "needed": 5_000_000_000}) if end else ""
    monkeypatch.setattr(download_module, "hub_answers", lambda *_: True)
    monkeypatch.setattr(download_module, "_FETCH", ["-c", f"print({lines!r}, end='')"])

    with pytest.raises(kind):
        download(MODEL_ID, cache)


def test_errors_of_both_clients_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelscope_hub.errors import FileDownloadError, FileIntegrityError

    damaged = FileDownloadError("1 of 4 failed", failed_files={"model.pt": FileIntegrityError("hash")}, total=4)
    full = FileDownloadError("1 of 4 failed", failed_files={"model.pt": OSError(errno.ENOSPC, "full")}, total=4)

    assert fetch._end_of(damaged) == "damaged"
    assert fetch._end_of(full) == "full"
    assert fetch._end_of(ConnectionError()) == "away"
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    meter = fetch.Meter()
    meter.total_bytes = 2000
    with pytest.raises(fetch.NoRoom) as caught:
        fetch._require_room(fetch.Request("hf", MODEL_ID, "main", (), str(tmp_path)), meter)
    assert fetch._end_of(caught.value) == "full"


def test_a_program_waits_while_another_downloads_the_same_model(cache: Path) -> None:
    (cache / "models").mkdir(parents=True)
    with FileLock(cache / "models" / ".emotion2vec_plus_large.lock"), pytest.raises(Stopped):
        download("emotion2vec_plus_large", cache, progress=stop_at_once)


def stop_at_once(_done_bytes: int, _total_bytes: int) -> None:
    raise Stopped


# From a checkpoint to a model


def test_a_runtime_that_does_not_exist_is_refused(folder: Path, cache: Path) -> None:
    with pytest.raises(ModelError, match="no runtime 'abacus'"):
        open_model(find_checkpoint(str(folder), cache), RuntimeSpec("abacus"))
    with pytest.raises(ModelError, match="does not run on funasr"):
        open_model(None, RuntimeSpec("funasr"))


def test_the_built_in_model_is_opened_without_a_checkpoint() -> None:
    card = open_model(None, RuntimeSpec(device="cpu")).card

    assert (card.name, card.runtime, card.precision) == ("compact", "torch", "fp32")
    assert set(card.unsupported_labels) < set(card.labels)
