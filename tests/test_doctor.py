import http.server
import json
import socket
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from emotion.access.keys import hash_key, new_key
from emotion.cli import main
from emotion.doctor import Finding, computing, examine, models, sanity, system
from emotion.hardware import Gpu, Usage
from emotion.model.probe import CudaCard, ThreadsAtWork, measure_threads, runs_on
from emotion.settings import Settings
from tests.checkpoints import TINY, write_checkpoint

GB = 10**9
KEYS = f"desk:{hash_key(new_key())}"
CARD = CudaCard("RTX 4060", 8 * GB, (8, 9), is_supported=True)
AT_WORK = ThreadsAtWork(claimed=2, busy=2.0, gflops=170.0)
# What a doctor must not prescribe: it hides what happens, makes everything slower, or opens every door.
HARMFUL = ("drop_caches", "swapoff", "rsyslog", "journald", "chmod", "kill -9", "setenforce", "--privileged", "rm -rf")


def levels(findings):
    return [finding.level for finding in findings]


def test_every_finding_says_what_it_is_and_those_that_are_not_well_what_to_do(tmp_path):
    settings = Settings(outputs=tmp_path / "outputs", model_cache=tmp_path / "cache", offline=True, port=0)
    findings = list(examine(settings))
    subjects = {finding.subject for finding in findings}
    assert {"settings", "access", "python", "packages", "cores", "threads", "matrices", "decoding"} <= subjects
    assert {"devices", "memory", "container", "swap", "open files", "outputs", "disk", "port", "model"} <= subjects
    assert all(finding.text for finding in findings)
    assert all(finding.remedy for finding in findings if finding.level != "ok")
    assert "failure" not in levels(findings)
    assert list(tmp_path.iterdir()) == [], "nothing is changed"


def test_no_remedy_does_harm():
    """Every remedy that is written in the room, whether or not this machine needs it."""
    room = Path(computing.__file__).parent
    text = "".join(path.read_text(encoding="utf-8") for path in room.glob("*.py"))
    text += (room.parent.parent / "config" / "sysctl.conf").read_text(encoding="utf-8")
    assert not [word for word in HARMFUL if word in text]


# Memory


def test_memory_that_is_too_short_for_the_model_is_said():
    assert system.memory_left(12 * GB, 16 * GB, 2 * GB).level == "ok"
    busy = system.memory_left(1 * GB, 16 * GB, 2 * GB)
    assert busy.level == "warning"
    assert "--sort=-rss" in busy.remedy
    assert "--model compact" in system.memory_left(1 * GB, 1 * GB, 2 * GB).remedy


def test_a_container_that_is_too_small_is_told_how_large_it_must_be():
    assert system.container_limit(None, None, 2 * GB).level == "ok"
    assert system.container_limit(Usage(GB, 4 * GB), 2, 2 * GB) == Finding(
        "container", "1.0 of 4.0 GB in use, 2 processors"
    )
    small = system.container_limit(Usage(GB, 2 * GB), None, 2_500_000_000)
    assert small.level == "warning"
    assert "docker run --memory 3g" in small.remedy


def test_swap_in_use_is_memory_that_was_too_short():
    assert system.swap_use(Usage(0, 0), 16 * GB).level == "ok"
    assert system.swap_use(Usage(GB, 4 * GB), 16 * GB).level == "ok"
    assert system.swap_use(Usage(3 * GB, 4 * GB), 16 * GB).level == "warning"


def test_a_kernel_that_likes_to_swap_gets_the_exact_command():
    assert system.swappiness(10).level == "ok"
    eager = system.swappiness(60)
    assert eager.level == "warning"
    assert "sudo sysctl -w vm.swappiness=10" in eager.remedy
    assert "config/sysctl.conf" in eager.remedy


def test_a_setting_of_the_kernel_is_read_where_there_is_one(tmp_path):
    (tmp_path / "vm").mkdir()
    (tmp_path / "vm" / "swappiness").write_text("60\n")
    assert system.kernel_number("vm/swappiness", tmp_path) == 60
    assert system.kernel_number("vm/other", tmp_path) is None


# Computing


def test_threads_that_are_not_those_that_were_planned_are_said():
    assert computing.threads(1, 2, AT_WORK).level == "ok"
    assert "./run.sh" in computing.threads(1, 2, replace(AT_WORK, claimed=8)).remedy
    assert "./run.sh" in computing.threads(1, 2, replace(AT_WORK, busy=7.5)).remedy
    assert "top" in computing.threads(1, 2, replace(AT_WORK, busy=0.9)).remedy


def test_a_slow_processor_is_told_what_it_can_do():
    assert "4.0 s of sound a second" in computing.matrix(AT_WORK, on_card=False).text
    slow = computing.matrix(replace(AT_WORK, gflops=20), on_card=False)
    assert slow.level == "warning"
    assert "compact" in slow.remedy
    assert computing.matrix(replace(AT_WORK, gflops=20), on_card=True).level == "ok"


