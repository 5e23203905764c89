"""Queries about a hundred things, to tell how well a query scores that has no answer."""

from collections.abc import Sequence

_SUBJECTS = (
    'the migration of arctic birds',
    'how glaciers carve valleys',
    'the rules of cricket',
    'a recipe for pumpkin soup',
    'the fall of the Roman empire',
    'how vaccines train the immune system',
    'choosing a mortgage',
    'the moons of Jupiter',
    'a goalkeeper saves a penalty',
    'training a puppy to sit',
    'the invention of the printing press',
    'how a suspension bridge carries its load',
    'painting with watercolours',
    'a child blows out candles on a cake',
    'the causes of inflation',
    'how coral reefs grow',
    'a violin concerto',
    'assembling a bookshelf',
    'the history of chess openings',
    'how to fold a paper crane',
    'a surfer falls off the board',
    'medieval castles and their moats',
    'how a refrigerator moves heat',
    'the plot of a detective novel',
    'a man shaves his beard',
    'election results by region',
    'a wedding in the mountains',
    'how to sew a button',
    'the speed of light in glass',
    'polar bears hunting on the ice',
    'a dance lesson for beginners',
    'the chemistry of soap',
    'how airports schedule runways',
    'a cat chases a laser pointer',
    'renting a flat in a big city',
    'the anatomy of the human knee',
    'how to throw a curveball',
    'a volcano erupts at night',
    'the music of the Renaissance',
    'applying for a passport',
    'a woman lifts a heavy barbell',
    'the life cycle of butterflies',
    'how banks detect fraud',
    'a kayak goes down a waterfall',
    'the grammar of Latin verbs',
    'cleaning a swimming pool',
    'a magician makes a coin vanish',
    'the treaty that ended the war',
    'how bees tell each other where flowers are',
    'a team huddles before the match',
    'the price of crude oil',
    'making a pot on the wheel',
    'how earthquakes are measured',
    'a boy learns to skateboard',
    'the architecture of Gothic churches',
    'planning a trip to Japan',
    'how compilers translate programs',
    'a horse jumps over a fence',
    'the discovery of penicillin',
    'feeding goldfish',
    'people clap after a speech',
    'the tax on imported cars',
    'how to play the bagpipes',
    'a train arrives at a snowy station',
    'the theory of relativity',
    'growing tomatoes on a balcony',
    'a referee shows a red card',
    'the customs of a Japanese tea house',
    'how satellites stay in orbit',
    'a girl braids her hair',
    'the strike of the miners',
    'carving a face from wood',
    'how the liver breaks down alcohol',
    'a parade with marching bands',
    'the poetry of the sea',
    'fishing through a hole in the ice',
    'how to file a patent',
    'a drone films a vineyard',
    'the stages of sleep',
    'washing windows on a skyscraper',
)
_FORMS = ('{}', 'someone talks about {}', 'where do they explain {}?')


def null_queries() -> Sequence[str]:
    """List the queries; each subject is asked for in three ways."""
    return [form.format(subject) for form in _FORMS for subject in _SUBJECTS]


def null_rate(score: float, null_scores: Sequence[float]) -> float:
    """Compute the share of queries about other things that score at least as high.

    Args:
        score: Score of the best video for a query.
        null_scores: Those of :func:`null_queries` in the same index.
    """
    return sum(x >= score for x in null_scores) / len(null_scores)
