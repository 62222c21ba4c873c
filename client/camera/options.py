"""The command line of `duet-camera`: the one place where it is configured. Secrets are read from files."""

from __future__ import annotations

import argparse
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from ..calls import DEFAULT_IN_FLIGHT, DEFAULT_URL, checked_url
from .frame import Judgement, Labels
from .sinks.broker import Broker
from .sources import Source
from .sources.folder import Folder
from .sources.genicam import GenICam
from .sources.opencv import Film, VideoDevice
from .sources.simulated import SimulatedLine
from .sources.trigger import Trigger
from .spool import FullPolicy

MIB = 2**20


@dataclass(frozen=True)
class Options:
    """What a camera client does; docs/camera.md describes each."""

    source: Source
    url: str
    api_key: str | None
    model: str | None
    threshold: float | None
    labels: Labels
    spool: Path
    spool_bytes: int
    spool_full: FullPolicy
    in_flight: int
    deadline: float | None  # seconds
    fail_safe: Judgement
    quiet: bool
    jsonl: Path | None
    csv: Path | None
    rotate_bytes: int
    rotate_keep: int
    webhook: str | None
    mqtt: Broker | None
    mqtt_password: str | None
    on_verdict: tuple[str, ...] | None
    metrics_host: str
    metrics_port: int | None


def parse_options(arguments: list[str] | None = None) -> Options:
    """Options from the command line; a wrong one ends the process with status 2 and one line that names it."""
    parser = argparse.ArgumentParser(prog="duet-camera", description="Score what a camera sees, and lose no part.")
    sources = parser.add_subparsers(dest="source", required=True, metavar="SOURCE", title="sources")
    common = _common()
    _add_sources(sources, common)
    given = parser.parse_args(arguments)
    try:
        source = _source(given)
    except ValueError as error:
        parser.error(str(error))
    return Options(
        source=source,
        url=given.url,
        api_key=given.api_key_file,
        model=given.model,
        threshold=given.threshold,
        labels=Labels(given.camera, given.line, given.station),
        spool=given.spool or Path("spool") / given.camera,
        spool_bytes=given.spool_mb * MIB,
        spool_full=given.spool_full,
        in_flight=given.in_flight,
        deadline=None if given.deadline_ms is None else given.deadline_ms / 1000,
        fail_safe=given.fail_safe,
        quiet=given.quiet,
        jsonl=given.jsonl,
        csv=given.csv,
        rotate_bytes=given.rotate_mb * MIB,
        rotate_keep=given.rotate_keep,
        webhook=given.webhook,
        mqtt=given.mqtt,
        mqtt_password=given.mqtt_password_file,
        on_verdict=given.on_verdict,
        metrics_host=given.metrics_host,
        metrics_port=given.metrics_port,
    )


def _common() -> argparse.ArgumentParser:
    """What every source has."""
    common = argparse.ArgumentParser(add_help=False)
    service = common.add_argument_group("service")
    service.add_argument("--url", type=_url, default=DEFAULT_URL, help="address of the service (%(default)s)")
    service.add_argument("--api-key-file", type=_secret, metavar="FILE", help="file that holds the API key")
    service.add_argument("--model", help="model that scores; the service's default if absent")
    service.add_argument("--threshold", type=_share, help="joint probability from which a part is bad; the model's if absent")
    service.add_argument(
        "--in-flight", type=_positive, default=DEFAULT_IN_FLIGHT, metavar="N", help="requests at a time (%(default)s)"
    )

    labels = common.add_argument_group("labels")
    labels.add_argument("--camera", type=_name, default="camera", help="name of this camera (%(default)s)")
    labels.add_argument("--line", help="name of the line")
    labels.add_argument("--station", help="name of the station")

    spool = common.add_argument_group("spool")
    spool.add_argument("--spool", type=Path, metavar="FOLDER", help="folder of its own on a local disk (spool/CAMERA)")
    spool.add_argument("--spool-mb", type=_positive, default=1024, metavar="MIB", help="pictures it may hold (%(default)s)")
    spool.add_argument(
        "--spool-full",
        choices=("stop", "drop-oldest"),
        default="stop",
        help="take no more frames, or drop old ones (%(default)s)",
    )

    deadline = common.add_argument_group("verdict")
    deadline.add_argument("--deadline-ms", type=_positive, metavar="MS", help="after so long the fail-safe verdict is given")
    deadline.add_argument("--fail-safe", choices=("good", "bad"), default="bad", help="the fail-safe verdict (%(default)s)")

    sinks = common.add_argument_group("sinks")
    sinks.add_argument("--quiet", action="store_true", help="no line a verdict on standard output")
    sinks.add_argument("--jsonl", type=Path, metavar="FILE", help="append verdicts as JSON lines")
    sinks.add_argument("--csv", type=Path, metavar="FILE", help="append verdicts as CSV")
    sinks.add_argument("--rotate-mb", type=_positive, default=100, metavar="MIB", help="size of such a file (%(default)s)")
    sinks.add_argument("--rotate-keep", type=_positive, default=10, metavar="N", help="older files kept (%(default)s)")
    sinks.add_argument("--webhook", type=_url, metavar="URL", help="post verdicts as JSON")
    sinks.add_argument("--mqtt", type=_broker, metavar="URL", help="publish verdicts: mqtt[s]://[USER@]HOST[:PORT][/PREFIX]")
    sinks.add_argument("--mqtt-password-file", type=_secret, metavar="FILE", help="file that holds the broker's password")
    sinks.add_argument("--on-verdict", type=_command, metavar="COMMAND", help="run for each verdict that is not late")

    metrics = common.add_argument_group("metrics")
    metrics.add_argument("--metrics-port", type=_port, metavar="PORT", help="serve Prometheus metrics; 0 takes a free port")
    metrics.add_argument("--metrics-host", default="127.0.0.1", metavar="HOST", help="address to serve them on (%(default)s)")
    return common


