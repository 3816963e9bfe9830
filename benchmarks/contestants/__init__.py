"""Who races: ways to compute the same penalty, each made for a problem and a dtype."""


class UnavailableError(Exception):
    """A contestant cannot take part here; the message is the reason that the report prints."""
