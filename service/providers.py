"""ONNX Runtime sessions: which provider computes, with which options, and what happens where it cannot start."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort
import structlog

from .settings import Provider

_NAMES: dict[Provider, str] = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}

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
    intra_op_threads: int = 0
    max_batch_size: int = 8


def open_session(path: Path, options: EngineOptions, device_id: int) -> tuple[Any, Provider]:
    """A session on the first provider that starts, and which one that is.

    Raises EngineError where a GPU is required and none starts, and ONNX Runtime's exceptions for a bad file.
    """
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.intra_op_threads
    # Threads that wait by spinning would take the cores from the decoding of the next pictures.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    available = ort.get_available_providers()
    providers = [
        (_NAMES[provider], provider_options(provider, options, device_id))
        for provider in options.providers
        if _NAMES[provider] in available
    ]
    # ONNX Runtime prints why a provider does not start, and goes on without it.
    with contextlib.redirect_stdout(io.StringIO()) as said:
        session = ort.InferenceSession(path, settings, providers=providers or [(_NAMES["cpu"], {})])
    return session, _provider_in_use(session, options, said.getvalue())


def provider_options(provider: Provider, options: EngineOptions, device_id: int) -> dict[str, str]:
    """ONNX Runtime's options of a provider (onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html)."""
    if provider == "cpu":
        return {}
    if provider == "tensorrt":
        return {"device_id": str(device_id)}
    limit = {"gpu_mem_limit": str(options.cuda_memory_mb * 2**20)} if options.cuda_memory_mb else {}
    return {
        "device_id": str(device_id),
        "arena_extend_strategy": "kSameAsRequested",  # the other one doubles, and takes from the models beside it
        "use_tf32": str(int(options.cuda_tf32)),
        "do_copy_in_default_stream": "1",  # one stream a session: copies cannot overtake what computes
        **limit,
    }


def _provider_in_use(session: Any, options: EngineOptions, said: str) -> Provider:
    """The first provider of the session, which alone says what ONNX Runtime could really start."""
    names = {name: provider for provider, name in _NAMES.items()}
    in_use = names[session.get_providers()[0]]
    reason = " ".join(line for line in said.split("\n") if line.strip("* ")) or "this ONNX Runtime or machine has none"
    if in_use == "cpu" and options.require_cuda:
        raise EngineError(
            f"DUET_REQUIRE_CUDA is set, but CUDA did not start: check the driver and the `gpu` extra; the reason: {reason}"
        )
    if in_use != options.providers[0]:
        log.warning(
            "fallback: not running on the preferred provider", preferred=options.providers[0], provider=in_use, reason=reason
        )
    return in_use
