"""Sources without a service behind them."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from client.camera.frame import Frame
from client.camera.sources import Host, Source, SourceError
from client.camera.sources.completeness import looks_complete
from client.camera.sources.folder import Folder
from client.camera.sources.genicam import GenICam, _pictures
from client.camera.sources.opencv import Film, VideoDevice
from client.camera.sources.simulated import SimulatedLine
from client.camera.sources.trigger import Trigger
from tests.pictures import encode, grey, noise

PATIENCE = 60.0


class Remembered:
    """Origins in memory, as the spool keeps them on disk."""

    def __init__(self) -> None:
        self.origins: set[str] = set()
        self.lost = 0

    def knows(self, origin: str) -> bool:
        return origin in self.origins

    def forget_origins_but(self, present: set[str]) -> None:
        self.origins &= present

    def count(self) -> None:
        self.lost += 1


class Taking:
    """Takes frames of a source in a thread, as the client does."""

    def __init__(self, source: Source, remembered: Remembered | None = None) -> None:
        self.taken: list[Frame] = []
        self.stop = threading.Event()
        self.remembered = remembered or Remembered()
        self.error: BaseException | None = None
        self._source = source
        self._thread = threading.Thread(target=self._take)

    def _take(self) -> None:
        try:
            for frame in self._source.frames(self.stop, Host(self.remembered, self.remembered.count)):
                self.taken.append(frame)
                if frame.origin:
                    self.remembered.origins.add(frame.origin)
        except BaseException as error:
            self.error = error

    def wait_for(self, count: int) -> list[Frame]:
        deadline = time.monotonic() + PATIENCE
        while len(self.taken) < count:
            assert self.error is None
            assert time.monotonic() < deadline, f"{len(self.taken)} frames, not {count}"
            time.sleep(0.01)
        return self.taken

    def __enter__(self) -> Taking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


def pixels_of(frame: Frame) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(BytesIO(frame.picture)))


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "BMP", "WEBP"])
def test_formats_tell_whether_they_are_whole(format_: str) -> None:
    data = encode(noise(1), format_)
    assert looks_complete(data)
    assert all(looks_complete(data[:end]) is False for end in range(12, len(data) - 20, 97))


def test_other_formats_do_not_tell() -> None:
    assert looks_complete(b"") is False
    assert looks_complete(encode(grey(), "TIFF")) is None
    assert looks_complete(encode(grey(), "JPEG") + b"\0\0\r\n") is True


def test_folder_takes_what_is_there_and_what_comes_once_and_in_order(tmp_path: Path) -> None:
    names = ["b.png", "a.png", "deep/c.jpg", ".hidden.png", "notes.txt"]
    for age, name in enumerate(names):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(noise(age), "JPEG" if name.endswith("jpg") else "PNG"))
    source = Folder(tmp_path, re.compile("^(.)"), delete=False)
    with Taking(source) as taking:
        assert [frame.part for frame in taking.wait_for(3)] == ["b", "a", "c"]
        (tmp_path / "d.png").write_bytes(encode(noise(9)))
        (tmp_path / "moved.tmp").write_bytes(encode(noise(10)))
        taking.wait_for(4)
        (tmp_path / "moved.tmp").rename(tmp_path / "e.png")
        frames = taking.wait_for(5)
        assert [frame.part for frame in frames[3:]] == ["d", "e"]
        assert frames[3].picture == (tmp_path / "d.png").read_bytes()
    with Taking(Folder(tmp_path, None, delete=False), taking.remembered) as again:
        (tmp_path / "f.png").write_bytes(encode(noise(11)))
        assert [frame.part for frame in again.wait_for(1)] == ["f"]
    assert len(again.taken) == 1


def test_folder_waits_until_a_slow_writer_is_done(tmp_path: Path) -> None:
    data = encode(noise(2, 200, 200))
    with Taking(Folder(tmp_path, None, delete=False)) as taking:
        (tmp_path / "first.png").write_bytes(data)
        taking.wait_for(1)
        with (tmp_path / "slow.png").open("wb") as file:
            for start in range(0, len(data), len(data) // 4):
                file.write(data[start : start + len(data) // 4])
                file.flush()
                time.sleep(0.3)
        assert taking.wait_for(2)[1].picture == data


def test_folder_deletes_what_is_spooled(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(grey()))
    remembered = Remembered()
    with Taking(Folder(tmp_path, None, delete=True), remembered) as taking:
        taking.wait_for(1)
        deadline = time.monotonic() + PATIENCE
        while (tmp_path / "a.png").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_missing_sources_are_named(tmp_path: Path) -> None:
    sources: list[Source] = [
        Folder(tmp_path / "no", None, False),
        Film(tmp_path / "no.avi", None),
        GenICam(tmp_path / "no.cti", None),
        SimulatedLine(("spoon",), 1, 0, 0, 64, 0, 1),
    ]
    for source in sources:
        with pytest.raises(SourceError, match="no"):
            next(source.frames(threading.Event(), Host(Remembered(), lambda: None)))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames, each of one grey level."""
    cv2 = pytest.importorskip("cv2")
    path = tmp_path_factory.mktemp("film") / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for level in range(20, 140, 20):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    return path


