"""What programs call: a model from its config and checkpoint, a corpus, moments of a query."""

from reloclnet_mm.apis.inference import Moment, index_corpus, init_model, search

__all__ = ['Moment', 'index_corpus', 'init_model', 'search']
