"""The engine as a source, against a fake one: honest answers, and every kind of hostile one.

What a real engine says is tests/conformance/test_engine_dockerd.py's.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from layerview.errors import (
    Cancelled,
    DamageError,
    FormatError,
    LayerviewError,
    LimitError,
    NotFoundError,
    UsageError,
)
from layerview.progress import Progress
from layerview.sources import docker_context, engine_client
from layerview.sources.docker_context import Endpoint
from layerview.sources.engine import (
    EngineImages,
    describe_in_engine,
    list_engines,
    look_at,
    open_in_engine,
)
from layerview.sources.engine_client import EngineClient, EngineError, NotInEngine
from layerview.sources.loading import load_layers
from layerview.sources.resolve import SeveralImages, open_image
from layerview.tui.listing import Listed, look
from tests.support import archives, tars
from tests.support.commands import Command
from tests.support.engines import FakeEngine, answer, chunked, fake_engine

BASE = tars.layer(tars.file("etc/base", b"below"))
TOP = tars.layer(tars.file("etc/top", b"above"))
IMAGE = archives.image(BASE, TOP, tags=["shop/web:7"])
OTHER_ID = "sha256:" + "0" * 63 + "1"
INFO: dict[str, Any] = {
    "ServerVersion": "20.10",
    "Driver": "overlay2",
    "DriverStatus": [["Backing Filesystem", "extfs"]],
    "DockerRootDir": "/no/such/root",
    "Images": 1,
    "Containers": 0,
}


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """The current engine; it has one image, and says so rightly."""
    for name in ("DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_API_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LAYERVIEW_ROOT", str(tmp_path / "area"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(docker_context, "DEFAULT_SOCKET", str(tmp_path / "none.sock"))
    monkeypatch.setattr(docker_context, "PODMAN_SOCKET", str(tmp_path / "none.sock"))
    with fake_engine(tmp_path / "engine.sock") as fake:
        monkeypatch.setenv("DOCKER_HOST", fake.address)
        fake.lay("/info", INFO)
        described = inspected(archives.docker_archive(tmp_path / "saved.tar", IMAGE))
        for name in ("shop/web:7", "shop/web", described["Id"], described["Id"][7:19]):
            fake.lay(f"/images/{name}/json", described)
        fake.lay(f"/images/{described['Id']}/get", answer((tmp_path / "saved.tar").read_bytes()))
        fake.lay("/images/json", [listed(described["Id"], RepoTags=["shop/web:7"])])
        yield fake


def inspected(saved: Path) -> dict[str, Any]:
    with open_image(str(saved)) as image:
        return {
            "Id": str(image.image_id),
            "RepoTags": ["shop/web:7"],
            "Os": "linux",
            "Architecture": "amd64",
            "Size": 4096,
        }


def listed(image_id: str = OTHER_ID, **fields: Any) -> dict[str, Any]:
    return {"Id": image_id, "RepoTags": None, "RepoDigests": [], "Created": 7, "Size": 10} | fields


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes quicker."""
    for name in ("CONNECT", "GREETING", "ANSWER", "SILENCE"):
        monkeypatch.setattr(engine_client, name, 0.5)
    monkeypatch.setattr(engine_client, "_TICK", 0.1)


# Opening -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["shop/web:7", "shop/web", "docker-daemon:shop/web:7"])
def test_an_image_comes_out_of_one_stream(engine: FakeEngine, name: str) -> None:
    with open_image(name) as image:
        layers = load_layers(image, cache=False)
        assert (image.name, image.place, image.location) == (
            "shop/web:7",
            "docker-daemon",
            engine.address,
        )
        assert layers[1].index is not None
        assert layers[1].index.find(b"etc/top") is not None
    assert sum("/get" in path for path in engine.asked) == 1
    assert {path.split("/")[1] for path in engine.asked} == {"_ping", "v1.41"}


def test_the_stream_may_be_chunked_and_of_any_form(engine: FakeEngine, tmp_path: Path) -> None:
    data = archives.docker25_archive(tmp_path / "new.tar", IMAGE).read_bytes()
    pieces = [data[at : at + 1000] for at in range(0, len(data), 1000)]
    image_id = inspected(tmp_path / "saved.tar")["Id"]
    engine.lay(f"/images/{image_id}/get", chunked(*pieces, b""))
    with open_image("shop/web") as image:
        assert str(image.image_id) == image_id
        assert len(image.layers) == 2


