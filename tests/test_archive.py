import io
import stat
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from emotion.audio import Archive, ArchiveLimits, read_archive
from emotion.errors import (  # fmt: skip
    ArchiveBroken,
    ArchiveTooLarge,
    ClipEmpty,
    ClipLocked,
    ClipNotFound,
    ClipTooLarge,
    EmotionError,
    NothingInside,
)

MEGABYTE = 1_000_000


def zip_bytes(*entries: tuple[str | zipfile.ZipInfo, bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def unmarked_zip_bytes(*names: bytes) -> bytes:
    """A zip whose names are these bytes, without the flag for UTF-8, as Windows and macOS write it."""
    stand_ins = {f"{number:0{len(name)}d}": name for number, name in enumerate(names)}
    packed = zip_bytes(*((stand_in, b"sound") for stand_in in stand_ins))
    for stand_in, name in stand_ins.items():
        assert packed.count(stand_in.encode()) == 2  # the header of the file, and the directory
        packed = packed.replace(stand_in.encode(), name)
    return packed


def patched(packed: bytes, local: dict[int, bytes], listed: dict[int, bytes]) -> bytes:
    """The zip with other bytes at these offsets of its first file's header and line of the directory."""
    changed = bytearray(packed)
    for start, patches in ((packed.index(b"PK\x03\x04"), local), (packed.index(b"PK\x01\x02"), listed)):
        for offset, value in patches.items():
            changed[start + offset : start + offset + len(value)] = value
    return bytes(changed)


def with_flag(packed: bytes, flag: int) -> bytes:
    return patched(packed, {6: struct.pack("<H", flag)}, {8: struct.pack("<H", flag)})


def with_claimed_size(packed: bytes, size_bytes: int) -> bytes:
    return patched(packed, {22: struct.pack("<I", size_bytes)}, {24: struct.pack("<I", size_bytes)})


def names_of(archive: Archive) -> list[str]:
    return [member.name for member in archive.members]


def test_a_zip_gives_its_recordings_in_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "calls.zip").write_bytes(zip_bytes(("b.wav", b"two"), ("a.mp3", b"one"), ("a/z.wav", b"zero")))
    archive = read_archive(tmp_path / "calls.zip")
    assert names_of(archive) == ["a/z.wav", "a.mp3", "b.wav"]
    assert list(archive.contents()) == [b"zero", b"one", b"two"]
    assert archive.skipped == 0


def test_bytes_and_several_files_of_one_name_are_taken() -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        packed = zip_bytes(("a.wav", b"one"), ("a.wav", b"two"), ("b/a.wav", b"three"))
    archive = read_archive(packed, "calls.zip")
    assert names_of(archive) == ["a.wav", "a.wav", "b/a.wav"]
    assert list(archive.contents()) == [b"one", b"two", b"three"]


def test_what_is_no_sound_is_skipped_and_counted_and_what_systems_add_is_not() -> None:
    link = zipfile.ZipInfo("link.wav")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    entries = ["a.WAV", "notes.txt", "more.zip", "wav", "__MACOSX/._a.WAV", "calls/", "calls/.DS_Store", "._b.wav"]
    archive = read_archive(zip_bytes((link, b"/etc/passwd"), *((name, b"sound") for name in entries)))
    assert names_of(archive) == ["a.WAV"]
    assert archive.skipped == 4


@pytest.mark.parametrize(
    "name", ["../../etc/a.wav", "/etc/a.wav", "C:\\calls\\a.wav", "..\\a.wav", "calls/\ta\r\n.wav", "\u202ea.wav"]
)
def test_a_hostile_path_is_only_a_name_to_show(name: str) -> None:
    archive = read_archive(zip_bytes((name, b"sound")))
    assert names_of(archive) == ["a.wav"]
    assert list(archive.contents()) == [b"sound"]


def test_recordings_are_named_by_their_paths_below_the_folder_that_all_are_in() -> None:
    archive = read_archive(zip_bytes(("calls/spk1/a.wav", b"one"), ("calls/spk2/a.wav", b"two")))
    assert names_of(archive) == ["spk1/a.wav", "spk2/a.wav"]
    assert names_of(read_archive(zip_bytes(("calls/a.wav", b"one"), ("calls/b.wav", b"two")))) == ["a.wav", "b.wav"]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("客服录音/通话１.wav".encode("gbk"), "通话１.wav"),
        ("陶喆.wav".encode("gbk"), "陶喆.wav"),
        ("朱镕基讲话.wav".encode("gbk"), "朱镕基讲话.wav"),
        ("通话.wav".encode(), "通话.wav"),
        ("上海.wav".encode(), "上海.wav"),
        ("größer.wav".encode("cp437"), "größer.wav"),
        ("Müller.wav".encode("cp437"), "Müller.wav"),
        ("gruñó.wav".encode("cp437"), "gruñó.wav"),
        (b"plain.wav", "plain.wav"),
    ],
)
def test_names_of_other_systems_read_right(written: bytes, shown: str) -> None:
    assert names_of(read_archive(unmarked_zip_bytes(written))) == [shown]


