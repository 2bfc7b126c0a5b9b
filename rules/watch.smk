# Messages for the person at the terminal: how far the run is, why a job failed, and which jobs wait in
# vain. Snakemake's own report of each job is in its log, and on the terminal with --printshellcmds.
# Reads the logs of failed jobs, benchmarks and Slurm's queue. Writes a note about this run beside
# Snakemake's lock.
import logging
import re
import shutil
import threading
import time

from snakemake.logging import ColorizingTextHandler, logger
from snakemake_interface_logger_plugins.common import LogEvent

from underspec.monitoring import failures
from underspec.monitoring import forecast
from underspec.monitoring import run_note
from underspec.monitoring import slurm_queue
from underspec.monitoring.run_status import Job, RunStatus

SECONDS_BETWEEN_LOOKS = 60
STAGES_ELSEWHERE = shipped(f"docs/benchmarks/{config['experiment']}-stages.csv")
# What Snakemake and its Slurm plugin repeat for each job without an event of its own.
ROUTINE = re.compile(
    r"Assuming unrestricted shared|Building DAG of jobs|Using shell|Conda environments: ignored"
    r"|Select jobs to execute|Job \d+ has been submitted"
)
CLEAR_LINE = "\r\033[K"


def worth_showing(record):
    """Warnings, errors and rare messages; not the blocks of jobs, nor the shell's error, whose
    command stands in the block of the failed job that follows.
    """
    if record.levelno > logging.INFO:
        return "CalledProcessError in file" not in str(record.msg)
    return not hasattr(record, "event") and not ROUTINE.match(str(record.msg))


class Status(logging.Handler):
    """A line for each rule when all its jobs are done, and from time to time one about the running
    jobs: a live one on a terminal, else one in half a minute, or in ten minutes on Slurm.
    """

    def __init__(self, output):
        super().__init__(logging.INFO)
        self.output = output
        self.live = not output.nocolor  # Snakemake colours a terminal that is one
        self.unfinished = "running" if workflow.local_exec else "running or queued"
        self.run = RunStatus({})

    def emit(self, record):
        try:
            self.follow(record, getattr(record, "event", None))
        except Exception:  # which must not end a run
            self.handleError(record)

    def follow(self, record, event):
        if event == LogEvent.RUN_INFO:
            self.run = RunStatus({rule: n for rule, n in record.stats.items() if rule != "total"})
            where = f"cores: {workflow.cores}" if workflow.local_exec else "by Slurm"
            logger.info(f"Jobs: {record.stats['total']}, {where}, logs: {made('logs')}/")
        elif event == LogEvent.JOB_INFO:
            wildcards = tuple(map(str, record.wildcards.values()))
            self.run.start(record.jobid, Job(record.rule_name, wildcards, time.monotonic()))
        elif event == LogEvent.JOB_ERROR:
            self.run.fail(record.jobid)
        elif event == LogEvent.JOB_FINISHED:
            if line := self.run.finish(record.job_id, time.monotonic()):
                logger.info(line)

    def show_running(self):
        while True:
            time.sleep(1 if self.live else 30 if workflow.local_exec else 600)
            heading = time_left(self.run) + self.unfinished
            with self.lock:
                line = self.run.unfinished(time.monotonic(), heading)
            if line and self.live:
                with self.output.lock:
                    width = shutil.get_terminal_size().columns - 1
                    self.output.stream.write(CLEAR_LINE + line[:width])
                    self.output.flush()
            elif line:
                logger.info(line)

    def clear_line(self, record):
        if self.live:
            self.output.stream.write(CLEAR_LINE)
        return True


def time_left(run):
    """From when the policy has been trained, and where there is a run to compare with."""
    trained = Path(made("benchmarks/policy.tsv"))
    known = workflow.local_exec and Path(STAGES_ELSEWHERE).exists() and trained.exists()
    if not known or run.outstanding("policy"):
        return ""
    try:
        done = forecast.finished(Path(made("benchmarks")), trained)
    except OSError:  # Snakemake has just deleted the benchmark of a job that starts again
        return ""
    minutes, _ = forecast.left(
        done, forecast.read_reference(Path(STAGES_ELSEWHERE)), workflow.cores
    )
    return f"about {minutes:.0f} min left, " if minutes >= 1 else ""


def in_brief():
    """Put a status in the place of Snakemake's blocks of jobs and of the stages' progress; nothing,
    if a plugin writes to the terminal.
    """
    for output in logger.handlers:
        if isinstance(output, ColorizingTextHandler):
            status = Status(output)
            logger.addHandler(status)
            output.addFilter(worth_showing)
            output.addFilter(status.clear_line)
            os.environ.update(UNDERSPEC_TERMINAL="WARNING")  # read by scripts/underspec/command.py
            return status


shown = workflow.output_settings
in_full = shown.dryrun or shown.printshellcmds or shown.verbose
STATUS = in_brief() if workflow.is_main_process and not in_full else None


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
    if workflow.local_exec:
        # With its limit of jobs per second, every job that ends leaves Snakemake (9.27) a chain of
        # timers for good, and each tick looks through all jobs that wait: a third of a core after
        # 180 jobs. On one machine the limit has no use.
        workflow.scheduler.job_rate_limiter = None
    on_slurm = not workflow.local_exec and shutil.which("squeue") is not None
    run_note.of_this_process(on_slurm).write()
    if STATUS:
        threading.Thread(target=STATUS.show_running, daemon=True).start()
    logger.addHandler(Failures())
    logger.addFilter(not_a_guess_at_the_account)
    if on_slurm:
        threading.Thread(
            target=warn_of_waiting_jobs, args=[workflow.workdir_init], daemon=True
        ).start()