def _add_sources(sources: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    def add(name: str, text: str) -> argparse.ArgumentParser:
        return sources.add_parser(name, help=text, description=text.capitalize() + ".", parents=[common])

    folder = add("folder", "pictures that appear in a folder")
    folder.add_argument("path", type=Path)
    folder.add_argument(
        "--part-pattern", type=_pattern, metavar="REGEX", help="finds the part in a file's name, as its first group"
    )
    folder.add_argument("--delete", action="store_true", help="delete each file that is safe in the spool")

    video = add("video", "the frames of a film")
    video.add_argument("path", type=Path)
    video.add_argument("--rate", type=_rate, help="frames a second; as fast as the spool takes them if absent")

    camera = add("camera", "a USB, V4L2 or RTSP camera, through OpenCV")
    camera.add_argument("device", help="its number, its path, or rtsp://…")
    camera.add_argument("--rate", type=_rate, help="frames a second; as many as can be written if absent")

    genicam = add("genicam", "a GigE Vision or USB3 Vision camera, through GenTL")
    genicam.add_argument("producer", type=Path, help="the maker's GenTL producer, a .cti file")
    genicam.add_argument("--serial", help="serial number of the camera; the first one found if absent")

    trigger = add("trigger", "frames that somebody asks for or sends, by HTTP")
    trigger.add_argument("--port", type=_port, required=True, help="port to listen on; 0 takes a free one")
    trigger.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    trigger.add_argument("--device", help="OpenCV camera that an empty POST takes a picture of")

    line = add("simulate", "a line that does not exist: rendered parts")
    line.add_argument("--rate", type=_rate, default=2.0, help="parts a second (%(default)s)")
    line.add_argument("--defect-rate", type=_share, default=0.05, metavar="SHARE", help="defective parts (%(default)s)")
    line.add_argument(
        "--lamp-hours", type=_not_negative, default=0.0, metavar="H", help="the light halves in so long; 0: never"
    )
    line.add_argument("--kind", action="append", help="washer, gear, connector or label; may be repeated (the first three)")
    line.add_argument("--size", type=_positive, default=112, metavar="PIXELS", help="side of a picture (%(default)s)")
    line.add_argument("--count", type=int, default=0, metavar="N", help="parts; 0: without end (%(default)s)")
    line.add_argument("--seed", type=int, default=0, help="same seed, same parts (%(default)s)")


def _source(given: argparse.Namespace) -> Source:
    match given.source:
        case "folder":
            return Folder(given.path, given.part_pattern, given.delete)
        case "video":
            return Film(given.path, given.rate)
        case "camera":
            return VideoDevice(given.device, given.rate)
        case "genicam":
            return GenICam(given.producer, given.serial)
        case "trigger":
            return Trigger(given.host, given.port, given.device and VideoDevice(given.device, None))
    kinds = tuple(given.kind or ("washer", "gear", "connector"))
    if min(given.count, given.seed) < 0:
        raise ValueError("--count and --seed are 0 or more")
    return SimulatedLine(kinds, given.rate, given.defect_rate, given.lamp_hours, given.size, given.seed, given.count)


def _url(text: str) -> str:
    try:
        return checked_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return value


def _rate(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1000")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 65535")
    return value


def _name(text: str) -> str:
    if not re.fullmatch(r"[\w.-]{1,64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not made of letters, digits, '.', '_' and '-'")
    return text


def _secret(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path} cannot be read: {error.strerror}") from error


def _broker(url: str) -> Broker:
    try:
        return Broker.parse(url)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _command(text: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error
    if not words:
        raise argparse.ArgumentTypeError("names no command")
    return words


def _pattern(text: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error
    if pattern.groups < 1:
        raise argparse.ArgumentTypeError(f"{text!r} has no group (…) that says which part of the name is meant")
    return pattern
