"""Runs a stage as a command: options from its signature, a log file, one-line errors."""

import argparse
import errno
import gc
import inspect
import itertools
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import reduce
from operator import or_
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, NoReturn, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError, create_model

from underspec import strict_json
from underspec.allocator import keep_freed_memory
from underspec.errors import ConfigError, UserError
from underspec.schema import one_line

log = logging.getLogger(__name__)
UNIONS = (UnionType, Union)  # X | None is the latter where X is Annotated
END = "CPU seconds:"  # starts the last line of a successful stage's log

CLEAR_LINE = "\r\033[K"  # of a terminal, where a run may show its status

EXAMPLE = """'{"key": 1}' or '["a", "b"]'"""  # with shell quotes

# How to fix file errors of the system.
CURES = {
    errno.ENOENT: "correct its path, or let Snakemake make it first",
    errno.ENOTDIR: "correct its path",
    errno.EEXIST: "something else is there; correct its path",
    errno.EISDIR: "it must be a file; correct its path",
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
    errno.EROFS: "write to another folder",
    errno.ENOSPC: "free space on that disk, then run Snakemake again",
    errno.EDQUOT: "free space in your quota, then run Snakemake again",
    errno.ENAMETOOLONG: "use shorter names",
}

# Imported objects live as long as the process. Searching them for garbage would take an eighth of a
# training's start-up.
gc.disable()


def command(stage: Callable[..., None]) -> None:
    """Run `stage` with the options on the command line (see `arguments`) and exit.

    `--log` names a file for all messages. The terminal shows progress and warnings (only warnings
    if UNDERSPEC_TERMINAL is WARNING), labelled with the job's name: the path of its log below
    logs/.
    The last line of the log has the CPU time until `stage` began (start-up and imports) and that of
    the whole process. The log of an earlier failed attempt is kept as `LOG.1` and so on. A
    UserError is printed as one line; with a log, tracebacks go only there.
    """
    gc.freeze()
    gc.enable()
    keep_freed_memory()
    first = os.environ.get("RANK", "0") == "0"  # of the processes of one training
    try:
        common, own = _common().parse_known_args()
        path = common.log if first else None
        job = _job(common.log) or stage.__name__
        with file_errors_explained():
            _log_to(path, job, os.environ.get("UNDERSPEC_TERMINAL", "INFO") if first else "WARNING")
    except UserError as error:
        sys.exit(f"[{stage.__name__}] {error}")
    startup = time.process_time()
    try:
        with file_errors_explained():
            stage(**arguments(stage, own))
    except UserError as error:
        log.error("%s", error)
        if error.__cause__:
            log.debug("caused by", exc_info=error.__cause__)
        sys.exit(1)
    except Exception as error:
        cause = (str(error).strip().splitlines() or [""])[0]
        where = f"; the traceback is in {path}" if path else ""
        log.exception(
            "unexpected error in %s: %s: %s%s", stage.__name__, type(error).__name__, cause, where
        )
        sys.exit(1)
    log.debug(END + " %.2f to start, %.2f in all", startup, time.process_time())


@contextmanager
def file_errors_explained() -> Iterator[None]:
    """Turns an OSError about a file into a UserError: which file, why, and the cure."""
    try:
        yield
    except OSError as error:
        if error.errno not in CURES:
            raise
        files = " and ".join(map(str, filter(None, (error.filename, error.filename2))))
        prefix = f"{files}: " if files else ""
        raise UserError(f"{prefix}{error.strerror.lower()}; {CURES[error.errno]}") from error


def arguments(stage: Callable[..., None], given: list[str] | None = None) -> dict[str, Any]:
    """The keyword arguments of `stage` from options of the same names, by default those on the
    command line.

    Maps and lists are JSON. Every value is validated by its type in the signature; a map of type
    `Annotated[dict, Section]` is validated by its section. `**files: Unpack[SomeTypedDict]` stands
    for an option for each of its keys, which several stages can share. Raises ConfigError in one
    line that names the option.
    """
    kinds, defaults, texts = _options(stage)
    parser = _Parser(description=" ".join(texts), parents=[_common()], allow_abbrev=False)
    for name, default in defaults.items():
        needed = default is inspect.Parameter.empty
        text = "" if needed else f"default: {default}"
        parser.add_argument(f"--{name}", required=needed, default=argparse.SUPPRESS, help=text)
    found = vars(parser.parse_args(given))
    values = {name: _read(name, found[name], kinds[name]) for name in defaults if name in found}
    wanted = {
        name: (_checked_as(kinds[name]), ... if default is inspect.Parameter.empty else default)
        for name, default in defaults.items()
    }
    try:
        checked = create_model(stage.__name__, **wanted).model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"--{one_line(error)}") from None
    return checked.model_dump(exclude_unset=True)


