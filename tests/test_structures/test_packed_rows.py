"""Sequences of unequal length in one matrix, against loops over the sequences."""

import pytest
import torch

from reloclnet_mm.structures.packed_rows import Block, PackedRows, RowLayout

LENGTHS = {
    'one': [4],
    'equal': [3, 3, 3],
    'descending': [9, 8, 7, 3, 3, 1],
    'mixed': [5, 1, 9, 3, 3, 8, 1, 9],
}


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(2)


def rows_by_loop(layout):
    """(sequence, position, valid) of each row."""
    rows, sequence = [], 0
    for count, num_rows in layout.blocks:
        for _ in range(count):
            length = int(layout.lengths[sequence])
            rows += [(sequence, position, position < length) for position in range(num_rows)]
            sequence += 1
    return rows


def random_layouts(generator):
    """Packed, stacked and padded ones of random lengths."""
    for size in (1, 2, 7, 20):
        lengths = torch.randint(1, 12, (size,), generator=generator).tolist()
        for slack in (0, 0.125, 0.5, 1):
            yield RowLayout.pack(lengths, slack)[0]
        more = torch.randint(0, 4, (size,), generator=generator).tolist()
        yield RowLayout.stack(lengths, [a + b for a, b in zip(lengths, more, strict=True)])
        yield RowLayout.padded(torch.arange(14) < torch.tensor(lengths)[:, None])


# Which layouts there are.


@pytest.mark.parametrize('slack', [0, 0.1, 0.125, 0.5, 1])
@pytest.mark.parametrize('lengths', LENGTHS.values(), ids=LENGTHS)
def test_packing_sorts_by_length_and_pads_no_sequence_by_more_than_the_slack(lengths, slack):
    layout, order = RowLayout.pack(lengths, slack)
    assert sorted(order) == list(range(len(lengths)))
    assert layout.lengths.tolist() == [lengths[i] for i in order] == sorted(lengths, reverse=True)
    assert len(layout) == len(lengths) == sum(block.count for block in layout.blocks)
    for length, num_rows in zip(layout.lengths.tolist(), layout.rows_of_each.tolist(), strict=True):
        assert num_rows * (1 - slack) <= length <= num_rows


def test_sequences_of_equal_length_keep_their_order():
    _, order = RowLayout.pack([3, 5, 3, 5, 3], 0)
    assert order == [1, 3, 0, 2, 4]


def test_without_slack_there_is_a_block_for_each_length_and_no_padding():
    layout, _ = RowLayout.pack(LENGTHS['mixed'], 0)
    assert layout.blocks == (Block(2, 9), Block(1, 8), Block(1, 5), Block(2, 3), Block(2, 1))
    assert layout.num_rows == sum(LENGTHS['mixed'])
    assert layout.masks == (None,) * 5


def test_with_all_the_slack_there_is_a_single_block():
    layout, _ = RowLayout.pack(LENGTHS['mixed'], 1)
    assert layout.blocks == (Block(8, 9),)
    assert layout.num_rows == 72


def test_packing_worked_by_hand():
    # A quarter of a block's rows may be padding: 9 takes 8 and 7, 3 does not take 1.
    layout, _ = RowLayout.pack(LENGTHS['descending'], 0.25)
    assert layout.blocks == (Block(3, 9), Block(2, 3), Block(1, 1))
    assert layout.num_rows == 34


def test_stacked_sequences_stay_where_they_are():
    layout = RowLayout.stack([2, 3, 1, 3], [3, 3, 2, 3])
    assert layout.blocks == (Block(2, 3), Block(1, 2), Block(1, 3))
    assert layout.lengths.tolist() == [2, 3, 1, 3]
    assert layout.first_rows.tolist() == [0, 3, 6, 8]


def test_a_padded_batch_is_one_block():
    mask = torch.tensor([[True, True, False], [True, False, False]])
    layout = RowLayout.padded(mask)
    assert layout.blocks == (Block(2, 3),)
    assert layout.lengths.tolist() == [2, 1]
    assert torch.equal(layout.masks[0], mask)


def test_a_layout_moves_to_a_device_whole():
    layout = RowLayout.stack([2, 3], [3, 3]).to('meta')
    assert layout.lengths.device.type == 'meta'
    assert layout.blocks == (Block(2, 3),)


# What they say of their rows.


def test_rows_positions_and_masks_are_those_of_the_loop(generator):
    for layout in random_layouts(generator):
        rows = rows_by_loop(layout)
        assert layout.num_rows == len(rows)
        assert layout.positions.tolist() == [position for _, position, _ in rows]
        first = [i for i, (_, position, _) in enumerate(rows) if position == 0]
        assert layout.first_rows.tolist() == first
        counts = [sum(s == n for s, _, _ in rows) for n in range(len(layout))]
        assert layout.rows_of_each.tolist() == counts
        valid = []
        for (count, num_rows), mask in zip(layout.blocks, layout.masks, strict=True):
            if mask is None:
                mask = torch.ones(count, num_rows, dtype=torch.bool)
            else:
                assert not mask.all()
            assert mask.shape == (count, num_rows)
            valid += mask.flatten().tolist()
        assert valid == [valid for _, _, valid in rows]


