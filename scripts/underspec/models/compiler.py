"""The C compiler that Triton and torch.compile need when they first run."""

import os
import shutil

from underspec.errors import ConfigError


def need_compiler(what: str, otherwise: str = "") -> None:
    """Raises ConfigError if there is no compiler; `what` needs it, `otherwise` is another cure."""
    if not any(map(shutil.which, filter(None, (os.environ.get("CC"), "gcc", "clang")))):
        raise ConfigError(
            f"{what} needs a C compiler (gcc, clang, or the one in $CC), but none was found; "
            f"install or load one{otherwise}"
        )
