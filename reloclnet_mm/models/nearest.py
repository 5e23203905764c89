"""The row of a video nearest to the query: a clip, or a sentence with its own times."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor

from reloclnet_mm.errors import InputError
from reloclnet_mm.models.encoding_model import check_width, streams_of
from reloclnet_mm.models.untrained import UntrainedModel
from reloclnet_mm.registry import MODELS, TASK_UTILS
from reloclnet_mm.retrieval.row_search import RowSearch
from reloclnet_mm.structures import EncodedCorpus, PackedRows
from reloclnet_mm.structures.corpus import RowSets
from reloclnet_mm.utils.checks import check_number


class NearestRow(UntrainedModel):
    """Compares the mean token of a query with the rows of videos by their cosine.

    A video is as good as its best row, as for every model here. Each row answers with one moment,
    which a subclass gives it, and moments are ranked by the cosine of their rows. With several
    streams both are means over the streams.

    Args:
        streams: Stream name to the width of its features, which is that of the query's tokens too.
        **settings: Arguments of :class:`~reloclnet_mm.models.corpus_model.CorpusModel`. Of
            ``test_cfg``, ``alpha`` and the limits of spans are not used.
    """

    span_limits = None

    def __init__(self, *, streams: Mapping[str, int], **settings: Any) -> None:
        super().__init__(**settings)
        if len(set(streams.values())) != 1:
            raise ValueError(
                f'{type(self).__name__}: streams is {dict(streams)}, expected one width or more, '
                'all equal: a query is compared with its features as they are'
            )
        self.streams = dict(streams)

    def encoding(self) -> str:
        """Name the streams."""
        return str(sorted(self.streams))

    def encode_query(self, inputs: Mapping[str, PackedRows]) -> dict[str, Tensor]:
        """Average the tokens of each query; see :meth:`CorpusModel.encode_query`.

        Returns:
            Stream name to (B, d), unit vectors, the same for each stream.
        """
        query = inputs['query']
        tokens = query.features['query']
        check_width('query', tokens, next(iter(self.streams.values())))
        means = F.normalize(query.layout.mean(tokens.float()), dim=1)[query.places]
        return dict.fromkeys(self.streams, means)

    def encode_context(self, inputs: Mapping[str, PackedRows]) -> RowSets:
        """Return the rows of each stream as unit vectors."""
        found = streams_of(inputs['clips'], self.streams)
        units = {name: F.normalize(x.float(), dim=1) for name, x in found.items()}
        return dict(retrieval=units, localization=units)


@MODELS.register_module()
class NearestClip(NearestRow):
    """Answers with the clip nearest to the query, widened to the length of a usual moment.

    A moment lies around the middle of its clip and is cut to the video. Without a length of its own
    the model takes the median of the moments that ``reader`` reads, those of training.

    Args:
        moment_length: Length of a moment.
        reader: Config of the reader of the annotation whose median is taken instead.
        relative: Whether the length is a share of the video, otherwise it is seconds.
        **settings: Arguments of :class:`NearestRow`.
    """

    def __init__(
        self,
        *,
        moment_length: float | None = None,
        reader: dict | None = None,
        relative: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        if (moment_length is None) == (reader is None):
            raise ValueError(
                'NearestClip: expected moment_length, or reader, from whose annotation it is '
                'taken; give one of the two'
            )
        if moment_length is not None:
            high = 1 if relative else None
            check_number('NearestClip: moment_length', moment_length, above=0, high=high)
        self.moment_length = moment_length
        self.reader = reader
        self.relative = relative

    @cached_property
    def usual_length(self) -> float:
        """Length of a moment: a share of its video, or seconds."""
        if self.moment_length is not None:
            return self.moment_length
        return median_moment(self.reader, self.relative)

    def moment_search(self, corpus: EncodedCorpus) -> RowSearch:
        """Make the search, where each clip is a moment of the usual length."""
        counts = corpus.layout.rows_of_each
        num_clips = corpus.layout.lengths.double()
        lengths = torch.full_like(num_clips, self.usual_length)
        lengths *= num_clips if self.relative else 1 / corpus.seconds_per_clip.to(num_clips)
        middle = corpus.layout.positions.double() + 0.5
        half = lengths.repeat_interleave(counts) / 2
        ends = torch.minimum(middle + half, num_clips.repeat_interleave(counts))
        return RowSearch(corpus, torch.stack([(middle - half).clamp(min=0), ends], 1))


@MODELS.register_module()
class NearestSentence(NearestRow):
    """Answers with the sentence nearest to the query, at the times at which it is said.

    The rows of a video are its sentences, which ``tools/extract_text_features.py sentences --rows
    sentences`` writes, together with their times.

    Args:
        times: Name of the times among the loaded streams.
        **settings: Arguments of :class:`NearestRow`.
    """

    kept_rows = (*NearestRow.kept_rows, 'times')

    def __init__(self, *, times: str = 'times', **settings: Any) -> None:
        super().__init__(**settings)
        self.times = times

    def encoding(self) -> str:
        """Name the streams and the times."""
        return f'{super().encoding()}, times {self.times!r}'

    def encode_context(self, inputs: Mapping[str, PackedRows]) -> RowSets:
        """Return sentences as unit vectors, and ``times`` (R, 2) in seconds."""
        (times,) = streams_of(inputs['clips'], {self.times: 2}).values()
        return {**super().encode_context(inputs), 'times': dict.fromkeys(self.streams, times)}

    def moment_search(self, corpus: EncodedCorpus) -> RowSearch:
        """Make the search, where each sentence is a moment."""
        times = next(iter(corpus.rows['times'].values())).double()
        seconds = corpus.seconds_per_clip.to(times)
        return RowSearch(
            corpus, times / seconds.repeat_interleave(corpus.layout.rows_of_each)[:, None]
        )


def median_moment(reader: dict, relative: bool) -> float:
    """Compute the median length of the moments of an annotation, and log it.

    Args:
        reader: Config of its reader.
        relative: Whether each length is divided by that of the moment's video.

    Returns:
        A share of the video, or seconds.

    Raises:
        InputError: The annotation cannot be used or has no moment.
    """
    annotation = TASK_UTILS.build(reader)
    videos = annotation.videos()
    lengths = [
        (moment.end - moment.start) / (videos[moment.video_name].duration if relative else 1)
        for query in annotation.queries(videos)
        for moment in query.moments
    ]
    if not lengths:
        raise InputError(
            f'{annotation.ann_file}: no query has a moment, and the median of their lengths is '
            'needed; give the annotation of training, or moment_length'
        )
    median = float(np.median(lengths))
    unit = 'of its video' if relative else 's'
    print_log(f'{annotation.ann_file}: the median moment takes {median:.4g} {unit}', 'current')
    return median
