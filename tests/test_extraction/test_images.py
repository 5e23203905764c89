"""Features of pictures and of queries, against the forward pass of transformers itself."""

import builtins
import json
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from tiny_encoder import write_tiny_encoder
from tiny_image_encoder import (
    IMAGE_SIZE,
    MAX_POSITIONS,
    WIDTH,
    write_tiny_clip,
    write_tiny_resnet,
    write_tiny_vit,
)

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.images import ImageEncoder, ImageTextQueries
from reloclnet_mm.registry import EXTRACTORS

transformers = pytest.importorskip('transformers', minversion='5', reason='needs [video]')
pytest.importorskip('PIL', reason='needs reloclnet_mm[video]')

WRITERS = {
    'clip': write_tiny_clip,
    'resnet': write_tiny_resnet,
    'vit': lambda folder: write_tiny_vit(folder, pooler=True),
    'vit without pooler': lambda folder: write_tiny_vit(folder, pooler=False),
}


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    return {kind: write(tmp_path_factory.mktemp('encoder')) for kind, write in WRITERS.items()}


@pytest.fixture(scope='module')
def pictures():
    generator = np.random.default_rng(0)
    sizes = [(48, 64), (64, 48), (32, 32), (100, 40), (48, 64)]
    return [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def forward(folder, kind, picture):
    """The oracle: one picture, by the classes themselves."""
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend='pil')
    pixels = processor(images=picture, return_tensors='pt')['pixel_values']
    with torch.no_grad():
        if kind == 'clip':
            model = transformers.CLIPModel.from_pretrained(folder).eval()
            seen = model.vision_model(pixels).pooler_output
            return model.visual_projection(seen)[0].numpy()
        if kind == 'resnet':
            model = transformers.ResNetModel.from_pretrained(folder).eval()
            return model(pixels).last_hidden_state.mean((2, 3))[0].numpy()
        pooler = kind == 'vit'
        model = transformers.ViTModel.from_pretrained(folder, add_pooling_layer=pooler).eval()
        output = model(pixels)
        return (output.pooler_output if pooler else output.last_hidden_state.mean(1))[0].numpy()


@pytest.mark.parametrize('kind', WRITERS)
def test_features_are_those_of_transformers(folders, pictures, kind):
    encoder = ImageEncoder(folders[kind], batch_size=2)
    features = encoder.encode(pictures)
    assert features.dtype == np.float32
    assert features.shape == (5, encoder.width)
    for picture, row in zip(pictures, features, strict=True):
        np.testing.assert_allclose(row, forward(folders[kind], kind, picture), atol=1e-5)


@pytest.mark.parametrize('kind', WRITERS)
def test_the_size_of_batches_does_not_change_the_features(folders, pictures, kind):
    one, all_at_once = (
        ImageEncoder(folders[kind], batch_size=size).encode(pictures) for size in (1, 8)
    )
    np.testing.assert_allclose(one, all_at_once, atol=1e-5)


def test_no_pictures_have_no_rows(folders):
    assert ImageEncoder(folders['clip']).encode([]).shape == (0, WIDTH)


def test_the_width_of_what_the_model_sees_is_told(folders):
    assert {ImageEncoder(folder).image_size for folder in folders.values()} == {IMAGE_SIZE}


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_half_precision_changes_rounding_only(folders, pictures, dtype):
    whole = ImageEncoder(folders['clip']).encode(pictures)
    half = ImageEncoder(folders['clip'], dtype=dtype).encode(pictures)
    assert half.dtype == np.float32
    assert 0 < np.abs(half - whole).max() < 0.05 * np.abs(whole).max()


def test_the_checksum_is_of_the_weights_alone(folders, tmp_path):
    for folder in folders.values():
        assert ImageEncoder(folder).checksum() == ImageEncoder(folder, dtype='bfloat16').checksum()
    other = shutil.copytree(folders['clip'], tmp_path / 'other')
    with changed_weights(other) as weights:
        weights['visual_projection.weight'][0, 0] += 1e-3
    assert ImageEncoder(other).checksum() != ImageEncoder(folders['clip']).checksum()


@contextmanager
def changed_weights(folder):
    """Give the weights of a folder, and write them back."""
    safetensors = pytest.importorskip('safetensors.torch')
    file = folder / 'model.safetensors'
    weights = safetensors.load_file(file)
    yield weights
    safetensors.save_file(weights, file, {'format': 'pt'})


