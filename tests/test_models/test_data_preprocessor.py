"""From lists of sequences to packed rows."""

import pytest
import torch

from reloclnet_mm.errors import InputError
from reloclnet_mm.models.data_preprocessors.packing import MomentDataPreprocessor
from reloclnet_mm.structures import MomentDataSample
from reloclnet_mm.structures.packed_rows import Block

CLIPS, TOKENS = [5, 1, 9, 3, 8], [2, 4, 1, 4, 3]
CHANNELS = dict(query=3, video=5, subtitle=6)


def batch(videos=None, lengths=CLIPS, names=('query', 'video', 'subtitle'), seed=0):
    """Random sequences of the samples, those of one video the same."""
    generator = torch.Generator().manual_seed(seed)
    videos = range(len(lengths)) if videos is None else videos
    inputs = {}
    for name in names:
        if name == 'query':
            rows = [torch.randn(n, CHANNELS[name], generator=generator) for n in TOKENS]
            inputs[name] = rows[: len(lengths)]
        else:
            of_video = {
                video: torch.randn(lengths[video], CHANNELS[name], generator=generator)
                for video in sorted(set(videos))
            }
            inputs[name] = [of_video[video] for video in videos]
    samples = [MomentDataSample(metainfo=dict(video_id=70 + video)) for video in videos]
    return dict(inputs=inputs, data_samples=samples)


def sequence(packed, name, sample):
    """The valid rows of a sample, and its rows of padding."""
    layout, place = packed.layout, int(packed.places[sample])
    first, length = int(layout.first_rows[place]), int(layout.lengths[place])
    last = first + int(layout.rows_of_each[place])
    x = packed.features[name]
    return x[first : first + length], x[first + length : last]


def assert_holds(out, data):
    """Every sample has its sequences; whatever else is in the rows is 0."""
    for name, sequences in data['inputs'].items():
        packed = out['inputs']['query' if name == 'query' else 'clips']
        assert len(packed.features[name]) == packed.layout.num_rows
        for i, expected in enumerate(sequences):
            found, padding = sequence(packed, name, i)
            assert torch.equal(found, expected)
            assert not padding.any()


@pytest.mark.parametrize('slack', [0, 0.125, 0.5, 1])
def test_each_sample_finds_its_sequences_among_the_packed_rows(slack):
    data = batch()
    out = MomentDataPreprocessor(slack=slack)(data)
    assert set(out['inputs']) == {'query', 'clips'}
    assert set(out['inputs']['clips'].features) == {'video', 'subtitle'}
    assert_holds(out, data)
    clips = out['inputs']['clips'].layout
    assert (clips.rows_of_each * (1 - slack) <= clips.lengths).all()
    num_rows = {0: sum(CLIPS), 1: 5 * 9}
    assert clips.num_rows == num_rows.get(slack, clips.num_rows)


def test_what_is_packed_is_sorted_by_length():
    packed = MomentDataPreprocessor(slack=0)(batch())['inputs']
    assert packed['clips'].layout.lengths.tolist() == [9, 8, 5, 3, 1]
    assert packed['clips'].places.tolist() == [2, 4, 0, 3, 1]
    assert packed['query'].layout.blocks == (Block(2, 4), Block(1, 3), Block(1, 2), Block(1, 1))


def test_samples_of_one_video_share_its_rows_and_keep_their_own_queries():
    data = batch(videos=[2, 0, 2, 2, 0])
    inputs = MomentDataPreprocessor(slack=0)(data)['inputs']
    assert_holds(dict(inputs=inputs), data)
    assert inputs['clips'].layout.lengths.tolist() == [9, 5]
    assert inputs['clips'].places.tolist() == [0, 1, 0, 0, 1]
    assert len(inputs['query'].layout) == 5
    assert len(inputs['query'].places.unique()) == 5


def test_samples_that_know_no_video_have_their_own_rows():
    data = batch(names=('video',))
    data['data_samples'] = [MomentDataSample() for _ in CLIPS]
    clips = MomentDataPreprocessor()(data)['inputs']['clips']
    assert len(clips.layout) == 5
    assert_holds(dict(inputs=dict(clips=clips)), data)


@pytest.mark.parametrize('names', [('query',), ('video',), ('video', 'subtitle')])
def test_queries_and_clips_are_each_packed_where_present(names):
    data = batch(names=names)
    out = MomentDataPreprocessor()(data)
    assert set(out['inputs']) == ({'query'} if names == ('query',) else {'clips'})
    assert_holds(out, data)


def test_clips_are_padded_to_a_given_length_in_one_block_and_queries_are_not():
    data = batch(videos=[2, 0, 2, 3, 0])
    out = MomentDataPreprocessor(pad_clips_to=12)(data)
    assert out['inputs']['clips'].layout.blocks == (Block(3, 12),)
    # In the order of the samples.
    assert out['inputs']['clips'].layout.lengths.tolist() == [9, 5, 3]
    assert out['inputs']['clips'].places.tolist() == [0, 1, 0, 2, 1]
    assert max(block.num_rows for block in out['inputs']['query'].layout.blocks) == 4
    assert_holds(out, data)


def test_the_rest_of_a_batch_passes_through():
    data = batch() | dict(corpus='kept')
    inputs = data['inputs'].copy()
    out = MomentDataPreprocessor()(data)
    assert out['corpus'] == 'kept'
    assert [sample.video_id for sample in out['data_samples']] == [70, 71, 72, 73, 74]
    # The batch itself is left as it was.
    assert data['inputs'].keys() == inputs.keys()


def test_a_sequence_longer_than_the_given_length_is_refused():
    with pytest.raises(InputError, match='9 rows is to be padded to 8; set max_clips'):
        MomentDataPreprocessor(pad_clips_to=8)(batch())


@pytest.mark.parametrize('slack', [-0.1, 1.5, float('nan'), '0.1', True, None])
def test_a_slack_that_is_no_part_is_refused(slack):
    with pytest.raises(ValueError, match=f'slack is {slack!r}, expected a finite number ≥ 0 and ≤'):
        MomentDataPreprocessor(slack=slack)


@pytest.mark.parametrize('pad_to', [0, -128, 12.0, '12', True])
def test_a_length_to_pad_to_that_is_no_number_of_rows_is_refused(pad_to):
    with pytest.raises(ValueError, match=f'pad_clips_to is {pad_to!r}, expected a whole number ≥'):
        MomentDataPreprocessor(pad_clips_to=pad_to)