def test_the_speed_of_this_machine_is_measured():
    measured = measure_threads(1)
    assert measured.claimed == 1
    assert measured.gflops > 0.5
    assert computing.decoding().text.endswith("(WAV, 44.1 kHz stereo)")


def test_more_threads_than_cores_are_no_help(monkeypatch):
    monkeypatch.setattr("emotion.model.probe.measure_threads", lambda _threads: AT_WORK)
    findings = list(computing.findings(Settings(inference_threads=4096), []))
    (found,) = [finding for finding in findings if "hold each other up" in finding.text]
    assert found.level == "warning"


def test_cards_are_told_with_their_capability(monkeypatch):
    monkeypatch.setattr("gpustat.new_query", lambda: SimpleNamespace(driver_version="570.86"))
    said = computing.cards([CARD], [])
    assert said.level == "ok"
    assert "cuda:0 RTX 4060 (8 GB, compute capability 8.9); driver 570.86" in said.text
    assert "fp32 only" in computing.cards([replace(CARD, capability=(5, 2))], []).text
    unsupported = computing.cards([replace(CARD, is_supported=False)], [])
    assert unsupported.level == "failure"
    assert "--device cpu" in unsupported.remedy


def test_a_card_that_lies_idle_is_a_warning_and_none_is_not():
    assert computing.cards([], [Gpu("Card", 16_000, 1)]).level == "warning"
    assert computing.cards([], []).level == "ok"


@pytest.mark.parametrize(
    ("built_for", "capability", "runs"),
    [
        (["sm_80", "sm_90"], (8, 9), True),
        (["sm_90"], (8, 9), False),
        (["sm_80", "compute_80"], (12, 0), True),
        (["sm_80"], (12, 0), False),
        (["sm_90a"], (9, 0), True),
        (["sm_90a"], (9, 1), False),
        ([], (8, 9), False),
    ],
)
def test_whether_a_build_has_code_for_a_card(built_for, capability, runs):
    assert runs_on(built_for, capability) is runs


# Files, disk, kernel, port


def test_few_open_files_are_raised_as_far_as_one_may():
    assert system.open_files(1_024, 1_048_576).level == "ok"
    assert "ulimit -n 8192" in system.open_files(256, 1_048_576).remedy
    assert "ulimit -n 4096" in system.open_files(256, 4_096).remedy


def test_a_folder_needs_room(tmp_path):
    assert system.folder("outputs", tmp_path, 1).level == "ok"
    assert "keep_gb" in system.folder("outputs", tmp_path / "not yet", 10**18).remedy
    assert "EMOTION_MODEL_CACHE" in system.folder("cache", tmp_path, 10**18).remedy
    assert not (tmp_path / "not yet").exists()


def test_the_speed_of_the_disk_is_measured_and_nothing_stays(tmp_path):
    assert system.write_speed(tmp_path) > 1e5
    assert list(tmp_path.iterdir()) == []
    assert system.write_speed(tmp_path / "none") is None
    assert system.disk(400e6).level == "ok"
    assert "EMOTION_OUTPUTS" in system.disk(3e6).remedy


def test_what_the_kernel_collects_is_measured_in_seconds_of_this_disk():
    (late,) = system.write_behind(0, 10, 32 * GB, 200e6)
    assert late.text == "the kernel collects 3.2 GB before it writes: 16.0 s of this disk"
    assert "vm.dirty_background_bytes=67108864" in late.remedy
    assert levels(system.write_behind(64 * 2**20, 0, 32 * GB, 200e6)) == ["ok"]
    assert levels(system.write_behind(0, 10, 32 * GB, 3e9)) == ["ok"]
    assert list(system.write_behind(None, None, 32 * GB, 200e6)) == []


def test_a_short_queue_of_connections_is_lengthened():
    assert levels(system.backlog(4_096)) == ["ok"]
    (short,) = system.backlog(128)
    assert short.text.startswith("128 connections may wait")
    assert "net.core.somaxconn=4096" in short.remedy
    assert list(system.backlog(None)) == []


def test_a_free_port_is_free():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
    assert system.port("127.0.0.1", number).level == "ok"


