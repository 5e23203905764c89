"""Lists of a row: written batch by batch, read as a whole."""

import zipfile

import numpy as np
import pytest
from mmengine.structures import BaseDataElement

from reloclnet_mm.benchmarking.lists import (
    NO_VIDEO,
    ListWriter,
    arrays_of,
    read_lists,
    writing_lists,
)
from reloclnet_mm.errors import InputError


def sample(query_id, vr, svmr=None, vcmr=None):
    """A result of ours; moments are (video, start, end)."""
    found = dict(query_id=query_id, pred_vr=dict(video_ids=np.array(vr)))
    for task, moments in (('svmr', svmr), ('vcmr', vcmr)):
        if moments is not None:
            rows = np.array(moments, np.float64).reshape(-1, 3)
            found[f'pred_{task}'] = dict(video_ids=rows[:, 0].astype(int), moments=rows[:, 1:])
    return found


def test_lists_of_batches_are_read_as_one_and_padded_to_the_longest(tmp_path):
    with writing_lists(tmp_path / 'lists.npz') as file:
        writer = ListWriter(file)
        writer.process(None, [sample(3, [7, 8], vcmr=[[7, 0, 1], [8, 2, 3]])])
        writer.process(None, [sample('b', [9], vcmr=[[9, 4, 5]]), sample(5, [7], vcmr=[])])
        assert writer.evaluate(3) == {}
    arrays = read_lists(tmp_path / 'lists.npz')
    assert arrays['query_ids'].tolist() == ['3', 'b', '5']
    np.testing.assert_array_equal(arrays['VR.video_ids'], [[7, 8], [9, NO_VIDEO], [7, NO_VIDEO]])
    nan = [np.nan, np.nan]
    np.testing.assert_array_equal(
        arrays['VCMR.moments'], [[[0, 1], [2, 3]], [[4, 5], nan], [nan, nan]]
    )
    assert 'SVMR.video_ids' not in arrays


def test_a_task_that_a_whole_batch_does_not_answer_keeps_its_place(tmp_path):
    with writing_lists(tmp_path / 'lists.npz') as file:
        writer = ListWriter(file)
        writer.process(None, [sample(3, [7])])
        writer.process(None, [sample(4, [7], svmr=[[7, 0, 1]])])
    arrays = read_lists(tmp_path / 'lists.npz')
    np.testing.assert_array_equal(arrays['SVMR.video_ids'], [[NO_VIDEO], [7]])
    assert 'VCMR.video_ids' not in arrays


def test_arrays_of_different_numbers_of_queries_are_an_error(tmp_path):
    path = tmp_path / 'lists.npz'
    with writing_lists(path) as file:
        ListWriter(file).process(None, [sample(3, [7])])
        with file.open('000001.query_ids.npy', 'w') as member:
            np.lib.format.write_array(member, np.array(['4']))
    with pytest.raises(InputError, match=r"damaged, it has .*'query_ids': 2.* queries"):
        read_lists(path)


def test_an_interrupted_writer_leaves_no_file(tmp_path):
    def interrupted():
        with writing_lists(tmp_path / 'lists.npz') as file:
            ListWriter(file).process(None, [sample(3, [7])])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_queries_without_a_video_of_their_own_have_empty_lists_there():
    arrays = arrays_of(None, [sample(1, [7]), sample(2, [7], svmr=[[7, 0, 1]])])
    np.testing.assert_array_equal(arrays['SVMR.video_ids'], [[NO_VIDEO], [7]])


def test_spans_of_mmaction2_become_seconds():
    batch = dict(data_samples=[BaseDataElement(metainfo=dict(vid_name='A', duration=40))])
    result = dict(vid_name='A', gt=np.array([0.25, 0.5]), predictions=np.array([[0.3, 0.5, 0.9]]))
    arrays = arrays_of(batch, [result])
    np.testing.assert_allclose(arrays['truth'], [[10, 20]])
    np.testing.assert_allclose(arrays['SVMR.moments'], [[[12, 20]]])


def test_proposals_are_ordered_by_score():
    proposals = [dict(score=0.2, segment=[0, 5]), dict(score=0.9, segment=[3, 8])]
    arrays = arrays_of(None, [dict(video_name='A', proposal_list=proposals)])
    np.testing.assert_allclose(arrays['SVMR.moments'], [[[3, 8], [0, 5]]])


def test_results_of_another_kind_are_an_error():
    with pytest.raises(InputError, match=r"holds \['pred_label'\], expected ranked lists"):
        arrays_of(None, [dict(pred_label=1)])


def test_a_damaged_file_is_an_error_and_nothing_is_unpickled(tmp_path):
    path = tmp_path / 'lists.npz'
    path.write_bytes(b'PK of a kind')
    with pytest.raises(InputError, match='damaged'):
        read_lists(path)
    with zipfile.ZipFile(path, 'w') as file, file.open('000000.query_ids.npy', 'w') as member:
        np.lib.format.write_array(member, np.array([print], object), allow_pickle=True)
    with pytest.raises(InputError, match=r'damaged .*allow_pickle'):
        read_lists(path)
