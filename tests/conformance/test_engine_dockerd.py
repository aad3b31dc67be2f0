"""A real Docker Engine as a source: what layerview says of its images is what Docker says.

The oracle is Docker's client: IDs, names, sizes, and the archive that `docker save` writes, opened
as a file.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerview.errors import NotFoundError
from layerview.sources.docker_context import Endpoint, current_endpoint
from layerview.sources.engine import EngineImages, list_engines, look_at
from layerview.sources.engine_client import EngineError
from layerview.sources.image import Image
from layerview.sources.loading import load_layers
from layerview.sources.opening import ImageOpening
from layerview.sources.resolve import open_image
from tests.support import archives, tars
from tests.support.commands import Command
from tests.support.dockerd import DOCKER, Dockerd, newer_engine

pytestmark = pytest.mark.conformance

SHELL = "/bin/busybox"
NAMES = ["test/web:1", "test/web:2"]


def free_port() -> int:
    with socket.socket() as plug:
        plug.bind(("127.0.0.1", 0))
        return int(plug.getsockname()[1])


def certificates(folder: Path) -> None:
    """Make a CA, and certificates for a server at 127.0.0.1 and for a client."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca")
    extensions = {
        "server": "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n",
        "client": "extendedKeyUsage=clientAuth\n",
    }
    for name, extension in extensions.items():
        (folder / "extensions").write_text(extension)
        key, out = ("key.pem", "cert.pem") if name == "client" else ("server.key", "server.pem")
        openssl("req", *new, "-keyout", key, "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-extfile", "extensions", "-out", out,
        )  # fmt: skip


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module", params=["overlay2", "vfs"])
def engine(
    port: int, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Dockerd]:
    """An engine with a loaded image, one built on it, and a container."""
    own = tmp_path_factory.mktemp(request.param)
    certificates(own)
    tls = [
        f"--host=tcp://127.0.0.1:{port}", "--tlsverify", f"--tlscacert={own}/ca.pem",
        f"--tlscert={own}/server.pem", f"--tlskey={own}/server.key",
    ]  # fmt: skip
    with Dockerd(request.param, more=tls) as running:
        base = tars.layer(
            tars.folder("d"), tars.file("d/kept", b"k" * 3000), tars.file("d/gone", b"g" * 100)
        )
        top = tars.layer(tars.file("d/new", b"n" * 777), tars.file("d/.wh.gone", b""))
        spec = archives.image(base, top, tags=NAMES)
        running.docker("load", "-i", archives.docker_archive(own / "web.tar", spec))
        if Path(SHELL).exists():
            context = own / "context"
            context.mkdir()
            shutil.copy(SHELL, context / "sh")
            (context / "Dockerfile").write_text(
                "FROM test/web:1\nCOPY sh /bin/sh\nRUN echo more >/d/more && rm /d/kept\n"
            )
            running.docker("build", "--network", "none", "-q", "-t", "test/built", context)
            running.docker("run", "--network", "none", "--name", "box", "test/built",
                           "/bin/sh", "-c", "echo mine >/d/mine")  # fmt: skip
        yield running


