import pytest
import torch

from reloclnet_mm.errors import InputError
from reloclnet_mm.models.data_preprocessor import MomentDataPreprocessor, pad


def test_sequences_are_padded_to_the_longest_with_a_mask():
    stacked, mask = pad([torch.ones(2, 3), 2 * torch.ones(4, 3)])
    assert stacked[..., 0].tolist() == [[1, 1, 0, 0], [2, 2, 2, 2]]
    assert mask.tolist() == [[True, True, False, False], [True] * 4]


def test_clips_are_padded_to_a_given_length_and_queries_are_not():
    data = dict(
        inputs=dict(
            query=[torch.ones(2, 3), torch.ones(1, 3)],
            video=[torch.ones(2, 5), torch.ones(4, 5)],
            subtitle=[torch.ones(2, 6), torch.ones(4, 6)],
        ),
        data_samples=['first', 'second'],
        corpus='kept',
    )
    out = MomentDataPreprocessor(pad_clips_to=6)(data)
    shapes = {name: tuple(x.shape) for name, x in out['inputs'].items()}
    assert shapes == dict(
        query=(2, 2, 3), query_mask=(2, 2), video=(2, 6, 5), subtitle=(2, 6, 6), clip_mask=(2, 6)
    )
    assert out['inputs']['clip_mask'].sum(1).tolist() == [2, 4]
    assert out['data_samples'] == ['first', 'second']
    assert out['corpus'] == 'kept'


def test_a_sequence_longer_than_the_given_length_is_refused():
    with pytest.raises(InputError, match='7 rows is to be padded to pad_clips_to=6; let PoolClips'):
        pad([torch.ones(7, 3)], 6)
