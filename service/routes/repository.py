"""What models there are."""

from __future__ import annotations

from fastapi import APIRouter, Request

from ..openapi import problem_responses
from ..repository import LoadedModel
from ..runtime import runtime_of
from ..schemas import ImageSize, LoadedVersion, ModelEntry, ModelList

router = APIRouter(tags=["models"])


@router.get("/models", summary="Models of the repository", responses=problem_responses(401))
def models(request: Request) -> ModelList:
    """Every model on disk with its versions, and what the loaded one says of itself."""
    repository = runtime_of(request).repository
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
    height, width = model.metadata.input_shape
    return LoadedVersion(
        version=model.version,
        ready=model.batcher.alive,
        provider=model.provider,
        sha256=model.sha256,
        input=ImageSize(width=width, height=height),
        metadata=model.metadata,
    )
