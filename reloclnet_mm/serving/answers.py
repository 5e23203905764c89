"""What the JSON interface answers, as the OpenAPI page describes it."""

from typing import Any

from pydantic import BaseModel, Field

_SECONDS = Field(description='Seconds from the beginning of the video.')


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


class VideoAnswer(BaseModel):
    """A video of the index."""

    number: int = Field(description='What other requests name the video by.')
    name: str
    duration: float = Field(description='Seconds.')
    has_pictures: bool = Field(description='Whether there are thumbnails of it.')
    playable: bool = Field(description='Whether there is a video or sound to play.')
    num_sentences: int


class HitAnswer(BaseModel):
    """A found moment."""

    number: int = Field(description='Number of the video.')
    video: str = Field(description='Name of the video.')
    start: float = _SECONDS
    end: float = _SECONDS
    score: float = Field(description='Share of the scores of all moments found, from 0 to 1.')
    text: str = Field(description='What is said in the moment; empty where nothing is.')
    stream_scores: dict[str, float] = Field(
        description='By stream the largest cosine of the query and a clip, from −1 to 1.'
    )


class SearchAnswer(BaseModel):
    """The moments found for a query, best first."""

    query: str
    hits: list[HitAnswer]
    nothing_relevant: bool = Field(description='Whether unrelated queries score as well.')
    null_rate: float | None = Field(
        description='Share of unrelated queries that score at least as high; null: not calibrated.'
    )
    notes: list[str] = Field(description='What a person should know who reads the moments.')
    seconds: float = Field(description='How long the search took.')


class SentenceAnswer(BaseModel):
    """A sentence that is said."""

    text: str
    start: float = _SECONDS
    end: float = _SECONDS


class TimelineAnswer(BaseModel):
    """How probable it is that the moment begins or ends in each clip of a window."""

    start: float = Field(description='Where the first clip starts, in seconds of the video.')
    clip_seconds: float = Field(description='Length of a clip in seconds.')
    begins: list[float] = Field(description='Probability of each clip that the moment begins.')
    ends: list[float] = Field(description='Probability of each clip that the moment ends.')


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what the OpenAPI page says of the statuses by which a request is refused."""
    return {status: {'model': Problem} for status in statuses}
