# Messages for the person at the terminal: why a job failed, and which jobs wait in vain.
# Reads the logs of failed jobs and Slurm's queue. Writes a note about this run beside Snakemake's
# lock.
import logging
import shutil
import threading

from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from underspec.monitoring import failures
from underspec.monitoring import run_note
from underspec.monitoring import slurm_queue

SECONDS_BETWEEN_LOOKS = 60


class Failures(logging.Handler):
    """Prints one line after each failed attempt of a job: the cause, and the log that shows it."""

    def __init__(self):
        super().__init__(logging.INFO)
        self.jobs = {}  # job id -> its name, and the state of its logs before it began
        self.raised = {}  # thread -> its last exception, logged just before a local job's failure
        self.killed = failures.kills_for_memory()

    def emit(self, record):
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_INFO:
            name = " ".join([record.rule_name, *map(str, record.wildcards.values())])
            self.jobs[record.jobid] = name, set(map(written, record.log))
        elif event == LogEvent.ERROR:
            self.raised[record.thread] = record.getMessage()
        elif event == LogEvent.JOB_ERROR:
            self.explain(record)

    def explain(self, record):
        name, before = self.jobs.get(record.jobid, (record.rule_name, set()))
        killed, self.killed = self.killed, failures.kills_for_memory()
        local = "external_jobid" not in record.aux
        cause = failures.cause(
            [Path(path) for path in record.log if written(path) not in before],
            f"{record.rule_msg or ''}\n{self.raised.pop(record.thread, '')}",
            out_of_memory=local and self.killed > killed,
        )
        where = cause.log or next((path for path in reversed(record.log) if path), "none")
        text = cause.text.removesuffix(f"; the traceback is in {where}")
        logger.error(f"{name} failed: {text} (log: {where})")


def written(path):
    """The state of a log file, which tells it from the log of an earlier attempt."""
    try:
        with open(path) as file:  # opening it refreshes the attributes on a shared file system
            status = os.fstat(file.fileno())
    except OSError:
        return path, None
    return path, (status.st_ino, status.st_mtime_ns, status.st_size)


def warn_of_waiting_jobs(folder):
    """Warn once about each job of the run in `folder` that waits for what cannot happen."""
    said = set()
    pause = threading.Event()
    while not pause.wait(SECONDS_BETWEEN_LOOKS):
        try:
            advice = filter(None, map(slurm_queue.advice, slurm_queue.queue(folder)))
        except OSError:  # Slurm does not answer; the executor reports it if that lasts
            continue
        for line in advice:
            if line not in said:
                said.add(line)
                logger.warning(line)


def not_a_guess_at_the_account(record):
    """Filters out an error of the Slurm plugin, which guesses the account by an invalid command."""
    return "sacct: invalid option" not in str(record.msg)


onstart:
    on_slurm = not workflow.local_exec and shutil.which("squeue") is not None
    run_note.of_this_process(on_slurm).write()
    logger.addHandler(Failures())
    logger.addFilter(not_a_guess_at_the_account)
    if on_slurm:
        threading.Thread(
            target=warn_of_waiting_jobs, args=[workflow.workdir_init], daemon=True
        ).start()
