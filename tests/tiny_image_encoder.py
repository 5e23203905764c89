"""Encoders of pictures of a few thousand random weights, so that no test needs downloaded ones."""

import json

import pytest

IMAGE_SIZE = 32
WIDTH = 12
MAX_POSITIONS = 16
WORDS = ['a', 'red', 'green', 'blue', 'grey', 'ball', 'dog', 'runs']


def write_tiny_clip(folder):
    """Write a CLIP of width 12 with its tokenizer and image processor."""
    torch, transformers = _libraries()
    torch.manual_seed(0)
    _write_tokenizer(folder)
    sizes = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2)
    begin, end = len(WORDS), len(WORDS) + 1
    model = transformers.CLIPModel(
        transformers.CLIPConfig(
            text_config=dict(
                **sizes,
                vocab_size=len(WORDS) + 2,
                max_position_embeddings=MAX_POSITIONS,
                bos_token_id=begin,
                eos_token_id=end,
                pad_token_id=end,
            ),
            vision_config=dict(**sizes, image_size=IMAGE_SIZE, patch_size=8),
            projection_dim=WIDTH,
        )
    )
    model.save_pretrained(folder)
    transformers.CLIPImageProcessorPil(
        size={'shortest_edge': IMAGE_SIZE}, crop_size={'height': IMAGE_SIZE, 'width': IMAGE_SIZE}
    ).save_pretrained(folder)
    return folder


def write_tiny_resnet(folder):
    """Write a ResNet of width 16 with its image processor."""
    torch, transformers = _libraries()
    torch.manual_seed(0)
    transformers.ResNetModel(
        transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type='basic'
        )
    ).save_pretrained(folder)
    _write_vit_processor(transformers, folder)
    return folder


def write_tiny_vit(folder, pooler):
    """Write a ViT of width 16 with its image processor, with the weights of a pooler or without."""
    torch, transformers = _libraries()
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=IMAGE_SIZE,
        patch_size=8,
    )
    transformers.ViTModel(config, add_pooling_layer=pooler).save_pretrained(folder)
    _write_vit_processor(transformers, folder)
    return folder


def _libraries():
    return (
        pytest.importorskip('torch'),
        pytest.importorskip('transformers', minversion='5', reason='needs reloclnet_mm[video]'),
    )


def _write_vit_processor(transformers, folder):
    transformers.ViTImageProcessorPil(
        size={'height': IMAGE_SIZE, 'width': IMAGE_SIZE}
    ).save_pretrained(folder)


def _write_tokenizer(folder):
    """Write a tokenizer whose tokens are words, with CLIP's marks at the start and the end."""
    tokenizers = pytest.importorskip('tokenizers')
    marks = ['<|startoftext|>', '<|endoftext|>']
    vocabulary = {token: number for number, token in enumerate(WORDS + marks)}
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel(vocabulary, unk_token='<|endoftext|>')
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single=f'{marks[0]} $A {marks[1]}',
        special_tokens=[(mark, vocabulary[mark]) for mark in marks],
    )
    tokenizer.save(str(folder / 'tokenizer.json'))
    (folder / 'tokenizer_config.json').write_text(
        json.dumps(
            {
                'tokenizer_class': 'PreTrainedTokenizerFast',
                'bos_token': marks[0],
                'eos_token': marks[1],
                'pad_token': marks[1],
                'unk_token': marks[1],
                'model_max_length': MAX_POSITIONS,
            }
        )
    )