def test_film(film: Path) -> None:
    frames = list(Film(film, None).frames(threading.Event(), Host(Remembered(), lambda: None)))
    assert [frame.part for frame in frames] == [f"film-{number:06d}" for number in range(1, 7)]
    assert [round(float(pixels_of(frame).mean()), -1) for frame in frames] == [20, 40, 60, 80, 100, 120]


def test_a_camera_that_is_lost_is_opened_again(film: Path) -> None:
    """A film opens as a camera does, and is 'lost' at its end."""
    with Taking(VideoDevice(str(film), None)) as taking:
        deadline = time.monotonic() + PATIENCE
        while taking.remembered.lost < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert pixels_of(taking.taken[0]).shape == (48, 64, 3)


class Acquirer:
    """What harvesters hands over, at that seam: no GenTL producer can be had here. Nothing comes at first, then a picture."""

    def __init__(self, form: str, values: list[int], dtype: type) -> None:
        self.component = SimpleNamespace(data_format=form, width=2, height=1, data=np.array(values, dtype))
        self.payload = SimpleNamespace(components=[self.component])
        self._come: Iterator[Acquirer | None] = iter([None, self])

    def try_fetch(self, *, timeout: float) -> Acquirer | None:
        assert timeout > 0
        return next(self._come)

    def __enter__(self) -> Acquirer:
        return self

    def __exit__(self, *_: object) -> None:
        self.component.data[:] = 0  # the camera fills it anew


@pytest.mark.parametrize(
    ("form", "values", "dtype", "expected"),
    [
        ("Mono8", [0, 255], np.uint8, [[0, 255]]),
        ("Mono12", [0, 4095], np.uint16, [[0, 65520]]),
        ("RGB8", [1, 2, 3, 4, 5, 6], np.uint8, [[[1, 2, 3], [4, 5, 6]]]),
        ("BGR8", [1, 2, 3, 4, 5, 6], np.uint8, [[[3, 2, 1], [6, 5, 4]]]),
    ],
)
def test_genicam_pictures(form: str, values: list[int], dtype: type, expected: list[Any]) -> None:
    frame = next(_pictures(Acquirer(form, values, dtype), threading.Event()))
    assert pixels_of(frame).tolist() == expected


def test_genicam_names_a_format_that_it_cannot_read() -> None:
    with pytest.raises(SourceError, match="BayerRG8: set its PixelFormat to Mono8"):
        next(_pictures(Acquirer("BayerRG8", [1, 2], np.uint8), threading.Event()))


def test_trigger() -> None:
    port = free_port()
    picture = encode(noise(3))
    with Taking(Trigger("127.0.0.1", port, None)) as taking, httpx.Client(timeout=PATIENCE) as http:
        url = f"http://127.0.0.1:{port}/"
        wait_until_listening(http, url)
        assert http.post(url, params={"part": "A 7"}, content=picture).status_code == 202
        assert http.post(url, content=picture).status_code == 202
        refused = http.post(url)
        assert (refused.status_code, "--device" in refused.json()["detail"]) == (400, True)
    assert [(frame.part, frame.picture) for frame in taking.taken] == [("A 7", picture), (None, picture)]