def test_an_id_and_its_beginning_are_names(engine: FakeEngine, tmp_path: Path) -> None:
    image_id = inspected(tmp_path / "saved.tar")["Id"]
    for name in (image_id, image_id[7:19]):
        with open_image(name) as image:
            assert image.references == ("shop/web:7",)


def test_a_file_comes_before_the_engine(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    archives.docker_archive(tmp_path / "web", IMAGE)
    with open_image("web") as image:
        assert image.place == "docker-archive"
    assert engine.asked == []


def test_progress_says_how_far_the_stream_is(engine: FakeEngine) -> None:
    told: list[tuple[str, int, int | None]] = []

    class Told(Progress):
        def step(self, what: str, done: int, total: int | None) -> None:
            told.append((what, done, total))

    with open_image("shop/web", progress=Told()):
        pass
    assert any(done and what == "reading shop/web from the engine" for what, done, _ in told)


def test_a_wait_for_the_engine_can_be_cancelled(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_client, "_TICK", 0.05)
    image_id = inspected(tmp_path / "saved.tar")["Id"]
    engine.lay(f"/images/{image_id}/get", hang)
    progress = Progress()
    threading.Timer(0.3, progress.cancel).start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        open_image("shop/web", progress=progress)
    assert time.monotonic() - started < 5


def test_a_name_that_the_engine_has_not_got(engine: FakeEngine) -> None:
    with pytest.raises(NotFoundError, match=r"has no image nosuch; docker pull nosuch brings"):
        open_image("docker-daemon:nosuch")
    with pytest.raises(NotInEngine) as caught:
        open_image("docker-daemon:sha256:00")
    assert "docker pull" not in str(caught.value)


def test_one_line_says_where_a_name_was_looked_for(engine: FakeEngine) -> None:
    with pytest.raises(NotFoundError) as caught:
        open_image("nosuch")
    said = str(caught.value)
    assert said.startswith("nosuch: no such file or folder; ")
    assert "local area" in said
    assert f"the engine at {engine.address} (DOCKER_HOST) has no image nosuch" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "a\nb",
        "../../info",
        "x?y",
        "x#",
        "x%2f..",
        "é",
        "UPPER",
        "a\x1b[31m",
        "container:a/../b",
    ],
)
def test_names_that_are_none_never_reach_the_engine(engine: FakeEngine, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_in_engine(name)
    assert str(caught.value).isprintable()
    assert engine.asked == []


def test_without_a_name_it_says_which_there_are(engine: FakeEngine) -> None:
    with pytest.raises(SeveralImages) as caught:
        open_image("docker-daemon:")
    assert [choice.name for choice in caught.value.choices] == ["docker-daemon:shop/web:7"]


def test_another_platform_is_refused_before_anything_is_streamed(engine: FakeEngine) -> None:
    with pytest.raises(NotFoundError, match="for linux/amd64, not for linux/arm64"):
        open_image("docker-daemon:shop/web", platform="linux/arm64")
    assert not any("/get" in path for path in engine.asked)
    with open_image("shop/web", platform="linux/amd64"):
        pass


def test_a_stream_of_another_image_is_damage(engine: FakeEngine, tmp_path: Path) -> None:
    other = archives.docker_archive(
        tmp_path / "other.tar", archives.image(TOP, tags=["shop/web:7"])
    )
    image_id = inspected(tmp_path / "saved.tar")["Id"]
    engine.lay(f"/images/{image_id}/get", answer(other.read_bytes()))
    with open_image("shop/web") as image:
        assert any("another image" in line for line in image.damage)


def test_podman_is_asked_after_docker(engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "podman").mkdir()
    with fake_engine(tmp_path / "podman" / "podman.sock") as podman:
        podman.answers |= engine.answers
        with open_image("shop/web"):
            assert podman.asked == []
        del engine.answers["/images/shop/web/json"]
        with open_image("shop/web") as image:
            assert image.location == podman.address
        with pytest.raises(NotFoundError) as caught:
            open_image("nosuch")
        assert "; docker pull nosuch brings it there; " in str(caught.value)
        assert str(caught.value).endswith("; podman pull nosuch brings it there")


def test_another_engine_is_named_before_the_image(engine: FakeEngine, tmp_path: Path) -> None:
    with fake_engine(tmp_path / "second.sock") as second:
        second.answers |= engine.answers
        with open_image(f"docker-daemon:{second.address}::shop/web:7") as image:
            assert image.location == second.address
        assert engine.asked == []
        images = EngineImages(Endpoint("second", second.address)).list()
        assert images[0].name == f"docker-daemon:{second.address}::shop/web:7"
        images = EngineImages(Endpoint("context far", second.address)).list()
        assert images[0].name == "docker-daemon:far::shop/web:7"


def test_a_container_without_a_readable_root_says_what_to_do(engine: FakeEngine) -> None:
    engine.lay("/containers/box/json", {"Id": "a" * 64})
    with pytest.raises(EngineError, match=r"container box .*docker commit box NAME"):
        open_image("docker-daemon:container:box")
    with pytest.raises(NotFoundError, match="has no container gone"):
        open_image("docker-daemon:container:gone")
    engine.lay("/containers/box/json", {"Id": "../../etc"})
    with pytest.raises(FormatError):
        open_image("docker-daemon:container:box")


def test_errors_of_commands_are_one_line(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Command(capsys)
    found = run("layers", "docker-daemon:nosuch")
    assert (found.status, found.errors.count("\n")) == (1, 1)
    engine.close()
    found = run("layers", "docker-daemon:nosuch")
    assert (found.status, found.errors.count("\n")) == (1, 1)


# Listing -------------------------------------------------------------------------------------


def test_images_are_listed_newest_first_with_what_is_shared(engine: FakeEngine) -> None:
    second = "sha256:" + "2" * 64
    names = ["docker.io/library/x:1", "<none>:<none>", "bad\nname"]
    engine.lay(
        "/images/json",
        [listed(Created=5, RepoTags=names), listed(second, Created=9, RepoDigests=None)],
    )
    engine.lay(
        "/system/df",
        {
            "Images": [
                listed(SharedSize=4, Containers=2),
                listed(second, SharedSize=-1, Containers=0),
            ]
        },
    )
    newest, older = EngineImages().list()
    assert (newest.created, newest.shared_size, newest.unique_size, newest.containers) == (
        9,
        None,
        None,
        0,
    )
    assert newest.name == f"docker-daemon:{second}"
    assert older.references == ("x:1",)
    assert (older.size, older.shared_size, older.unique_size, older.containers) == (10, 4, 6, 2)


def test_where_df_fails_the_images_are_still_listed(engine: FakeEngine, soon: None) -> None:
    engine.lay("/system/df", hang)
    images = EngineImages().list()
    assert [image.shared_size for image in images] == [None]


def test_newer_engines_count_images_alone(engine: FakeEngine) -> None:
    engine.answers["/_ping"] = answer(b"OK", Api_Version="1.45")
    EngineImages().list()
    assert "/v1.45/system/df?type=image" in engine.asked


def test_each_engine_is_found_on_its_own(engine: FakeEngine, tmp_path: Path, soon: None) -> None:
    (tmp_path / "podman").mkdir()
    with fake_engine(tmp_path / "podman" / "podman.sock") as dead:
        dead.answers["/_ping"] = hang
        started = time.monotonic()
        found = {info.name: info for info in list_engines()}
        assert time.monotonic() - started < 3
    assert found["DOCKER_HOST"].error == ""
    assert (found["DOCKER_HOST"].version, found["DOCKER_HOST"].driver) == ("20.10", "overlay2")
    assert "does not answer" in found["podman"].error
    assert "is the engine running?" in found["docker"].error


# The API's version ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engines", "wanted", "spoken"),
    [
        ("1.41", "", "1.41"),
        ("1.99", "", "1.51"),
        ("1.41", "1.44", "1.41"),
        ("1.45", "1.41", "1.41"),
        ("rubbish", "", "1.24"),
        ("1.41/../..", "", "1.24"),
    ],
)
def test_the_apis_version(
    engine: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    engines: str,
    wanted: str,
    spoken: str,
) -> None:
    monkeypatch.setenv("DOCKER_API_VERSION", wanted)
    engine.answers["/_ping"] = answer(b"OK", Api_Version=engines)
    assert EngineClient(Endpoint("x", engine.address)).api == spoken


# Hostile and dead engines --------------------------------------------------------------------


def hang(plug: socket.socket) -> None:
    """Say nothing, for longer than anybody waits."""
    plug.settimeout(30)
    plug.recv(1)


def drip(data: bytes, pause: float = 0.05) -> Callable[[socket.socket], None]:
    def said(plug: socket.socket) -> None:
        while True:
            for at in range(len(data)):
                plug.sendall(data[at : at + 1])
                time.sleep(pause)

    return said


def flood(start: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    def said(plug: socket.socket) -> None:
        plug.sendall(start)
        while True:
            plug.sendall(piece)

    return said


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
BOUND = (LimitError, EngineError)
"""Too much, or too long: whichever a busy machine comes to first."""
HOSTILE: dict[str, tuple[Any, Any]] = {
    "nothing": (b"", LayerviewError),
    "silence": (hang, EngineError),
    "a dripping head": (drip(OK + b"X-Y: z\r\n" * 99), EngineError),
    "a dripping body": (drip(OK + b"Content-Length: 9999\r\n\r\n" + b" " * 100), EngineError),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", FormatError),
    "binary": (bytes(range(256)) * 40, FormatError),
    "many headers": (OK + b"X-Y: z\r\n" * 10_000 + b"\r\n[]", FormatError),
    "a long header": (OK + b"X: " + b"y" * 200_000 + b"\r\n\r\n[]", FormatError),
    "headers without end": (flood(OK, b"X-Y: z\r\n" * 100), (FormatError, EngineError)),
    "a long status": (b"HTTP/1.1 200 " + b"K" * 100_000 + b"\r\n\r\n[]", FormatError),
    "a status of no number": (b"HTTP/1.1 abc OK\r\n\r\n[]", FormatError),
    "continue without end": (flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99), BOUND),
    "a redirect": (
        b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n",
        EngineError,
    ),
    "an error": (answer({"message": "no\x1b[31m\nway"}, "500 Oops"), EngineError),
    "an error of another form": (answer([1], "500 Oops"), EngineError),
    "an error without end": (
        flood(b"HTTP/1.1 500 Oops\r\n\r\n", b"x" * 65536),
        EngineError,
    ),
    "a body that is cut": (OK + b"Content-Length: 100\r\n\r\n[", DamageError),
    "chunks that are cut": (chunked(b"[") + b"5\r\nab", DamageError),
    "chunks of no number": (CHUNKED + b"zz\r\n[]\r\n0\r\n\r\n", DamageError),
    "chunks below zero": (CHUNKED + b"-5\r\n[]\r\n0\r\n\r\n", LayerviewError),
    "chunks of minus one": (flood(CHUNKED + b"-1\r\n", b"x" * 65536), BOUND),
    "a chunk of all there is": (flood(CHUNKED + b"fffffffffff\r\n", b"x" * 65536), BOUND),
    "trailers without end": (flood(CHUNKED + b"2\r\n[]\r\n0\r\n", b"a: b\r\n" * 99), BOUND),
    "small chunks without end": (flood(CHUNKED, b"1\r\n \r\n" * 1000), LayerviewError),
    "a body without end": (flood(OK + b"\r\n", b"x" * 65536), BOUND),
    "no JSON": (answer(b"<html>"), FormatError),
    "deep JSON": (answer(b"[" * 200_000), FormatError),
    "another type": (answer({"a": 1}), FormatError),
    "items of another type": (answer([1, 2]), FormatError),
    "an ID of another form": (answer([listed("../../x")]), FormatError),
    "a size of another form": (answer([listed(Size="big")]), FormatError),
    "a size of a thousand digits": (
        answer(b'[{"Id": "%s", "Created": 1, "Size": %s}]' % (OTHER_ID.encode(), b"9" * 1000)),
        FormatError,
    ),
    "a time of infinity": (
        answer(b'[{"Id": "%s", "Created": 1e999, "Size": 1}]' % OTHER_ID.encode()),
        FormatError,
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_list_is_one_line_soon(engine: FakeEngine, soon: None, kind: str) -> None:
    said, error = HOSTILE[kind]
    engine.answers["/images/json"] = said
    started = time.monotonic()
    with pytest.raises(error) as caught:
        EngineImages().list()
    assert time.monotonic() - started < 5
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("kind", [kind for kind in HOSTILE if "JSON" not in kind])
def test_a_hostile_greeting_is_one_line_soon(engine: FakeEngine, soon: None, kind: str) -> None:
    said, _ = HOSTILE[kind]
    engine.answers["/_ping"] = said
    started = time.monotonic()
    info = look_at(Endpoint("x", engine.address))
    assert time.monotonic() - started < 5
    # Some are no greeting's fault: the version is in the head, and nothing else is looked at.
    assert info.error.isprintable() or info.version


@pytest.mark.parametrize(
    "kind",
    ["nothing", "silence", "no HTTP", "a redirect", "an error", "a body that is cut",
     "chunks that are cut", "chunks of no number", "chunks of minus one",
     "trailers without end", "no JSON"],
)  # fmt: skip
def test_a_hostile_stream_is_one_line_soon(
    engine: FakeEngine, soon: None, tmp_path: Path, kind: str
) -> None:
    said, _ = HOSTILE[kind]
    image_id = inspected(tmp_path / "saved.tar")["Id"]
    engine.answers[f"/images/{image_id}/get"] = said
    started = time.monotonic()
    with pytest.raises(LayerviewError) as caught:
        open_image("docker-daemon:shop/web")
    assert time.monotonic() - started < 5
    assert str(caught.value).isprintable()


def test_a_stream_that_is_cut_is_damage_not_half_an_image(
    engine: FakeEngine, tmp_path: Path
) -> None:
    data = (tmp_path / "saved.tar").read_bytes()
    image_id = inspected(tmp_path / "saved.tar")["Id"]
    whole = answer(data)
    engine.answers[f"/images/{image_id}/get"] = whole[: -len(data) // 2]
    with pytest.raises(DamageError, match="broke off"):
        open_image("docker-daemon:shop/web")


def test_a_socket_whose_queue_is_full_holds_nothing_up(tmp_path: Path, soon: None) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "full.sock"))
    listener.listen(0)
    waiting = []
    try:
        for _ in range(4):
            plug = socket.socket(socket.AF_UNIX)
            plug.setblocking(False)
            plug.connect_ex(str(tmp_path / "full.sock"))
            waiting.append(plug)
        started = time.monotonic()
        info = look_at(Endpoint("x", f"unix://{tmp_path}/full.sock"))
        assert time.monotonic() - started < 3
        assert "does not take connections" in info.error
    finally:
        for plug in (*waiting, listener):
            plug.close()


def test_a_file_and_a_folder_are_no_engines(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("file", ".", "gone", "file/x"):
        info = look_at(Endpoint("x", f"unix://{tmp_path}/{name}"))
        assert info.error.startswith(f"the engine at unix://{tmp_path}/{name}: ")


def test_info_that_is_odd_is_one_line(engine: FakeEngine) -> None:
    for odd in ([], {"Driver": 7}, {"DockerRootDir": []}, {"Images": -(10**30)}):
        engine.lay("/info", answer(odd))
        assert look_at(Endpoint("x", engine.address)).error.isprintable()
        assert look_at(Endpoint("x", engine.address)).error
    engine.lay("/info", answer({"DriverStatus": {"a": json.loads("[1]")}}))
    assert look_at(Endpoint("x", engine.address)).error == ""


def test_an_image_is_described_without_being_opened(engine: FakeEngine) -> None:
    image = describe_in_engine("shop/web:7")
    assert (image.references, image.size, image.shared_size) == (("shop/web:7",), 4096, None)
    assert image.name == "docker-daemon:shop/web:7"
    assert not any("/get" in path for path in engine.asked)
    with pytest.raises(NotFoundError):
        describe_in_engine("nosuch")


@pytest.mark.parametrize("name", ["docker-daemon:shop/web:7", "shop/web"])
def test_the_images_screen_streams_nothing(engine: FakeEngine, name: str) -> None:
    found = look(Listed(name, "x"), None, Progress())
    assert [(line.title, line.tag, line.size, line.error) for line in found] == [
        ("shop/web", "7", 4096, "")
    ]
    assert not any("/get" in path for path in engine.asked)
    assert look(Listed("docker-daemon:nosuch", "x"), None, Progress())[0].error


def test_containerds_store_may_have_an_image_for_several_platforms(
    engine: FakeEngine, tmp_path: Path
) -> None:
    arm = archives.image(TOP, tags=["shop/web:7"], architecture="arm64")
    members = archives.oci_members(archives.index(IMAGE, arm, tags=["7"]))
    manifest = json.loads(archives.docker25_members(IMAGE)["manifest.json"])
    members["manifest.json"] = archives.dump(manifest)
    data = archives.write_tar(tmp_path / "several.tar", members).read_bytes()
    image_id = inspected(tmp_path / "saved.tar")["Id"]
    engine.lay(f"/images/{image_id}/get", answer(data))
    engine.lay("/info", INFO | {"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]})
    for platform, count in ((None, 2), ("linux/amd64", 2), ("linux/arm64", 1)):
        with open_image("shop/web", platform=platform) as image:
            assert len(image.layers) == count
            assert not image.damage
    with pytest.raises(NotFoundError, match="there are linux/amd64, linux/arm64"):
        open_image("shop/web", platform="linux/s390x")
