"""Settings: where they come from, what wins, what is refused, and what is never shown."""

from __future__ import annotations

import pickle
import stat
from pathlib import Path

import pytest
from hypothesis import given

from t4_ops.errors import InvalidInputError
from t4_ops.keys import DEFAULT_LIMITS, Limits
from t4_ops.settings import S3Settings, Settings, config_path, load_settings, save_settings
from tests.strategies import texts

FULL = """
# A comment.
registry = "s3://team/"
install_dir = "/data/installed"
lineage = "best-effort"
lineage_registry = "/data/lineage/"
workers = 4
progress = false

[limits]
depth = 10

[s3]
endpoint_url = "http://127.0.0.1:8333"
region = "eu-west-1"
access_key_id = "AKIDCOMMON"
secret_access_key = "SECRETCOMMON"
read_timeout_s = 5
tags = { team = "weather", stage = "test" }

[registries."s3://public/"]
anonymous = true

[registries."s3://minio"]
endpoint_url = "https://minio.example.com"
access_key_id = "AKIDMINIO"
secret_access_key = "SECRETMINIO"
session_token = "TOKENMINIO"
addressing_style = "path"
versioning = "off"
"""


class Home:
    """A configuration file of its own, and an environment that names it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "config" / "t4.toml"
        self.environ = {"T4_CONFIG_FILE": str(self.file)}

    def write(self, text: str) -> None:
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text(text, encoding="utf-8")

    def load(self, **environ: str) -> Settings:
        return load_settings({**self.environ, **environ})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_without_file_and_environment_there_are_defaults(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "my data"))
    found = home.load()
    assert found == Settings()
    data = tmp_path / "my data" / "t4_ops"
    assert found.registry == f"{data.as_uri()}/registry"
    assert found.install_dir == str(data / "installed")
    assert (found.lineage, found.lineage_registry) == ("required", None)
    assert found.limits == DEFAULT_LIMITS
    assert found.s3 == S3Settings()
    assert not home.file.exists()


def test_the_file_is_found_in_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config_path({}) == tmp_path / "t4_ops" / "config.toml"
    assert config_path({"T4_CONFIG_FILE": "/x/y.toml"}) == Path("/x/y.toml")


def test_a_full_file(home: Home) -> None:
    home.write(FULL)
    found = home.load()
    assert found.registry == "s3://team"
    assert found.install_dir == "/data/installed"
    assert found.lineage == "best-effort"
    assert found.lineage_registry == "file:///data/lineage"
    assert (found.workers, found.progress) == (4, False)
    assert found.limits == Limits(depth=10)
    assert found.s3.region == "eu-west-1"
    assert found.s3.read_timeout_s == 5
    assert found.s3.tags == (("team", "weather"), ("stage", "test"))


def test_the_environment_wins_over_the_file_and_arguments_over_both(home: Home) -> None:
    home.write(FULL)
    environ = {
        "T4_REGISTRY": "/elsewhere",
        "T4_LINEAGE": "off",
        "T4_WORKERS": "9",
        "T4_PROGRESS": "yes",
        "T4_LIMITS_DEPTH": "20",
        "T4_S3_REGION": "us-east-2",
        "T4_S3_ANONYMOUS": "1",
        "T4_S3_CONNECT_TIMEOUT_S": "2.5",
        "T4_S3_TAGS": "a=1,b=x=y",
    }
    found = home.load(**environ)
    assert found.registry == "file:///elsewhere"
    assert (found.lineage, found.workers, found.progress) == ("off", 9, True)
    assert found.limits.depth == 20
    assert (found.s3.region, found.s3.anonymous) == ("us-east-2", True)
    assert (found.s3.connect_timeout_s, found.s3.read_timeout_s) == (2.5, 5)
    assert found.s3.tags == (("a", "1"), ("b", "x=y"))
    # What the environment does not name stays.
    assert found.s3.endpoint_url == "http://127.0.0.1:8333"
    assert found.install_dir == "/data/installed"
    argued = load_settings({**home.environ, **environ}, registry="s3://third", workers=2)
    assert (argued.registry, argued.workers, argued.lineage) == ("s3://third", 2, "off")


def test_half_a_key_pair_may_come_from_each_source(home: Home) -> None:
    home.write('[s3]\naccess_key_id = "AKID"\n')
    found = home.load(T4_S3_SECRET_ACCESS_KEY="SECRET")
    assert (found.s3.access_key_id, found.s3.secret_access_key) == ("AKID", "SECRET")


def test_an_empty_variable_clears_an_optional_setting(home: Home) -> None:
    home.write(FULL)
    found = home.load(T4_S3_ENDPOINT_URL="", T4_LINEAGE_REGISTRY="", T4_PROGRESS="")
    assert (found.s3.endpoint_url, found.lineage_registry, found.progress) == (None, None, False)


def test_a_registry_may_have_settings_of_its_own(home: Home) -> None:
    home.write(FULL)
    found = home.load(T4_S3_REGION="us-east-2")
    minio = found.s3_for("s3://minio")
    assert minio.endpoint_url == "https://minio.example.com"
    assert (minio.addressing_style, minio.versioning) == ("path", "off")
    assert found.s3_for("s3://minio/") == minio
    # Its settings replace the common ones: no credentials of another server are sent to it.
    public = found.s3_for("s3://public")
    assert public == S3Settings(anonymous=True)
    assert found.s3_for("s3://other") == found.s3
    assert found.s3_for("s3://other").region == "us-east-2"


def test_installs_are_noted_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert Settings(registry="/reg").local_registry == "file:///reg"
    expected = f"{tmp_path.as_uri()}/t4_ops/registry"
    assert Settings(registry="s3://b").local_registry == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("registri = 's3://b'", "'registri' is no setting"),
        ("[s4]\nregion = 'x'", "'s4' is no setting"),
        ("[s3]\nregin = 'x'", r"\[s3\]: 'regin' is no setting"),
        ("[limits]\nwidth = 3", "'width' is no setting"),
        ("[registries.'s3://b']\nregin = 'x'", "s3://b: 'regin' is no setting"),
        ("workers = '4'", "workers must be int, not str"),
        ("workers = true", "workers must be int, not bool"),
        ("workers = 1.5", "workers must be int, not float"),
        ("workers = 0", "workers is 0"),
        ("progress = 1", "progress must be bool, not int"),
        ("registry = 3", "registry must be str, not int"),
        ("registry = 's3://b/prefix'", "whole bucket"),
        ("lineage = 'maybe'", r"'maybe'; choose one of .*best-effort"),
        ("s3 = 3", r"\[s3\] must be a table"),
        ("[s3]\ntags = 'a=b'", r"\[tags\] must be a table"),
        ("[s3]\nread_timeout_s = true", "read_timeout_s must be float or int, not bool"),
        ("[s3]\nread_timeout_s = 0", "read_timeout_s is 0: it must be above 0"),
        ("[s3]\nconnect_timeout_s = nan", "connect_timeout_s is nan"),
        ("[s3]\nmax_attempts = 0", "max_attempts is 0"),
        ("lineage_timeout_s = 1e12", "lineage_timeout_s is .* at most"),
        ("[s3]\naddressing_style = 'dns'", "choose one of"),
        ("[s3]\nendpoint_url = 'localhost:9000'", "http://host"),
        ("[s3]\naccess_key_id = 'x'", "must be given together"),
        ("[limits]\ndepth = 0", "depth must be 1 or more"),
        ("registries = 3", r"\[registries\] must be a table"),
        ("[registries]\n's3://b' = 3", "s3://b must be a table"),
        ("[registries.'ftp://b']\nregion = 'x'", "ftp://b"),
        ("registry = ", "is no TOML file"),
    ],
)
def test_a_file_that_is_wrong_is_refused(home: Home, text: str, message: str) -> None:
    home.write(text)
    with pytest.raises(InvalidInputError, match=message):
        home.load()


def test_a_file_that_is_no_text_is_refused(home: Home) -> None:
    home.write("")
    home.file.write_bytes(b'registry = "\xff"')
    with pytest.raises(InvalidInputError, match="is no TOML file"):
        home.load()


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("T4_WORKERS", "many", "T4_WORKERS='many' is no number"),
        ("T4_WORKERS", "", "is no number"),
        ("T4_WORKERS", "-1", "workers is -1"),
        ("T4_LIMITS_KEY_BYTES", "1e3", "is no number"),
        ("T4_S3_READ_TIMEOUT_S", "nan", "read_timeout_s is nan"),
        ("T4_S3_READ_TIMEOUT_S", "inf", "read_timeout_s is inf"),
        ("T4_PROGRESS", "perhaps", "use true or false"),
        ("T4_LINEAGE", "never", "choose one of"),
        ("T4_S3_VERSIONING", "on", "choose one of"),
        ("T4_REGISTRY", "s3://b/prefix", "whole bucket"),
        ("T4_S3_ACCESS_KEY_ID", "AKID", "must be given together"),
    ],
)
def test_a_variable_that_is_wrong_is_refused(
    home: Home, variable: str, text: str, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        home.load(**{variable: text})


def test_an_unknown_argument_is_refused(home: Home) -> None:
    with pytest.raises(InvalidInputError, match="registri: no such setting"):
        load_settings(home.environ, registri="s3://b")


@pytest.mark.parametrize("text", ["1", "true", "YES", "on"])
def test_ways_to_say_yes(home: Home, text: str) -> None:
    assert home.load(T4_S3_ANONYMOUS=text).s3.anonymous is True


@pytest.mark.parametrize("text", ["0", "False", "no", "OFF", ""])
def test_ways_to_say_no(home: Home, text: str) -> None:
    assert home.load(T4_PROGRESS=text).progress is False


def test_secrets_are_never_shown(home: Home) -> None:
    home.write(FULL)
    found = home.load(
        T4_S3_SESSION_TOKEN="TOKENCOMMON", T4_S3_PROXY_URL="http://me:SECRETPROXY@proxy:3128"
    )
    shown = f"{found!r} {found} {found.s3!r} {found.s3_for('s3://minio')} {found.registries}"
    for secret in ("SECRET", "TOKEN", "AKID"):
        assert secret not in shown
    assert "minio.example.com" in shown
    assert found.s3.secret_access_key == "SECRETCOMMON"
    assert found.s3.session_token == "TOKENCOMMON"
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301 - made here


@pytest.mark.parametrize(
    "text",
    [
        # A secret whose quotes were forgotten.
        "[s3]\naccess_key_id = 'AKID'\nsecret_access_key = 7777777",
        "[s3]\naccess_key_id = 'AKID'\nsecret_access_key = 7777777x",
        "[s3]\nsecret_access_key = '7777777'",
        "[s3]\nendpoint_url = 'http://me:7777777@host'",
        "[s3]\nsession_token = ['7777777']",
    ],
)
def test_messages_show_no_secret(home: Home, text: str) -> None:
    home.write(text)
    with pytest.raises(InvalidInputError) as caught:
        home.load()
    cause: BaseException | None = caught.value
    while cause is not None:
        assert "7777777" not in f"{cause!r} {cause}"
        cause = cause.__cause__ or cause.__context__


def test_saved_settings_are_loaded(home: Home) -> None:
    path = save_settings({"registry": "s3://team", "workers": 3, "progress": False}, home.environ)
    assert path == home.file
    found = home.load()
    assert (found.registry, found.workers, found.progress) == ("s3://team", 3, False)
    save_settings({"workers": 5, "progress": None}, home.environ)
    found = home.load()
    assert (found.registry, found.workers, found.progress) == ("s3://team", 5, True)
    assert [entry.name for entry in home.file.parent.iterdir()] == [home.file.name]


def test_saving_keeps_tables_comments_and_other_settings(home: Home) -> None:
    home.write(FULL)
    before = home.load()
    save_settings({"registry": "/new place", "workers": None}, home.environ)
    found = home.load()
    assert found.registry == "file:///new%20place"
    assert found.workers == Settings().workers
    assert (found.s3, found.registries, found.limits) == (
        before.s3,
        before.registries,
        before.limits,
    )
    text = home.file.read_text(encoding="utf-8")
    assert "# A comment." in text
    assert text.partition("[limits]")[2] == FULL.partition("[limits]")[2]


@given(text=texts().filter(lambda text: text != "" and "\0" not in text))
def test_any_text_can_be_saved(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    home = Home(tmp_path_factory.mktemp("saved"))
    save_settings({"install_dir": f"/{text}"}, home.environ)
    assert home.load() == Settings(install_dir=f"/{text}")
    save_settings({"workers": 2}, home.environ)
    assert home.load() == Settings(install_dir=f"/{text}", workers=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"s3": "x"}, "s3 can't be set here"),
        ({"limits": None}, "limits can't be set here"),
        ({"registri": "s3://b"}, "registri can't be set here"),
        ({"workers": "many"}, "workers must be int"),
        ({"workers": 0}, "workers is 0"),
        ({"registry": "s3://b/prefix"}, "whole bucket"),
        ({"registry": ["s3://b"]}, "text, a number or a truth value"),
        ({"lineage": "maybe"}, "choose one of"),
    ],
)
def test_what_does_not_fit_is_not_saved(
    home: Home, changes: dict[str, object], message: str
) -> None:
    home.write(FULL)
    with pytest.raises(InvalidInputError, match=message):
        save_settings(changes, home.environ)
    assert home.file.read_text(encoding="utf-8") == FULL
    assert len(list(home.file.parent.iterdir())) == 1


def test_a_file_that_can_not_be_read_is_not_overwritten(home: Home) -> None:
    home.write("")
    home.file.write_bytes(b"registry = \xff\n")
    with pytest.raises(InvalidInputError, match="is no TOML file"):
        save_settings({"workers": 2}, home.environ)
    assert home.file.read_bytes() == b"registry = \xff\n"


def test_a_wrong_setting_can_be_repaired(home: Home) -> None:
    home.write("workers = 0\n")
    save_settings({"workers": 2}, home.environ)
    assert home.load().workers == 2


def test_a_file_with_secrets_stays_private(home: Home) -> None:
    def mode() -> int:
        return stat.S_IMODE(home.file.stat().st_mode)

    save_settings({"workers": 2}, home.environ)
    assert mode() == 0o600
    home.file.chmod(0o640)
    save_settings({"workers": 3}, home.environ)
    assert mode() == 0o640


def test_settings_are_hashable_and_numbers_are_checked() -> None:
    assert len({Settings(registry="s3://b"), Settings(registry="s3://b/")}) == 1
    with pytest.raises(InvalidInputError, match="workers is 0"):
        Settings(workers=0)


def test_registries_can_be_closed_to_writing(home: Home, tmp_path: Path) -> None:
    home.write('read_only = ["s3://archive", "/srv/registry"]')
    closed = ("s3://archive", "file:///srv/registry")
    assert load_settings(home.environ).read_only == closed
    environ = {**home.environ, "T4_READ_ONLY": f"s3://other, {tmp_path},"}
    assert load_settings(environ).read_only == ("s3://other", tmp_path.as_uri())
    home.write('read_only = "s3://archive"')
    with pytest.raises(InvalidInputError, match="list of registries"):
        load_settings(home.environ)