def test_trigger_takes_a_picture(film: Path) -> None:
    port = free_port()
    with Taking(Trigger("127.0.0.1", port, VideoDevice(str(film), None))) as taking, httpx.Client(timeout=PATIENCE) as http:
        url = f"http://127.0.0.1:{port}/"
        wait_until_listening(http, url)
        assert http.post(url, params={"part": "A7"}).status_code == 202
    assert taking.taken[0].part == "A7"
    assert pixels_of(taking.taken[0]).shape == (48, 64, 3)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_listening(http: httpx.Client, url: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            http.get(url)
            return
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_simulated_line_is_the_same_for_the_same_seed_and_grows_dark() -> None:
    def pictures(lamp_hours: float) -> list[Frame]:
        line = SimulatedLine(("washer", "gear"), 1000, 0.5, lamp_hours, 64, 5, 6)
        return list(line.frames(threading.Event(), Host(Remembered(), lambda: None)))

    bright, again = pictures(0), pictures(0)
    assert [frame.picture for frame in bright] == [frame.picture for frame in again]
    assert len({frame.part for frame in bright}) == 6
    kinds = [re.fullmatch(r"(washer|gear)-\d{6}(-[a-z_]+)?", frame.part) for frame in bright]
    assert {kind is not None and kind[2] is not None for kind in kinds} == {True, False}  # half of them are defective
    old = pictures(1e-5)  # halves every 36 ms
    assert pixels_of(old[-1]).mean() < 0.9 * pixels_of(bright[-1]).mean()


def test_simulated_line_needs_no_training_package() -> None:
    code = """
import sys
for name in ("torch", "rich", "scipy", "sklearn", "onnx", "typer", "matplotlib", "transformers", "accelerate", "fastapi"):
    sys.modules[name] = None  # as if it were not installed
import threading
from client.camera.sources.simulated import SimulatedLine
frames = SimulatedLine(("washer",), 100, 0.5, 0, 64, 0, 2).frames(threading.Event(), None)
print(len(list(frames)))
"""
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "2\n"


def test_folder_takes_a_name_that_is_no_text_and_goes_on_past_what_it_cannot_read(tmp_path: Path) -> None:
    strange = os.fsdecode(b"Pr\xfcfung_1.png")
    for name in (strange, "locked.png", "plain.png"):
        (tmp_path / name).write_bytes(encode(noise(1)))
    read_bytes = Path.read_bytes

    def locked(path: Path) -> bytes:
        if path.name == "locked.png":
            raise PermissionError(errno.EACCES, "Permission denied")
        return read_bytes(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", locked)
        with Taking(Folder(tmp_path, None, delete=False)) as taking:
            frames = taking.wait_for(2)
    assert {frame.part for frame in frames} == {"Pr\\xfcfung_1", "plain"}
    for frame in frames:
        json.dumps(frame.part).encode()
        assert frame.origin is not None
        frame.origin.encode()
    assert taking.remembered.lost == 1


def test_a_folder_that_cannot_be_read_for_a_while_brings_no_part_twice(tmp_path: Path) -> None:
    """Else its files would be forgotten, and be new ones when it is back."""
    (tmp_path / "sub").mkdir()
    for name in ("a.png", "sub/b.png"):
        (tmp_path / name).write_bytes(encode(noise(1)))
    remembered = Remembered()
    folder = Folder(tmp_path, None, delete=False)
    with Taking(folder, remembered) as taking:
        taking.wait_for(2)
    walk = os.walk

    def interrupted(top: Path, onerror: Callable[[OSError], object]) -> Iterator[tuple[str, list[str], list[str]]]:
        for found in walk(top):
            if found[0].endswith("sub"):
                onerror(OSError(errno.ESTALE, "Stale file handle"))
            else:
                yield found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "walk", interrupted)
        folder._look(remembered)
    assert len(remembered.origins) == 2


def test_trigger_takes_no_half_picture_and_no_chunks(film: Path) -> None:
    port = free_port()
    picture = encode(noise(3))
    with Taking(Trigger("127.0.0.1", port, VideoDevice(str(film), None))) as taking, httpx.Client(timeout=PATIENCE) as http:
        url = f"http://127.0.0.1:{port}/"
        wait_until_listening(http, url)
        for sent in (b"", picture[:100]):
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
                connection.sendall(b"POST /?part=4711 HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + sent)
                connection.shutdown(socket.SHUT_WR)
                assert connection.recv(100) == b""
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert b" 411 " in connection.recv(1000)
        assert http.post(url, params={"part": "A7"}, content=picture).status_code == 202
    assert [frame.part for frame in taking.taken] == ["A7"]


def test_a_part_that_waits_for_a_full_spool_is_taken_back_or_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never refused and taken nevertheless: who obeys Retry-After would have it twice."""
    monkeypatch.setattr("client.camera.sources.trigger._SECONDS", 0.3)
    port, stop = free_port(), threading.Event()
    source = Trigger("127.0.0.1", port, None).frames(stop, Host(Remembered(), lambda: None))
    taken: list[Frame] = []
    thread = threading.Thread(target=lambda: taken.append(next(source)))  # and never asks for another: the spool is full
    thread.start()
    with httpx.Client(timeout=PATIENCE) as http:
        url = f"http://127.0.0.1:{port}/"
        wait_until_listening(http, url)
        promised = http.post(url, content=b"first")
        refused = http.post(url, content=b"second")
    thread.join(PATIENCE)
    stop.set()
    assert (promised.status_code, "in memory" in promised.json()["detail"]) == (202, True)
    assert refused.status_code == 503
    assert [frame.picture for frame in [*taken, *source]] == [b"first"]


def test_a_camera_whose_driver_raises_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Camera:
        opened = 0

        def __init__(self) -> None:
            Camera.opened += 1

        def read(self) -> tuple[bool, Any]:
            if Camera.opened < 2:
                raise RuntimeError("the driver is confused")
            return True, np.zeros((4, 4, 3), np.uint8)

        def release(self) -> None:
            pass

    pytest.importorskip("cv2")
    monkeypatch.setattr("client.camera.sources.opencv._AGAIN", 0.01)
    answers = iter([Camera()])  # confused; the next one is well
    monkeypatch.setattr("client.camera.sources.opencv._open", lambda _: next(answers, None) or Camera())
    with Taking(VideoDevice("7", None)) as taking:
        taking.wait_for(1)
    assert taking.remembered.lost == 1


def test_a_camera_that_is_not_there_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cv2")
    monkeypatch.setattr("client.camera.sources.opencv._AGAIN", 0.01)
    with Taking(VideoDevice("/dev/no-camera", None)) as taking:
        deadline = time.monotonic() + PATIENCE
        while taking.remembered.lost < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
