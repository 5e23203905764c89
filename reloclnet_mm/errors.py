"""The one exception for input that cannot be used, and kinds of it that are told apart."""


class InputError(ValueError):
    """A file, an annotation, a feature or a setting that cannot be used.

    The message names the file, the key or line, what was found, what was
    expected and what to do; command-line tools print it without a traceback.
    """


class QueryError(InputError):
    """A query that cannot be asked."""


class UnavailableError(InputError):
    """An index that no computer answers for at the moment."""
