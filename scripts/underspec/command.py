"""A stage as a command: arguments from its signature, a log on file, errors in one line."""

import gc
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from jsonargparse import ArgumentParser

from underspec.allocator import keep_freed_memory
from underspec.errors import UserError

log = logging.getLogger(__name__)

# What is imported from here on lives as long as the process; looking for garbage among it takes an
# eighth of the start-up of a stage that trains.
gc.disable()


def command(stage: Callable[..., None]) -> None:
    """Run `stage` with the arguments on the command line and exit.

    Each keyword of `stage` is an option; maps and lists are given as JSON. `--log` names a file
    that takes every message; the terminal shows progress and warnings, marked with the label of
    the job. The last line on the log says how much CPU time went into start-up and imports
    (all that was used before `stage` began) and into the whole process.
    """
    gc.freeze()
    gc.enable()
    keep_freed_memory()
    parser = ArgumentParser(description=stage.__doc__)
    parser.add_function_arguments(stage, as_group=False)
    parser.add_argument("--log", type=Path, default=None, help="file for all messages")
    parser.add_argument("--label", default=stage.__name__, help="what to call this job")
    arguments = vars(parser.parse_args())
    path, label = arguments.pop("log"), arguments.pop("label")
    first = os.environ.get("RANK", "0") == "0"  # of the processes of one training
    _log_to(path if first else None, label, logging.INFO if first else logging.WARNING)
    startup = time.process_time()
    try:
        stage(**arguments)
    except UserError as error:
        log.error("%s", error)
        sys.exit(1)
    except Exception:
        log.exception("unexpected error in %s", stage.__name__)
        sys.exit(1)
    log.debug("CPU seconds: %.2f to start, %.2f in all", startup, time.process_time())


def _log_to(path: Path | None, label: str, level: int) -> None:
    terminal = logging.StreamHandler()
    terminal.setLevel(level)
    terminal.setFormatter(logging.Formatter(f"[{label}] %(message)s"))
    handlers: list[logging.Handler] = [terminal]
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(path, mode="w")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        handlers.append(file)
    logging.basicConfig(level=logging.WARNING, handlers=handlers)
    logging.getLogger("underspec").setLevel(logging.DEBUG)