def _options(stage: Callable[..., None]) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Types and defaults of the options of a stage, by name, and the docstrings that say what they
    are."""
    kinds = get_type_hints(stage, include_extras=True)
    defaults, texts = {}, [stage.__doc__ or ""]
    for name, each in inspect.signature(stage).parameters.items():
        if each.kind is not each.VAR_KEYWORD:
            defaults[name] = each.default
            continue
        (shared,) = get_args(kinds.pop(name))  # of Unpack[shared]
        texts.append(shared.__doc__ or "")
        for key, kind in get_type_hints(shared, include_extras=True).items():
            required = key in shared.__required_keys__
            kinds[key] = kind if required else get_args(kind)[0]  # of NotRequired[kind]
            defaults[key] = each.empty if required else None
    return kinds, defaults, texts


def _checked_as(kind: Any) -> Any:
    """The type that validates an option: the section of `Annotated[dict, Section]`, also in a list
    or a union with None; any other type stays.
    """
    if get_origin(kind) is list:
        return list[_checked_as(*get_args(kind))]
    if get_origin(kind) in UNIONS:
        return reduce(or_, map(_checked_as, get_args(kind)))
    section = get_args(kind)[-1] if get_origin(kind) is Annotated else None
    is_section = isinstance(section, type) and issubclass(section, BaseModel)
    return section if is_section else kind


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; {self.prog} --help lists the options")


def _common() -> _Parser:
    """The parser of the options common to all stages."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--log", type=Path, help="file for all messages")
    return parser


def _read(name: str, text: str, kind: Any) -> Any:
    """The value of an option's text, parsed as JSON if it is a map or a list."""
    while get_origin(kind) in (Annotated, *UNIONS):  # with None
        kind = get_args(kind)[0]
    if (get_origin(kind) or kind) not in (dict, list):
        return text
    try:
        return strict_json.parse(text)
    except ValueError as error:
        raise ConfigError(f"--{name}: not JSON ({error}); write it as in {EXAMPLE}") from None


class _Terminal(logging.Formatter):
    """Formats messages without tracebacks, which the log file has."""

    def formatException(self, ei) -> str:
        return ""

    def format(self, record: logging.LogRecord) -> str:
        record.exc_text = None  # cached by the formatter of the log file
        line = super().format(record).rstrip("\n")
        record.exc_text = None
        return line


def _keep_failed(path: Path) -> None:
    """Rename the log of a failed attempt to path.1, path.2, ..."""
    with suppress(OSError, IndexError):  # there is no log, or another copy of the job moved it
        if path.is_file() and END not in path.read_text(errors="replace").splitlines()[-1]:
            names = (path.with_name(f"{path.name}.{number}") for number in itertools.count(1))
            path.rename(next(name for name in names if not name.exists()))


def _job(log: Path | None) -> str | None:
    """The name of the job with this log: its path below the folder logs/, if it is in one."""
    parts = log.with_suffix("").parts if log else ()
    return "/".join(parts[parts.index("logs") + 1 :]) if "logs" in parts else None


def _log_to(path: Path | None, label: str, level: str) -> None:
    terminal = logging.StreamHandler()
    terminal.setLevel(level)
    formatter = _Terminal if path else logging.Formatter
    clear = CLEAR_LINE if "UNDERSPEC_TERMINAL" in os.environ and sys.stderr.isatty() else ""
    terminal.setFormatter(formatter(f"{clear}[{label}] %(message)s"))
    handlers: list[logging.Handler] = [terminal]
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        _keep_failed(path)
        file = logging.FileHandler(path, mode="w")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        handlers.append(file)
    logging.raiseExceptions = False  # ignore errors of logging itself, such as a full disk
    logging.basicConfig(level=logging.WARNING, handlers=handlers)
    logging.getLogger("underspec").setLevel(logging.DEBUG)
