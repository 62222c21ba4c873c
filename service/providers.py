"""Which provider computes, with which options, and what happens where one cannot start."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import structlog

from .model_format import parse_metadata
from .onnx_session import NAMES, OnnxSession
from .openvino_session import OpenVinoSession, best_for_int8
from .session import Session, UnavailableError
from .settings import Provider

GPU: tuple[Provider, ...] = ("tensorrt", "cuda")
_NO_CAPTURE = "cannot use the graph capture feature"  # ONNX Runtime of a model that it has to leave to the CPU in part

log = structlog.stdlib.get_logger(__name__)


class EngineError(RuntimeError):
    """The model cannot run on what this machine has; the message names the setting to change."""


@dataclass(frozen=True)
class EngineOptions:
    """What a session is built with; see the settings of the same names."""

    providers: tuple[Provider, ...] = ("cpu",)
    require_cuda: bool = False
    device_ids: tuple[int, ...] = (0,)
    cuda_memory_mb: int = 0
    cuda_tf32: bool = False
    cuda_graphs: bool = False
    tensorrt_cache: Path | None = None
    intra_op_threads: int = 0
    max_batch_size: int | None = None


def open_session(path: Path, options: EngineOptions, device_id: int) -> Session:
    """A session on the first provider that starts; on the CPU if none does.

    Raises EngineError where a GPU is required and none starts, and the run times' exceptions for a bad file.
    """
    reasons: list[str] = []
    for index, provider in enumerate(options.providers):
        if options.require_cuda and provider not in GPU:
            break
        try:
            session = _open(path, provider, options, device_id, options.providers[index:])
        except UnavailableError as error:
            reasons.append(f"{provider}: {error}")
            continue
        if reasons:
            _warn(session.provider, options, reasons)
        return session
    if options.require_cuda:
        raise EngineError(
            "DUET_REQUIRE_CUDA is set, but CUDA did not start: check the driver and the `gpu` extra; the reason: "
            + ("; ".join(reasons) or "DUET_PROVIDERS names no GPU")
        )
    session = _on_cpu(path, options)
    _warn(session.provider, options, reasons)
    return session


def provider_options(provider: Provider, options: EngineOptions, device_id: int) -> dict[str, str]:
    """ONNX Runtime's options of a provider (onnxruntime.ai/docs/execution-providers, CUDA and TensorRT)."""
    if provider == "cpu":
        return {}
    if provider == "tensorrt":
        return {"device_id": str(device_id), **_tensorrt_cache(options.tensorrt_cache)}
    limit = {"gpu_mem_limit": str(options.cuda_memory_mb * 2**20)} if options.cuda_memory_mb else {}
    return {
        "device_id": str(device_id),
        "arena_extend_strategy": "kSameAsRequested",  # the other one doubles, and takes from the models beside it
        "use_tf32": str(int(options.cuda_tf32)),
        "do_copy_in_default_stream": "1",  # one stream a session: copies cannot overtake what computes
        **({"enable_cuda_graph": "1"} if options.cuda_graphs else {}),
        **limit,
    }


def _tensorrt_cache(folder: Path | None) -> dict[str, str]:
    """Engines take minutes to build, each for one kind of GPU and one version of TensorRT, which file names tell apart."""
    if folder is None:
        return {}
    return {
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
    }


def _open(path: Path, provider: Provider, options: EngineOptions, device_id: int, preferred: tuple[Provider, ...]) -> Session:
    """A session on this provider; raises UnavailableError where it does not start. `preferred` is itself, then the others."""
    if provider in ("openvino", "openvino-bf16"):
        return OpenVinoSession(path, provider, options.intra_op_threads)
    if provider == "cpu":
        return _on_cpu(path, options)
    if NAMES[provider] not in ort.get_available_providers():
        raise UnavailableError("this ONNX Runtime has none")
    # TensorRT leaves to CUDA what it cannot do, and both leave that to the CPU
    others = [name for name in preferred if name in NAMES and NAMES[name] in ort.get_available_providers()]
    given = [(NAMES[name], provider_options(name, options, device_id)) for name in dict.fromkeys([*others, "cpu"])]
    try:
        session = OnnxSession(path, given, options.intra_op_threads, device_id, options.cuda_graphs)
    except Exception as error:  # its exceptions share no base class
        if not options.cuda_graphs or _NO_CAPTURE not in str(error):
            raise
        log.warning(
            "no CUDA graphs of this model, a part of which runs on the CPU: export it anew", path=str(path), reason=str(error)
        )
        return _open(path, provider, replace(options, cuda_graphs=False), device_id, preferred)
    if session.provider == provider:
        return session
    raise UnavailableError(" ".join(line for line in session.said.split("\n") if line.strip("* ")) or "it did not start")


def _on_cpu(path: Path, options: EngineOptions) -> Session:
    """ONNX Runtime's session; for an int8 file OpenVINO's, where that is faster (docs/performance.md, "The CPU path")."""
    session = _onnx_on_cpu(path, options)
    if not best_for_int8() or (metadata := parse_metadata(session.properties, path)).precision != "int8":
        return session
    del session  # both in memory would take twice as much
    try:
        faster = OpenVinoSession(path, "openvino", options.intra_op_threads)
        faster.compute(np.zeros((1, *metadata.input_shape, 3), np.uint8))
    except Exception as error:  # its exceptions share no base class, and nobody has asked for it
        log.warning("OpenVINO would be faster, but does not compute this int8 model", path=str(path), reason=str(error))
        return _onnx_on_cpu(path, options)
    return faster


def _onnx_on_cpu(path: Path, options: EngineOptions) -> OnnxSession:
    return OnnxSession(path, [(NAMES["cpu"], {})], options.intra_op_threads)


def _warn(in_use: Provider, options: EngineOptions, reasons: list[str]) -> None:
    log.warning(
        "fallback: not running on the preferred provider",
        preferred=options.providers[0], provider=in_use, reason="; ".join(reasons),
    )  # fmt: skip
