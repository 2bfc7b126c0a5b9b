"""The C compiler that Triton and torch.compile need when they first run."""

import os
import shutil

from underspec.errors import ConfigError


def need_compiler(what: str, otherwise: str = "") -> None:
    """Raises ConfigError, naming `what` needs it and what to do `otherwise`, if there is none."""
    if not any(map(shutil.which, filter(None, (os.environ.get("CC"), "gcc", "clang")))):
        raise ConfigError(
            f"{what} needs a C compiler (gcc, clang, or what CC names), and there is none here; "
            f"load one{otherwise}"
        )