def test_a_name_that_could_be_two_things_is_read_as_its_neighbours_are() -> None:
    names = ["一.wav", "二.wav", "三.wav"]
    assert "一".encode("gbk").decode() == "һ"
    assert set(names_of(read_archive(unmarked_zip_bytes(*(name.encode("gbk") for name in names))))) == set(names)


def test_a_recording_may_look_like_a_directory_inside() -> None:
    content = b"PK\x01\x02" * 20_000
    assert list(read_archive(zip_bytes(("a.wav", content), packing=zipfile.ZIP_STORED)).contents()) == [content]


def test_a_name_that_is_marked_as_utf8_is_left_alone() -> None:
    assert names_of(read_archive(zip_bytes(("һ.wav", b"sound"), ("通话.wav", b"sound")))) == ["һ.wav", "通话.wav"]


def test_a_locked_recording_says_so_and_the_rest_comes() -> None:
    locked = with_flag(zip_bytes(("a.wav", b"secret"), ("b.wav", b"sound")), 0x1)
    first, second = read_archive(locked).contents()
    assert isinstance(first, ClipLocked)
    assert "a.wav" in str(first)
    assert second == b"sound"


def test_a_damaged_recording_says_so_and_the_rest_comes() -> None:
    packed = zip_bytes(("a.wav", b"first recording"), ("b.wav", b"sound"), packing=zipfile.ZIP_STORED)
    first, second = read_archive(packed.replace(b"first", b"other")).contents()
    assert isinstance(first, ArchiveBroken)
    assert second == b"sound"


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_packing_that_may_burst_is_not_unpacked(packing: int) -> None:
    (first,) = read_archive(zip_bytes(("a.wav", bytes(MEGABYTE)), packing=packing)).contents()
    assert isinstance(first, ArchiveBroken)


def test_a_recording_that_is_too_large_is_not_unpacked_and_the_rest_comes() -> None:
    packed = zip_bytes(("a.wav", bytes(5 * MEGABYTE)), ("b.wav", b"sound"))
    archive = read_archive(packed, limits=ArchiveLimits(max_member_bytes=MEGABYTE))
    tracemalloc.start()
    first, second = archive.contents()
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(first, ClipTooLarge)
    assert second == b"sound"
    assert peak_bytes < MEGABYTE


def test_a_recording_that_lies_about_its_size_gets_no_more_memory_than_it_claims() -> None:
    liar = with_claimed_size(zip_bytes(("a.wav", bytes(100 * MEGABYTE))), 1000)
    archive = read_archive(liar)
    tracemalloc.start()
    (first,) = archive.contents()
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(first, ArchiveBroken)
    assert peak_bytes < MEGABYTE


def test_a_bomb_is_refused_before_anything_is_unpacked() -> None:
    limits = ArchiveLimits(max_member_bytes=MEGABYTE, max_ratio=10)
    bomb = zip_bytes(*((f"{number}.wav", bytes(MEGABYTE)) for number in range(10)))
    with pytest.raises(ArchiveTooLarge, match=r"'bomb\.zip' holds more than"):
        read_archive(bomb, "bomb.zip", limits)
    assert len(read_archive(bomb, limits=ArchiveLimits(max_member_bytes=MEGABYTE, max_ratio=1000)).members) == 10


def test_files_that_share_their_bytes_count_each() -> None:
    packed = zip_bytes(("a.wav", bytes(MEGABYTE)))
    line_at, end_at = packed.index(b"PK\x01\x02"), packed.index(b"PK\x05\x06")
    lines = packed[line_at:end_at] * 50
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 50, 50, len(lines), line_at, 0)
    with pytest.raises(ArchiveTooLarge):
        read_archive(packed[:line_at] + lines + end, limits=ArchiveLimits(max_total_bytes=20 * MEGABYTE))


