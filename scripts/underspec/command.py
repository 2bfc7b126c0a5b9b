"""A stage as a command: arguments from its signature, a log on file, errors in one line."""

import gc
import itertools
import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from jsonargparse import ArgumentParser

from underspec.allocator import keep_freed_memory
from underspec.errors import UserError

log = logging.getLogger(__name__)
END = "CPU seconds:"  # begins the last line on the log of a stage that ended well

# What is imported from here on lives as long as the process; looking for garbage among it takes an
# eighth of the start-up of a stage that trains.
gc.disable()


def command(stage: Callable[..., None]) -> None:
    """Run `stage` with the arguments on the command line and exit.

    Each keyword of `stage` is an option; maps and lists are given as JSON. `--log` names a file
    that takes every message; the terminal shows progress and warnings, marked with the name of the
    job: the path of its log, from the folder logs/ on. The last line on the log says how much CPU
    time went into start-up and imports (all that was used before `stage` began) and into the whole
    process. The log of an attempt that failed before is kept, as `LOG.1` and so on. Tracebacks
    stand on the log alone, if there is one.
    """
    gc.freeze()
    gc.enable()
    keep_freed_memory()
    parser = ArgumentParser(description=stage.__doc__)
    parser.add_function_arguments(stage, as_group=False)
    parser.add_argument("--log", type=Path, default=None, help="file for all messages")
    arguments = vars(parser.parse_args())
    path = arguments.pop("log")
    first = os.environ.get("RANK", "0") == "0"  # of the processes of one training
    _log_to(
        path if first else None,
        _job(path) or stage.__name__,
        logging.INFO if first else logging.WARNING,
    )
    startup = time.process_time()
    try:
        stage(**arguments)
    except UserError as error:
        log.error("%s", error)
        sys.exit(1)
    except Exception as error:
        cause = (str(error).strip().splitlines() or [""])[0]
        where = f"; the traceback is in {path}" if path and first else ""
        log.exception(
            "unexpected error in %s: %s: %s%s", stage.__name__, type(error).__name__, cause, where
        )
        sys.exit(1)
    log.debug(END + " %.2f to start, %.2f in all", startup, time.process_time())


class _Terminal(logging.Formatter):
    """Without the traceback of an error, where a file has it."""

    def formatException(self, ei) -> str:
        return ""

    def format(self, record: logging.LogRecord) -> str:
        record.exc_text = None  # what the file's formatter has made of it
        line = super().format(record).rstrip("\n")
        record.exc_text = None
        return line


def _keep_failed(path: Path) -> None:
    """Give the log of an attempt that did not end well a name of its own: path.1, path.2, ..."""
    with suppress(OSError, IndexError):  # there is none, or another copy of the job has moved it
        if path.is_file() and END not in path.read_text(errors="replace").splitlines()[-1]:
            names = (path.with_name(f"{path.name}.{number}") for number in itertools.count(1))
            path.rename(next(name for name in names if not name.exists()))


def _job(log: Path | None) -> str | None:
    """The name of the job that logs there: the path from the folder logs/ on, if it has one."""
    parts = log.with_suffix("").parts if log else ()
    return "/".join(parts[parts.index("logs") + 1 :]) if "logs" in parts else None


def _log_to(path: Path | None, label: str, level: int) -> None:
    terminal = logging.StreamHandler()
    terminal.setLevel(level)
    formatter = _Terminal if path else logging.Formatter
    terminal.setFormatter(formatter(f"[{label}] %(message)s"))
    handlers: list[logging.Handler] = [terminal]
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        _keep_failed(path)
        file = logging.FileHandler(path, mode="w")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        handlers.append(file)
    logging.raiseExceptions = False  # a log on a full disk is no cause to speak of
    logging.basicConfig(level=logging.WARNING, handlers=handlers)
    logging.getLogger("underspec").setLevel(logging.DEBUG)
