import pytest

from emotion.formatting import clock, duration, percent, size, timestamp


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        (0, "0 KB"),
        (1, "1 KB"),
        (66_001, "67 KB"),
        (999_001, "1000 KB"),
        (1_000_000, "1 MB"),
        (200_000_000, "200 MB"),
        (1_945_000_000, "1.95 GB"),
        (16 * 10**9, "16.00 GB"),
    ],
)
def test_bytes_are_shown_in_the_unit_that_people_use(size_bytes, shown):
    assert size(size_bytes) == shown


def test_a_share_has_one_decimal():
    assert [percent(share) for share in (0, 0.8534, 1)] == ["0.0%", "85.3%", "100.0%"]


@pytest.mark.parametrize(
    ("time_s", "english", "chinese"),
    [
        (0, "0 s", "0 秒"),
        (0.42, "0.4 s", "0.4 秒"),
        (9.9, "9.9 s", "9.9 秒"),
        (9.97, "10 s", "10 秒"),
        (42.4, "42 s", "42 秒"),
        (59.9, "1 min", "1 分钟"),
        (90, "2 min", "2 分钟"),
        (3599, "1 h 0 min", "1 小时 0 分钟"),
        (3600, "1 h 0 min", "1 小时 0 分钟"),
        (5400, "1 h 30 min", "1 小时 30 分钟"),
        (86_399, "1 d 0 h", "1 天 0 小时"),
        (90_000, "1 d 1 h", "1 天 1 小时"),
    ],
)
def test_a_duration_has_its_two_largest_units(time_s, english, chinese):
    assert duration(time_s) == english
    assert duration(time_s, "zh") == chinese


@pytest.mark.parametrize(
    ("at_s", "shown"),
    [
        (0, "0:00.0"),
        (12.84, "0:12.8"),
        (59.96, "1:00.0"),
        (3599.99, "1:00:00.0"),
        (3723.4, "1:02:03.4"),
        (3732.5, "1:02:12.5"),
    ],
)
def test_a_place_in_a_recording_is_shown_as_on_a_clock(at_s, shown):
    assert clock(at_s) == shown


@pytest.mark.parametrize(
    ("at_s", "mark", "shown"),
    [(0, ",", "00:00:00,000"), (59.9996, ".", "00:01:00.000"), (3723.4, ",", "01:02:03,400")],
)
def test_subtitles_have_milliseconds(at_s, mark, shown):
    assert timestamp(at_s, mark) == shown