def test_splitting_gives_views_of_the_blocks_and_joining_gives_the_matrix_back(generator):
    for layout in random_layouts(generator):
        for shape in ((), (3,), (2, 4)):
            x = torch.randn(layout.num_rows, *shape, generator=generator)
            blocks = layout.split(x)
            assert [tuple(block.shape) for block in blocks] == [(*b, *shape) for b in layout.blocks]
            assert all(b.untyped_storage().data_ptr() == x.data_ptr() for b in blocks)
            assert torch.equal(layout.join(blocks), x)


def test_rows_of_a_block_are_those_of_its_sequences(generator):
    layout = RowLayout.stack([2, 3, 1], [3, 3, 2])
    a, b = layout.split(torch.arange(8))
    assert a.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert b.tolist() == [[6, 7]]


def test_the_largest_is_over_valid_rows_only(generator):
    for layout in random_layouts(generator):
        x = torch.randn(layout.num_rows, 3, generator=generator)
        rows = rows_by_loop(layout)
        for row, (_, _, valid) in enumerate(rows):
            if not valid:
                x[row] = 100
        found = layout.largest(x)
        for n in range(len(layout)):
            own = [row for row, (s, _, valid) in enumerate(rows) if s == n and valid]
            for column in range(3):
                assert float(found[n, column]) == max(float(x[row, column]) for row in own)


def test_the_gradient_of_the_largest_goes_to_valid_rows_only(generator):
    layout = RowLayout.stack([1, 2, 3], [3, 3, 3])
    x = torch.randn(9, 2, generator=generator, requires_grad=True)
    layout.largest(x).sum().backward()
    valid = torch.tensor([valid for _, _, valid in rows_by_loop(layout)])
    assert not x.grad[~valid].any()
    assert x.grad.sum(0).tolist() == [3, 3]


def test_padding_again_gives_the_valid_rows_of_each_sequence_in_their_order(generator):
    for layout in random_layouts(generator):
        rows = rows_by_loop(layout)
        places = torch.randint(len(layout), (6,), generator=generator)
        longest = max(block.num_rows for block in layout.blocks)
        for length in (None, longest, longest + 3):
            numbers, mask = layout.pad(places, length)
            assert numbers.shape == mask.shape == (6, length or longest)
            for b, n in enumerate(places.tolist()):
                own = [row for row, (s, _, _) in enumerate(rows) if s == n]
                valid = [row for row in own if rows[row][2]]
                assert numbers[b][mask[b]].tolist() == valid
                assert mask[b].tolist() == sorted(mask[b].tolist(), reverse=True)
                # Behind them are rows of the same sequence, the last one repeated.
                expected = own + [own[-1]] * (numbers.shape[1] - len(own))
                assert numbers[b].tolist() == expected


# Of a batch.


def test_a_padded_batch_is_taken_as_it_is(generator):
    mask = torch.arange(4) < torch.tensor([[2], [4], [1]])
    x, y = (torch.randn(3, 4, channels, generator=generator) for channels in (2, 5))
    packed = PackedRows.padded(dict(video=x, subtitle=y), mask)
    assert packed.places.tolist() == [0, 1, 2]
    assert packed.layout.lengths.tolist() == [2, 4, 1]
    for name, expected in (('video', x), ('subtitle', y)):
        (block,) = packed.layout.split(packed.features[name])
        assert torch.equal(block, expected)


@pytest.mark.parametrize('slack', [0, 0.3, 1])
def test_means_are_over_the_valid_rows_of_each_sequence(slack):
    layout, _ = RowLayout.pack([3, 1, 4, 2], slack)
    rows = torch.arange(layout.num_rows * 2.0).view(-1, 2)
    expected = [
        rows[first : first + length].mean(0)
        for first, length in zip(layout.first_rows, layout.lengths, strict=True)
    ]
    torch.testing.assert_close(layout.mean(rows), torch.stack(expected))


def test_the_layout_of_chosen_sequences_is_that_of_their_rows():
    layout = RowLayout.stack([3, 1, 2], [3, 3, 2])
    places = torch.tensor([2, 0, 1])
    chosen = layout.chosen(places)
    assert chosen.blocks == (Block(1, 2), Block(2, 3))
    assert chosen.lengths.tolist() == [2, 3, 1]
    assert layout.rows_of(places)[0].tolist() == [6, 7, 0, 1, 2, 3, 4, 5]
    assert len(layout.rows_of(places)[0]) == chosen.num_rows


def test_repeated_sequences_follow_themselves_with_their_padding():
    repeated = RowLayout.stack([3, 1, 2], [3, 3, 2]).repeated(2)
    assert repeated.blocks == (Block(2, 6), Block(1, 4))
    assert repeated.lengths.tolist() == [6, 6, 4]
