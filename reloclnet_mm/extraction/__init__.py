"""What makes features: of text, of speech, of pictures; and the recipe that puts them together."""

from reloclnet_mm.extraction.frames import FrameFeatures
from reloclnet_mm.extraction.images import ImageTextQueries
from reloclnet_mm.extraction.recipe import FeatureRecipe
from reloclnet_mm.extraction.speech import SpeechRecognizer
from reloclnet_mm.extraction.text_features import TextFeatures

__all__ = [
    'FeatureRecipe',
    'FrameFeatures',
    'ImageTextQueries',
    'SpeechRecognizer',
    'TextFeatures',
]