def test_silence_that_shrinks_to_nothing_is_no_bomb() -> None:
    (content,) = read_archive(zip_bytes(("silence.wav", bytes(50 * MEGABYTE)))).contents()
    assert len(content) == 50 * MEGABYTE


def test_a_directory_of_too_many_files_is_refused_before_it_is_taken_apart() -> None:
    line = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", *[0] * 9, 1, *[0] * 6) + b"a"
    many = 400_000
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFE, 0xFFFE, many * len(line), 0, 0)
    hostile = line * many + end
    tracemalloc.start()
    with pytest.raises(ArchiveTooLarge):
        read_archive(hostile)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 2 * len(hostile)


def test_a_directory_of_few_lines_without_end_is_not_read() -> None:
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, MEGABYTE, 0, 0)
    with pytest.raises(ArchiveTooLarge):
        read_archive(bytes(MEGABYTE) + end, limits=ArchiveLimits(max_files=10))


def test_as_many_files_as_allowed_are_read_and_one_more_is_refused() -> None:
    packed = zip_bytes(*((f"{number}.wav", b"sound") for number in range(20)))
    assert len(read_archive(packed, limits=ArchiveLimits(max_files=20)).members) == 20
    with pytest.raises(ArchiveTooLarge):
        read_archive(packed, limits=ArchiveLimits(max_files=19))


def test_an_archive_that_is_larger_than_all_it_may_hold_is_not_even_opened(tmp_path: Path) -> None:
    (tmp_path / "big.zip").write_bytes(zip_bytes(("a.wav", b"sound")))
    with pytest.raises(ArchiveTooLarge):
        read_archive(tmp_path / "big.zip", limits=ArchiveLimits(max_total_bytes=100))


def test_what_is_no_zip_and_what_holds_no_sound_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty.zip").write_bytes(b"")
    (tmp_path / "text.zip").write_bytes(b"no zip at all" * 100)
    (tmp_path / "notes.zip").write_bytes(zip_bytes(("notes.txt", b"words")))
    for name, kind in {
        "empty.zip": ClipEmpty, "text.zip": ArchiveBroken, "notes.zip": NothingInside, "gone.zip": ClipNotFound
    }.items():  # fmt: skip
        with pytest.raises(kind) as caught:
            read_archive(tmp_path / name)
        assert str(tmp_path) not in str(caught.value)


def test_an_archive_that_goes_after_it_was_listed_gives_an_error_for_each_recording(tmp_path: Path) -> None:
    path = tmp_path / "calls.zip"
    path.write_bytes(zip_bytes(("a.wav", b"one"), ("b.wav", b"two")))
    archive = read_archive(path)
    path.unlink()
    assert [type(content) for content in archive.contents()] == [ClipNotFound, ClipNotFound]


def test_a_reader_who_leaves_in_the_middle_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "calls.zip").write_bytes(zip_bytes(("a.wav", b"one"), ("b.wav", b"two")))
    contents = read_archive(tmp_path / "calls.zip").contents()
    assert next(contents) == b"one"
    contents.close()


def test_whatever_is_done_to_a_zip_the_answer_is_sound_or_an_error_of_the_family() -> None:
    chance = np.random.default_rng(4)
    whole = zip_bytes(("通话/a.wav", bytes(range(256)) * 20), ("b.wav", b"sound" * 50), ("c.txt", b"words"))
    outcomes = set()
    for _ in range(1500):
        damaged = bytearray(whole)
        for _ in range(chance.integers(1, 5)):
            damaged[chance.integers(len(damaged))] = chance.integers(256)
        if chance.random() < 0.2:
            del damaged[chance.integers(len(damaged)) :]
        try:
            outcomes |= {type(content) for content in read_archive(bytes(damaged) or b"x").contents()}
        except EmotionError as error:
            outcomes.add(type(error))
    assert {bytes, ArchiveBroken} <= outcomes


def test_the_checksum_is_that_of_the_whole_recording() -> None:
    packed = zip_bytes(("a.wav", b"sound"))
    assert struct.pack("<I", zlib.crc32(b"sound")) in packed
    (content,) = read_archive(packed.replace(struct.pack("<I", zlib.crc32(b"sound")), bytes(4))).contents()
    assert isinstance(content, ArchiveBroken)
