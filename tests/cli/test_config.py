"""Settings: what is accepted, and that every error says where, what and how to put it right."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from davfusion.config import from_options, load, parse_size
from davfusion.settings import Config, ConfigError, is_loopback, split_listen

ONE_SHARE = '[[share]]\nname = "files"\nstore = "/srv/files"\n'


def write(folder: Path, text: str) -> Path:
    file = folder / "davfusion.toml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(("text", "size"), [
    ("1", 1), ("10G", 10**10), ("500M", 5 * 10**8), ("500MB", 5 * 10**8), ("16GiB", 16 * 2**30),
    ("1.5k", 1500), ("2 TiB", 2 * 2**40), (4096, 4096),
])
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "10X", "-1", "1iB", "ten", "1G2", "1e9", True, None, 1.5])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(ValueError, match="should be a size"):
        parse_size(text)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "host", "port"), [
    ("127.0.0.1:8080", "127.0.0.1", 8080), ("[::1]:0", "::1", 0),
    (":9000", "127.0.0.1", 9000), ("nas.lan:80", "nas.lan", 80),
])
def test_listen(text: str, host: str, port: int) -> None:
    assert split_listen(text) == (host, port)


@pytest.mark.parametrize(("host", "loopback"), [
    ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
    ("0.0.0.0", False), ("::", False), ("192.168.1.4", False), ("nas.lan", False), ("", False),
])
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_the_sample_is_valid() -> None:
    sample = Path(__file__).parents[2] / "conf" / "davfusion.toml"
    config = load(sample)
    assert [share.name for share in config.share] == ["files"]
    assert config.share[0].store == "/srv/files"


def test_the_sample_shows_the_defaults(tmp_path: Path) -> None:
    sample = (Path(__file__).parents[2] / "conf" / "davfusion.toml").read_text()
    first_share = sample.partition("# [[share]]")[0]
    lines = [line.removeprefix("# ") if " = " in line else line for line in first_share.splitlines()[2:]]
    shown = load(write(tmp_path, "\n".join(lines)))
    assert dataclasses.replace(shown, state=None) == load(write(tmp_path, ONE_SHARE))


@pytest.mark.parametrize(("text", "said"), [
    ("listen = 8080\n" + ONE_SHARE, ["listen = 8080", '"127.0.0.1:8080"']),
    ('listen = "::1:80"\n' + ONE_SHARE, ["listen = '::1:80'", "without brackets", '"[::1]:8080"']),
    ('listen = "a:99999"\n' + ONE_SHARE, ["listen = 'a:99999'", "0 to 65535"]),
    ("wrkers = 2\n" + ONE_SHARE, ["wrkers = 2", "did you mean workers?"]),
    ("workers = 0\n" + ONE_SHARE, ["workers = 0", '"auto"']),
    (ONE_SHARE + 'upload_delay = "soon"\n', ["share[1].upload_delay = 'soon'", "such as 5"]),
    (ONE_SHARE + "upload_delay = -1\n", ["share[1].upload_delay = -1", "such as 5"]),
    (ONE_SHARE + "upload_delay = nan\n", ["share[1].upload_delay = nan", "such as 5"]),
    (ONE_SHARE + 'cache_size = "huge"\n', ["share[1].cache_size = 'huge'", "10G"]),
    (ONE_SHARE + 'durability = "none"\n', ["share[1].durability = 'none'", '"process-safe"']),
    (ONE_SHARE + 'layout = "chunky"\n', ["share[1].layout = 'chunky'", '"plain"']),
    ("lock_timeout = 0\n" + ONE_SHARE, ["lock_timeout = 0", "such as 600"]),
    ("lock_timeout = 7200\n" + ONE_SHARE, ["lock_timeout", "longer than lock_timeout_max", "raise both"]),
    ("lock_timeout_max = inf\n" + ONE_SHARE, ["lock_timeout_max = inf", "such as 3600"]),
    ("infinite_depth_limit = -1\n" + ONE_SHARE, ["infinite_depth_limit = -1", "such as 20000"]),
    ('any_destination_host = "all"\n' + ONE_SHARE, ["any_destination_host = 'all'", "true or false"]),
    (ONE_SHARE + 'color = "red"\n', ["share[1].color = 'red'", "upload_delay"]),
    ('[[share]]\nname = "a/b"\nstore = "/x"\n', ["share[1].name = 'a/b'", "such as photos"]),
    ('[[share]]\nname = ".."\nstore = "/x"\n', ["share[1].name = '..'"]),
    ('[[share]]\nname = "a"\n', ["share[1].store", "is missing", "s3://bucket"]),
    ('[[share]]\nname = "a"\nstore = " "\n', ["share[1].store = ' '", "is empty"]),
    (ONE_SHARE + ONE_SHARE.replace("files", "FILES", 1), ["the name 'files' is given twice"]),
    ("at_root = true\n" + ONE_SHARE + ONE_SHARE.replace("files", "b", 1), ["at_root", "only one share"]),
    ("workers = 1\n", ["share", "is missing", "[[share]]"]),
    ("share = []\n", ["share", "no share"]),
    ("share = [", ["is not valid TOML"]),
])
def test_errors_name_file_key_value_and_remedy(tmp_path: Path, text: str, said: list[str]) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    for part in [str(file), *said]:
        assert part in str(caught.value)


def test_all_errors_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, "workers = 0\n" + ONE_SHARE + "upload_delay = -1\n"))
    assert len(str(caught.value).splitlines()) == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read"):
        load(tmp_path / "none.toml")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "latin.toml"
    file.write_bytes(b'# \xfc\n')
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load(file)


def test_credentials_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = ONE_SHARE + '[share.credentials]\nsecret_access_key = { env = "MY_SECRET" }\n'
    monkeypatch.setenv("MY_SECRET", "hush-hush")
    config = load(write(tmp_path, text))
    assert config.share[0].credentials == {"secret_access_key": "hush-hush"}
    monkeypatch.delenv("MY_SECRET")
    with pytest.raises(ConfigError, match="MY_SECRET is not set"):
        load(write(tmp_path, text))


def test_secrets_are_shown_nowhere(tmp_path: Path) -> None:
    config = load(write(tmp_path, ONE_SHARE + '[share.credentials]\nsecret_access_key = "hush-hush"\n'))
    assert "hush-hush" not in f"{config!r} {config}"
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, ONE_SHARE + '[share.credentials]\nsecret_access_key = ["hush-hush"]\n'))
    assert "hush-hush" not in str(caught.value)
    with pytest.raises(ConfigError, match="environment variables") as caught:
        load(write(tmp_path, ONE_SHARE.replace("/srv/files", "s3://key:hush-hush@bucket/")))
    assert "hush-hush" not in str(caught.value)


def test_handing_over_keeps_everything(tmp_path: Path) -> None:
    config = load(write(tmp_path, ONE_SHARE + '[share.credentials]\nsecret_access_key = "hush-hush"\n'))
    received = Config.from_handover(config.handover())
    assert received == config
    assert received.share[0].credentials == {"secret_access_key": "hush-hush"}
    assert "\n" not in config.handover()


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    text = 'state = "state"\n' + ONE_SHARE.replace("/srv/files", "data")
    config = load(write(tmp_path, text))
    assert (config.share[0].store, config.state) == (str(tmp_path / "data"), tmp_path / "state")


def test_an_address_is_no_relative_path(tmp_path: Path) -> None:
    config = load(write(tmp_path, ONE_SHARE.replace("/srv/files", "s3://bucket/a?region=r")))
    assert config.share[0].store == "s3://bucket/a?region=r"


def test_the_command_line_goes_over_the_file(tmp_path: Path) -> None:
    config = load(write(tmp_path, "workers = 3\n" + ONE_SHARE + "upload_delay = 7\n"),
                  {"workers": 2}, share_overrides={"upload_delay": 0.0})
    assert (config.workers, config.share[0].upload_delay) == (2, 0.0)


def test_one_share_of_the_command_line_is_at_the_root() -> None:
    config = from_options("/data", {}, share_overrides={"read_only": True})
    assert config.at_root
    assert config.share[0].read_only


@pytest.mark.parametrize(("host", "anonymous", "allowed"), [
    ("127.0.0.1", False, True), ("0.0.0.0", False, False), ("0.0.0.0", True, True), ("[::]", False, False),
])
def test_beyond_loopback_only_when_asked(host: str, anonymous: bool, allowed: bool) -> None:
    config = from_options("/data", {"listen": f"{host}:80", "anonymous": anonymous}, share_overrides={})
    if allowed:
        config.require_private()
        return
    with pytest.raises(ConfigError, match="--anonymous"):
        config.require_private()
