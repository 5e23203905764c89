"""A text encoder of a few thousand random weights, so that no test needs downloaded ones."""

import json

import pytest

VOCABULARY = (
    '[PAD] [UNK] [CLS] [SEP] [MASK] a the man woman dog cat climbs paints washes throws ball '
    'wall car fence slowly then and red runs jumps home . ,'
)
WIDTH = 16
MAX_POSITIONS = 48


def write_tiny_encoder(folder):
    """Write a BERT of width 16 and its WordPiece tokenizer as transformers lays them out."""
    torch = pytest.importorskip('torch')
    transformers = pytest.importorskip('transformers', reason='needs reloclnet_mm[text]')
    torch.manual_seed(0)
    model = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=len(VOCABULARY.split()),
            hidden_size=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=MAX_POSITIONS,
        )
    )
    model.save_pretrained(folder)
    (folder / 'vocab.txt').write_text(VOCABULARY.replace(' ', '\n'))
    (folder / 'tokenizer_config.json').write_text(
        json.dumps({'tokenizer_class': 'BertTokenizer', 'do_lower_case': True})
    )
    return folder
