"""What a picture of a query shows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Timeline:
    """What is drawn of a query and of one video: its own or, if it names none, the best found.

    Attributes:
        query: The sentence.
        video: Heading of the video, such as ``its own video A``.
        duration: Length of the video in seconds.
        truth: (A, 2) right moments in the video, seconds.
        moments: (n, 2) moments found in the video, best first, seconds.
        shares: (n,) the score of each over the sum of the scores in its list.
        start_prob: (L,) probability that the moment starts at a clip; None: not known.
        end_prob: (L,) probability that it ends there; None: not known.
        seconds_per_clip: Length of a clip in seconds.
        in_corpus: A line for each moment found in the corpus, best first, and whether it is in a
            video that has a right moment.
    """

    query: str
    video: str
    duration: float
    truth: np.ndarray
    moments: np.ndarray
    shares: np.ndarray
    start_prob: np.ndarray | None
    end_prob: np.ndarray | None
    seconds_per_clip: float
    in_corpus: Sequence[tuple[str, bool]]
