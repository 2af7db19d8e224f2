import io
import re

import pytest

from emotion.access.clients import Client
from emotion.access.keys import Keyring, PasswordHash, hash_key, new_key
from emotion.cli import main
from emotion.errors import SettingsInvalid
from emotion.settings import Settings

# Small numbers, so that the tests do not wait for what is slow on purpose.
QUICK = "scrypt$16$8$1$c2FsdHNhbHQ$4aV8Ngq4hFoE_vFh1WtY9V7dxwKC6fjJfXfb8tqwzj8"


class Terminal(io.StringIO):
    """A standard input at which a person sits."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def call(capfd, monkeypatch):
    """Runs the command line with something on standard input; gives exit code, standard output and standard error."""

    def run(*words: str, typed: str = "", at_terminal: bool = False) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", Terminal() if at_terminal else io.StringIO(typed))
        with pytest.raises(SystemExit) as ending:
            main(list(words))
        captured = capfd.readouterr()
        return int(ending.value.code or 0), captured.out, captured.err

    return run


def test_a_key_is_known_by_its_hash():
    key = new_key()
    keyring = Keyring(f"anna:{hash_key(key)}")
    assert keyring.client_of_key(key) == Client("anna", "clients/anna")
    assert keyring.client_of_key(key + "x") is None
    assert keyring.client_of_key("") is None
    assert key not in repr(vars(keyring))


def test_no_two_keys_are_alike_and_none_is_short():
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(re.fullmatch(r"emo_[A-Za-z0-9_-]{43}", key) for key in keys)


def test_two_keys_of_one_name_are_one_client_so_that_a_key_can_be_changed_without_a_pause():
    old, new = new_key(), new_key()
    keyring = Keyring(f"ci:{hash_key(old)}, ci:{hash_key(new)}")
    assert keyring.client_of_key(old) == keyring.client_of_key(new) == Client.named("ci")


def test_every_hash_is_compared_so_that_the_time_tells_nothing(monkeypatch):
    import hmac

    compared: list[str] = []
    true_compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append(b) or true_compare(a, b))
    key = new_key()
    hashes = [hash_key(key), hash_key("a"), hash_key("b")]
    Keyring(",".join(f"k{number}:{digest}" for number, digest in enumerate(hashes))).client_of_key(key)
    assert compared == hashes


def test_a_password_is_known_by_its_hash():
    hashed = PasswordHash.of("correct horse")
    keyring = Keyring(page_logins=f"ben:{hashed}")
    assert keyring.client_of_login("ben", "correct horse") == Client("ben", "clients/ben")
    assert keyring.client_of_login("ben", "correct hors") is None
    assert PasswordHash.of("correct horse") != hashed


def test_a_name_that_is_not_known_takes_as_long_as_one_that_is(monkeypatch):
    tried: list[str] = []
    monkeypatch.setattr(PasswordHash, "fits", lambda _, password: tried.append(password) or True)
    keyring = Keyring(page_logins=f"ben:{QUICK}")
    assert keyring.client_of_login("nobody", "guess") is None
    assert tried == ["guess"]


def test_the_hash_of_a_password_is_read_as_it_was_written():
    hashed = PasswordHash.of("correct horse")
    assert PasswordHash.parse(str(hashed)) == hashed
    assert re.fullmatch(r"scrypt\$16384\$8\$5\$[A-Za-z0-9_-]+\$[A-Za-z0-9_-]+", str(hashed))


@pytest.mark.parametrize(
    "api_keys",
    [
        "anna",
        "anna:",
        "anna:emo_in_clear",
        f"Anna:{hash_key('a')}",
        f"../x:{hash_key('a')}",
        f":{hash_key('a')}",
        "a:b:c",
    ],
)
def test_keys_that_are_none_stop_the_program_and_are_not_repeated(api_keys):
    with pytest.raises(SettingsInvalid, match="api_keys") as caught:
        Keyring(api_keys)
    assert "emo_in_clear" not in str(caught.value)


@pytest.mark.parametrize(
    "hashed",
    [
        "secret-in-clear",
        QUICK.replace("scrypt", "md5"),
        QUICK.replace("$16$", "$17$"),
        QUICK.replace("$16$", f"${2**30}$"),
        QUICK.replace("$8$", "$0$"),
        QUICK.replace("$1$", "$x$"),
        QUICK.rpartition("$")[0],
        QUICK.rpartition("$")[0] + "$",
        QUICK.rpartition("$")[0] + "$abc",
    ],
)
def test_passwords_that_are_no_hashes_stop_the_program_and_are_not_repeated(hashed):
    with pytest.raises(SettingsInvalid, match="page_logins") as caught:
        Keyring(page_logins=f"ben:{hashed}")
    assert hashed not in str(caught.value)


def test_a_login_stands_there_once():
    with pytest.raises(SettingsInvalid, match="twice"):
        Keyring(page_logins=f"ben:{QUICK},ben:{QUICK}")


def test_nothing_is_asked_for_unless_the_settings_say_so():
    assert not Keyring().asks
    assert not Keyring(" , ").asks
    assert Keyring(page_logins=f"ben:{QUICK}").asks
    assert Keyring.of(Settings(api_keys=f"anna:{hash_key('a')}")).asks


def test_settings_do_not_show_hashes():
    assert QUICK not in repr(Settings(page_logins=f"ben:{QUICK}"))


# The command line


def test_a_new_key_is_printed_once_with_the_line_for_the_settings(call):
    code, out, err = call("keys", "new", "anna")
    assert code == 0
    key = out.strip()
    found = re.search(r'^api_keys = "(.+)"$', err, re.MULTILINE)
    assert found is not None
    assert Keyring(found[1]).client_of_key(key) == Client.named("anna")
    assert f"EMOTION_API_KEYS='{found[1]}'" in err
    assert key not in err


def test_a_password_from_standard_input_becomes_a_line_for_the_settings(call):
    code, out, err = call("keys", "password", "ben", typed="correct horse\n")
    assert code == 0
    found = re.fullmatch(r'page_logins = "(.+)"\n', out)
    assert found is not None
    assert Keyring(page_logins=found[1]).client_of_login("ben", "correct horse") is not None
    assert f"EMOTION_PAGE_LOGINS='{found[1]}'" in err
    assert "correct horse" not in out + err


def test_a_password_that_is_typed_is_asked_for_twice(call, monkeypatch):
    typed = iter(["correct horse", "correct hose"])
    monkeypatch.setattr("getpass.getpass", lambda _: next(typed))
    code, out, err = call("keys", "password", "ben", at_terminal=True)
    assert (code, out) == (1, "")
    assert "differ" in err


@pytest.mark.parametrize("words", [("new", "Ann a"), ("new", "../up"), ("password", "x" * 33)])
def test_a_name_that_could_be_no_folder_is_refused(call, words):
    code, out, err = call("keys", *words, typed="correct horse\n")
    assert (code, out) == (1, "")
    assert "1 to 32" in err


@pytest.mark.parametrize("password", ["", "short"])
def test_a_short_password_is_refused(call, password):
    code, _, err = call("keys", "password", "ben", typed=password + "\n")
    assert code == 1
    assert "at least 8" in err