@contextmanager
def answering(headers):
    """A server that answers everything with these headers; gives its port."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_port_that_another_program_has_will_not_work():
    with answering({}) as number:
        taken = system.port("127.0.0.1", number)
    assert taken.level == "failure"
    assert "in use" in taken.text
    assert "--port " in taken.remedy


def test_a_port_where_this_program_answers_already_is_well():
    with answering({"X-Request-ID": "3f2a"}) as number:
        assert system.port("127.0.0.1", number).level == "ok"


def test_an_address_of_another_machine_will_not_work():
    foreign = system.port("192.0.2.1", 7860)
    assert foreign.level == "failure"
    assert "127.0.0.1" in foreign.remedy


# Models


def test_the_built_in_model_is_opened():
    found = models.built_in()
    assert found.level == "ok"
    assert "opened, sha256:" in found.text


def test_a_built_in_model_that_is_damaged_will_not_work(monkeypatch, tmp_path):
    (tmp_path / "compact.safetensors").write_bytes(b"damaged")
    monkeypatch.setattr("emotion.model.compact.WEIGHTS_FILE", tmp_path / "compact.safetensors")
    assert models.built_in().level == "failure"


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({"model": "compact"}, "ok"),
        ({"model": "auto"}, "warning"),
        ({"model": "emotion2vec_plus_base"}, "warning"),
        ({"model": "emotion2vec_plus_base", "offline": True}, "failure"),
    ],
)
def test_a_model_that_is_not_here_is_said(tmp_path, changes, level):
    assert models.chosen(Settings(model_cache=tmp_path, **changes)).level == level


def test_a_folder_of_ones_own_must_be_whole(tmp_path):
    folder = write_checkpoint(tmp_path / "mine", TINY)
    assert models.chosen(Settings(model=str(folder))).level == "ok"
    (folder / "tokens.txt").unlink()
    lacking = models.chosen(Settings(model=str(folder)))
    assert lacking.level == "failure"
    assert "tokens.txt" in lacking.text


def test_weights_in_the_cache_that_are_cut_off_will_not_work(tmp_path):
    home = tmp_path / "models" / "emotion2vec_plus_base"
    write_checkpoint(home, TINY)
    (home / "model.safetensors").write_bytes(b"cut off")
    (found,) = [one for one in models.findings(Settings(model_cache=tmp_path, offline=True)) if "base:" in one.text]
    assert found.level == "failure"
    assert "models download emotion2vec_plus_base" in found.remedy


# Settings


def test_settings_that_differ_are_named_without_their_values():
    said = sanity.changed(Settings(api_keys=KEYS, queue_size=9)).text
    assert "api_keys" in said
    assert "queue_size" in said
    assert KEYS[-20:] not in said
    assert sanity.changed(Settings()).text == "the defaults"


@pytest.mark.parametrize(
    ("changes", "level", "said"),
    [
        ({}, "ok", "only this machine"),
        ({"api_keys": KEYS}, "ok", "is asked for"),
        ({"cors_origins": "*"}, "failure", "cors_origins"),
        ({"host": "192.0.2.1"}, "failure", "refuses"),
        ({"host": "192.0.2.1", "insecure": True}, "warning", "sees every recording"),
        ({"host": "192.0.2.1", "api_keys": KEYS}, "warning", "in clear"),
        ({"api_keys": "desk:hunter2"}, "failure", "no hash"),
    ],
)
def test_who_can_reach_the_server_and_what_they_are_asked_for(changes, level, said):
    (found,) = sanity.access(Settings(**changes))
    assert found.level == level
    assert said in found.text
    assert "hunter2" not in found.text


def test_a_server_for_others_needs_bounds():
    findings = list(sanity.findings(Settings(api_keys=KEYS)))
    assert {finding.subject for finding in findings if finding.level == "warning"} == {"limits", "keeping"}
    assert "failure" in levels(sanity.findings(Settings(rate_limit="often")))
    unlimited = list(sanity.findings(Settings(jobs_per_client=99, queue_size=64)))
    assert [finding.remedy for finding in unlimited if finding.level == "warning"] == ["jobs_per_client = 32"]


def test_a_redis_that_is_away_costs_no_more_than_a_warning_and_its_password_is_not_said():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = listening.getsockname()[1]
        assert sanity.redis(f"redis://127.0.0.1:{number}/0").level == "ok"
    away = sanity.redis(f"redis://user:s3cret@127.0.0.1:{number}/0")
    assert away.level == "warning"
    assert "s3cret" not in away.text + away.remedy


# The command


def called(capsys, *words):
    with pytest.raises(SystemExit) as ending:
        main(["doctor", *words])
    return int(ending.value.code or 0), capsys.readouterr().out


@pytest.fixture
def found(monkeypatch):
    """What the doctor will find."""
    findings = [Finding("python", "3.11"), Finding("swap", "full", "warning", "Close other programs.")]
    monkeypatch.setattr("emotion.doctor.examine", lambda _settings: iter(findings))
    return findings


@pytest.mark.usefixtures("found")
def test_what_works_slower_is_no_failure(capsys):
    code, out = called(capsys)
    assert code == 0
    assert out.splitlines() == [
        "ok    python       3.11",
        "warn  swap         full",
        "                   Close other programs.",
        "1 well, 1 could be better, 0 will not work",
    ]


def test_what_will_not_work_exits_with_one(capsys, found):
    found.append(Finding("port", "in use", "failure", "--port 7861"))
    assert called(capsys)[0] == 1


@pytest.mark.usefixtures("found")
def test_findings_as_json(capsys):
    code, out = called(capsys, "--json")
    assert code == 0
    assert json.loads(out)[1] == {
        "subject": "swap",
        "text": "full",
        "level": "warning",
        "remedy": "Close other programs.",
    }


def test_a_profile_is_examined(capsys, monkeypatch):
    monkeypatch.setattr("emotion.doctor.examine", lambda settings: iter([Finding("queue", str(settings.queue_size))]))
    assert "256" in called(capsys, "--profile", "production")[1]
