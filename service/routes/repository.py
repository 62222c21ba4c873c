"""What models there are."""

from __future__ import annotations

from fastapi import APIRouter, Request

from ..loaded_model import LoadedModel
from ..openapi import problem_responses
from ..runtime import runtime_of
from ..schemas import ImageSize, LoadedVersion, ModelEntry, ModelList, VersionEntry

router = APIRouter(tags=["models"])


@router.get("/models", summary="Models of the repository", responses=problem_responses(401, 504))
async def models(request: Request) -> ModelList:
    """Every model on disk with its versions, and what the loaded ones say of themselves."""
    repository = runtime_of(request).repository
    return ModelList(
        models=[
            ModelEntry(
                name=model.name,
                default=model.name == repository.default,
                versions=[
                    VersionEntry(
                        version=stored.version,
                        state=stored.state,
                        reason=stored.reason,
                        loaded=_loaded(stored.loaded) if stored.loaded else None,
                    )
                    for stored in model.versions
                ],
            )
            for model in await repository.index()
        ]
    )


def _loaded(model: LoadedModel) -> LoadedVersion:
    height, width = model.metadata.input_shape
    return LoadedVersion(
        provider=model.provider,
        sha256=model.sha256,
        bytes=model.bytes,
        input=ImageSize(width=width, height=height),
        metadata=model.metadata,
    )