@pytest.fixture(scope="module")
def client_certificates(engine: Dockerd, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the client's certificates: the newest that was made."""
    found = sorted(tmp_path_factory.getbasetemp().glob("*/client.csr"), key=os.path.getmtime)
    return found[-1].parent


@pytest.fixture
def here(engine: Dockerd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Dockerd:
    """The engine as the current one, by its socket."""
    for name in ("DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LAYERVIEW_ROOT", str(tmp_path / "area"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{engine.socket}")
    return engine


@pytest.fixture
def far(
    here: Dockerd, port: int, client_certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> Dockerd:
    """The same engine as the current one, over TCP and TLS: nothing of it counts as being here."""
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{port}")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(client_certificates))
    return here


def say(engine: Dockerd, *words: object) -> str:
    with pytest.MonkeyPatch.context() as patch:
        # Docker's client would speak TLS to its socket.
        patch.delenv("DOCKER_TLS_VERIFY", raising=False)
        return engine.docker(*words).decode().strip()


def ids(engine: Dockerd) -> dict[str, str]:
    lines = say(engine, "images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
    return dict(line.split() for line in lines.splitlines())


def contents(image: Image) -> list[list[tuple[object, ...]]]:
    """Everything that is in an image's layers."""
    found = []
    for layer in load_layers(image, cache=False):
        index = layer.index
        assert index is not None, layer.damage
        rows = [
            (path, index.kinds[row], index.modes[row], index.sizes[row], index.uids[row])
            for path, row in index.walk_rows()
        ]
        found.append(sorted(rows))
    return found


def names(engine: Dockerd) -> list[str]:
    return sorted(ids(engine))


def test_images_are_the_ones_that_docker_lists(here: Dockerd) -> None:
    listed = EngineImages().list()
    found = {name: str(image.image_id) for image in listed for name in image.references}
    assert found == ids(here)
    for image in listed:
        said = json.loads(say(here, "inspect", str(image.image_id)))[0]
        assert image.size == said["Size"]
    by_name = {image.references[0]: image for image in listed if image.references}
    web = by_name[NAMES[0]]
    if "test/built:latest" in by_name:
        assert web.shared_size == web.size
        assert web.unique_size == 0
        assert by_name["test/built:latest"].containers == 1
        assert by_name["test/built:latest"].unique_size == (
            by_name["test/built:latest"].size - web.size
        )


def test_in_place_an_image_is_what_docker_save_writes(here: Dockerd, tmp_path: Path) -> None:
    check_against_saved(here, tmp_path, folders=True)


def test_streamed_an_image_is_what_docker_save_writes(far: Dockerd, tmp_path: Path) -> None:
    check_against_saved(far, tmp_path, folders=False)


def check_against_saved(engine: Dockerd, tmp_path: Path, *, folders: bool) -> None:
    for name, image_id in ids(engine).items():
        saved = tmp_path / "saved.tar"
        say(engine, "save", "-o", saved, name)
        with open_image(str(saved)) as expected, open_image(f"docker-daemon:{name}") as image:
            assert str(image.image_id) == image_id
            assert name in image.references
            assert image.place == "docker-daemon"
            assert [layer.diff_id for layer in image.layers] == [
                layer.diff_id for layer in expected.layers
            ]
            # In place there are folders, in the stream there are tars.
            assert all((layer.folder is not None) == folders for layer in image.layers)
            assert contents(image) == contents(expected)
        saved.unlink()


def test_bare_names_and_ids(here: Dockerd) -> None:
    for name, image_id in ids(here).items():
        for called in (name, name.removesuffix(":latest"), image_id, image_id[7:19]):
            with open_image(called) as image:
                assert str(image.image_id) == image_id


def test_every_layer_of_the_stream_is_what_its_id_says(far: Dockerd) -> None:
    for name in names(far):
        with open_image(name) as image:
            assert not image.damage
            layers = load_layers(image, verify=True, cache=False)
            assert all(layer.verified for layer in layers)


def test_the_reading_process_opens_it_too(far: Dockerd) -> None:
    opening = ImageOpening(NAMES[0], cache=False)
    try:
        image = opening.image()
        for _ in opening.events():
            pass
        assert image.name in NAMES
        assert opening.progress is not None
        assert (
            "from the engine" in opening.progress.what or "engine to pack" in opening.progress.what
        )
    finally:
        opening.cancel()


def test_a_container_is_its_image_and_what_it_changed(here: Dockerd) -> None:
    if "test/built:latest" not in ids(here):
        pytest.skip("needs busybox-static")
    changed = say(here, "diff", "box").splitlines()
    assert "A /d/mine" in changed
    with open_image("docker-daemon:container:box") as image:
        top = load_layers(image, cache=False)[-1].index
        assert top is not None
        assert top.find(b"d/mine") is not None
        with open_image("test/built") as below:
            assert len(image.layers) == len(below.layers) + 2
    container_id = say(here, "inspect", "-f", "{{.Id}}", "box")
    with open_image(f"docker-daemon:container:{container_id[:12]}") as image:
        assert image.name == "box"


def test_a_container_far_away_is_refused_with_a_remedy(far: Dockerd) -> None:
    if "test/built:latest" not in ids(far):
        pytest.skip("needs busybox-static")
    with pytest.raises(EngineError, match="docker commit box NAME"):
        open_image("docker-daemon:container:box")


def test_nothing_of_the_data_root_is_touched(here: Dockerd) -> None:
    def state() -> list[tuple[str, int, int]]:
        found = []
        for top, folders, files in os.walk(here.data / "image"):
            for name in (*folders, *files):
                status = os.lstat(os.path.join(top, name))
                found.append((os.path.join(top, name), status.st_mtime_ns, status.st_size))
        return sorted(found)

    before = state()
    for name in names(here):
        with open_image(name) as image:
            contents(image)
    assert state() == before


def test_what_docker_has_not_got(here: Dockerd) -> None:
    with pytest.raises(NotFoundError, match=r"has no image test/none:1; docker pull test/none:1"):
        open_image("docker-daemon:test/none:1")
    with pytest.raises(NotFoundError, match="has no container none"):
        open_image("docker-daemon:container:none")


def test_info(here: Dockerd) -> None:
    info = look_at(current_endpoint())
    assert info.error == ""
    assert info.version == say(here, "version", "-f", "{{.Server.Version}}")
    assert info.api == say(here, "version", "-f", "{{.Server.APIVersion}}")
    assert info.driver == say(here, "info", "-f", "{{.Driver}}")
    assert info.data_root == str(here.data)
    assert [found.error for found in list_engines() if found.endpoint.current] == [""]


def test_tls_is_checked(
    far: Dockerd, port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert look_at(current_endpoint()).error == ""
    address = f"tcp://127.0.0.1:{port}"
    assert "speaks TLS: set DOCKER_TLS_VERIFY=1" in look_at(Endpoint("x", address)).error
    monkeypatch.setenv("DOCKER_HOST", f"tcp://localhost:{port}")
    assert "certificate is not accepted" in look_at(current_endpoint()).error
    monkeypatch.setenv("DOCKER_HOST", address)
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path / "none"))
    assert "certificate is not accepted" in look_at(current_endpoint()).error


def test_a_socket_that_may_not_be_used_says_who_may(here: Dockerd) -> None:
    script = (
        "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "from layerview.sources.docker_context import current_endpoint\n"
        "from layerview.sources.engine import look_at\n"
        "print(look_at(current_endpoint()).error)\n"
    )
    # The modules must be in memory before the rights are gone.
    script = "import layerview.sources.engine, encodings.idna, email.parser\n" + script

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "permission denied; use sudo, or join the socket's group" in done.stdout


def test_commands_run_on_a_bare_name(here: Dockerd, capsys: pytest.CaptureFixture[str]) -> None:
    run = Command(capsys)
    files = run("files", NAMES[0])
    assert files.status == 0
    assert "/d/new" in files.out
    assert "/d/gone" not in files.out
    assert run("cat", NAMES[0], "/d/new").out == "n" * 777


# Another engine, that somebody started: Docker 25 or newer, with either image store ------------


@pytest.fixture(scope="module")
def newer_address() -> Iterator[str]:
    with newer_engine() as address:
        yield address


@pytest.fixture
def newer(newer_address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The address of an engine whose archives are OCI layouts; a test image is in it."""
    address = newer_address
    monkeypatch.setenv("DOCKER_HOST", address)
    monkeypatch.setenv("LAYERVIEW_ROOT", str(tmp_path / "area"))
    base = tars.layer(tars.folder("d"), tars.file("d/kept", b"k" * 3000))
    top = tars.layer(tars.file("d/new", b"n" * 777), tars.file("d/.wh.kept", b""))
    spec = archives.image(base, top, tags=["test/newer:1"])
    docker("load", "-i", archives.docker_archive(tmp_path / "newer.tar", spec))
    return address


def docker(*words: object) -> str:
    done = subprocess.run([DOCKER, *map(str, words)], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_newer_engines_image_is_what_docker_save_writes(newer: str, tmp_path: Path) -> None:
    docker("save", "-o", tmp_path / "saved.tar", "test/newer:1")
    image_id = docker("inspect", "-f", "{{.Id}}", "test/newer:1")
    for name in ("test/newer:1", image_id, image_id[7:19]):
        with open_image(str(tmp_path / "saved.tar")) as expected, open_image(name) as image:
            assert image.image_id == expected.image_id
            assert image.references == ("test/newer:1",)
            assert not image.damage
            assert contents(image) == contents(expected)
            layers = load_layers(image, verify=True, cache=False)
            assert all(layer.verified for layer in layers)


def test_a_newer_engines_images_are_the_ones_that_docker_lists(newer: str) -> None:
    lines = docker("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
    listed = EngineImages().list()
    found = {name: str(image.image_id) for image in listed for name in image.references}
    assert found == dict(line.split() for line in lines.splitlines())
    assert all(image.shared_size is not None for image in listed)
    assert all(image.unique_size is not None for image in listed)
