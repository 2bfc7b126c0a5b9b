"""Errors that a user can cause and fix. Their message is one line: what, where, and the cure."""


class UserError(Exception):
    """The base class; `command` prints the message without a traceback."""


class ConfigError(UserError):
    """A config key is unknown, invalid, or contradicts another; the message names the key."""


class ArtifactError(UserError):
    """An artifact is missing, damaged or inconsistent; the message names the file and the cause."""


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or its type if there is no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
