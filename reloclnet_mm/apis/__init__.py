"""Asking trained models from Python."""

from reloclnet_mm.apis.inference import Moment, index_corpus, init_model, search
from reloclnet_mm.apis.moment_inferencer import MomentInferencer

__all__ = ['Moment', 'MomentInferencer', 'index_corpus', 'init_model', 'search']
