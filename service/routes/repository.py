"""What models there are."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from ..repository import LoadedModel
from ..runtime import Runtime, runtime_of
from ..schemas import LoadedVersion, ModelEntry, ModelList

router = APIRouter(tags=["models"])


@router.get("/models", summary="Models of the repository")
def models(runtime: Annotated[Runtime, Depends(runtime_of)]) -> ModelList:
    """Every model on disk with its versions, and what the loaded one says of itself."""
    repository = runtime.repository
    return ModelList(
        models=[
            ModelEntry(
                name=stored.name,
                default=stored.name == repository.default,
                versions=list(stored.versions),
                loaded=_loaded(stored.loaded) if stored.loaded else None,
            )
            for stored in repository.index()
        ]
    )


def _loaded(model: LoadedModel) -> LoadedVersion:
    return LoadedVersion(
        version=model.version,
        ready=model.batcher.alive,
        provider=model.provider,
        sha256=model.sha256,
        metadata=model.metadata,
    )