def test_features_that_are_not_finite_are_refused(folders, tmp_path):
    folder = shutil.copytree(folders['clip'], tmp_path / 'damaged')
    with changed_weights(folder) as weights:
        weights['visual_projection.weight'][0] = float('nan')
    with pytest.raises(InputError, match=r'damaged: features of a picture are not finite'):
        ImageEncoder(folder)


def test_a_checkpoint_that_lacks_weights_is_refused(folders, tmp_path):
    folder = shutil.copytree(folders['clip'], tmp_path / 'cut')
    with changed_weights(folder) as weights:
        del weights['visual_projection.weight']
    with pytest.raises(InputError, match=r'lack 1 weights, such as visual_projection\.weight'):
        ImageEncoder(folder)


def test_a_model_of_text_is_refused(tmp_path):
    with pytest.raises(InputError, match='a BertModel, which takes input_ids'):
        ImageEncoder(write_tiny_encoder(tmp_path))


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(InputError, match=r'no .*config\.json'):
        ImageEncoder(tmp_path)


def test_a_folder_without_an_image_processor_is_named(folders, tmp_path):
    folder = shutil.copytree(folders['vit'], tmp_path / 'part')
    (folder / 'preprocessor_config.json').unlink()
    with pytest.raises(InputError, match='part: its image processor cannot be loaded'):
        ImageEncoder(folder)


def test_an_image_processor_of_another_model_is_refused(folders, tmp_path):
    folder = shutil.copytree(folders['vit'], tmp_path / 'mixed')
    transformers.ViTImageProcessorPil().save_pretrained(folder)
    with pytest.raises(InputError, match=r'mixed: cannot encode a picture \(.*224'):
        ImageEncoder(folder)


def test_a_device_that_is_not_there_is_named(folders):
    with pytest.raises(InputError, match="device 'nowhere' cannot be used"):
        ImageEncoder(folders['clip'], device='nowhere')


@pytest.mark.parametrize('library', ['transformers', 'PIL'])
def test_a_missing_library_names_the_extras_to_install(folders, monkeypatch, library):
    real_import = builtins.__import__

    def without(name, *args, **kwargs):
        if name == library:
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', without)
    with pytest.raises(InputError, match=r'pip install "reloclnet_mm\[text,video\]"'):
        ImageEncoder(folders['clip'])


# queries


def text_forward(folder, text):
    """The oracle: one text without padding, by the classes themselves."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(text, return_tensors='pt', truncation=True, max_length=MAX_POSITIONS)
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    with torch.no_grad():
        read = model.text_model(inputs['input_ids'], inputs['attention_mask']).pooler_output
        return model.text_projection(read).numpy()


@pytest.fixture(scope='module')
def queries(folders):
    return ImageTextQueries(encoder=folders['clip'], batch_size=2)


def test_queries_are_those_of_transformers(folders, queries):
    texts = ['a red ball', 'dog', 'grey ' * 50, 'a dog runs']
    rows = queries.encode(texts)
    assert [(x.shape, x.dtype) for x in rows] == 4 * [((1, WIDTH), np.float32)]
    for text, row in zip(texts, rows, strict=True):
        np.testing.assert_allclose(row, text_forward(folders['clip'], text), atol=1e-5)
    assert np.abs(rows[0] - rows[1]).max() > 0.01


def test_queries_and_pictures_are_of_one_width_and_of_the_same_weights(folders, queries):
    encoder = ImageEncoder(folders['clip'])
    assert queries.width == encoder.width
    assert queries.identity() == dict(
        type='ImageTextQueries', encoder=str(folders['clip']), weights=encoder.checksum()
    )
    json.dumps(queries.identity())


def test_the_longest_text_is_told(queries):
    assert queries.max_tokens == MAX_POSITIONS


def test_an_empty_query_is_refused(queries):
    with pytest.raises(InputError, match=r"text ' ' has no tokens"):
        queries.encode(['dog', ' '])


def test_a_model_without_a_text_part_is_refused(folders):
    with pytest.raises(InputError, match='a ResNetModel, which has no text part'):
        ImageTextQueries(encoder=folders['resnet']).encode(['dog'])


def test_they_are_built_from_a_config(folders):
    made = EXTRACTORS.build(dict(type='ImageTextQueries', encoder=str(folders['clip'])))
    assert made.width == WIDTH
