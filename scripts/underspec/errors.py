"""The errors a user can cause and cure. Their message is one line: what, where, and the cure."""


class UserError(Exception):
    """Base class: `command` prints its message without a traceback."""


class ConfigError(UserError):
    """A config key that is unknown, impossible, or contradicts another; names the key."""


class ArtifactError(UserError):
    """A damaged or foreign artifact; names the file and the cause."""
