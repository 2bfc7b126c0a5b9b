"""Check the CUDA paths on one GPU, and measure them: eight minutes at most, no network.

    python tests/gpu/check.py                   everything, on the GPU
    python tests/gpu/check.py --device cpu      every part at a tiny size, anywhere
    python tests/gpu/check.py --parts sampler "sampling, large"

Needs Python 3.11, torch 2.11, transformers 5.17 (or newer), accelerate, numpy, pandas, pyarrow,
safetensors and tokenizers, a C compiler, and nothing else. Each part is a process of its own with
a time limit: what it found until then is on the page. The page goes to standard output and, with a
JSON of the same, to the folder `--output`. Exits with 1 if a check failed; a speed below its aim is
no failure.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import platform
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
PACKAGES = (
    *("torch", "transformers", "accelerate", "numpy", "pandas", "pyarrow", "safetensors"),
    "tokenizers",
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--parts", nargs="+", metavar="PART", help="only these (default: all)")
    parser.add_argument("--seconds", type=float, default=480.0, help="for all parts together")
    parser.add_argument("--output", type=Path, default=Path("results/gpu-check"))
    asked = parser.parse_args()
    began = time.monotonic()
    if asked.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    if missing := [name for name in PACKAGES if not _installed(name)]:
        parser.error(f"not installed: {', '.join(missing)}")
    # All that parts need is imported before they are forked, and nothing of it may ask for the
    # GPU: a process that has done so cannot be forked.
    import correctness
    import decoders
    import rlhf
    import setting
    import speed

    parts = correctness.PARTS | decoders.PARTS | rlhf.PARTS | speed.PARTS
    if unknown := set(asked.parts or ()) - set(parts):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    asked.output.mkdir(parents=True, exist_ok=True)
    chosen = setting.ON_GPU if asked.device == "cuda" else setting.ON_CPU
    about = describe(asked.device)
    if about["device"] is None:
        parser.error(
            "no GPU that torch can use; --device cpu tries every part at a tiny size without one"
        )
    page = Page(asked.output, about)
    # The limits are for GPUs; a CPU may be slow or busy.
    slack = 1 if asked.device == "cuda" else 20
    for name in asked.parts or parts:
        part, limit = parts[name]
        left = slack * asked.seconds - (time.monotonic() - began)
        limit = min(slack * limit, left)
        page.add(name, part.__doc__, *outcome(part, chosen, limit, asked.output, name))
    page.close(time.monotonic() - began)
    return int(page.failed)


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # shut out
        return False


def describe(device: str) -> dict[str, str | None]:
    """The device, None for a GPU that is not there, and what runs on it."""
    about = {name: importlib.metadata.version(name) for name in PACKAGES[:3]}
    about |= {"python": platform.python_version(), "device": "a CPU"}
    if device == "cuda":  # asked for by a process of its own
        with multiprocessing.get_context("fork").Pool(1) as pool:
            about["device"] = pool.apply(_gpu)
    return about


def _gpu() -> str | None:
    import torch

    if not torch.cuda.is_available():
        return None
    memory = torch.cuda.get_device_properties(0).total_memory / 1e9
    return f"{torch.cuda.get_device_name()}, {memory:.0f} GB"


def outcome(
    part, chosen, limit: float, folder: Path, name: str
) -> tuple[list[dict], float, str | None]:
    """Run a part: its findings, the seconds it took, and what went wrong, if anything."""
    if limit < 5:
        return [], 0.0, "not begun: the time for all parts is up"
    stem = folder / name.replace(", ", "-").replace(" ", "-")
    lines, log = stem.with_suffix(".jsonl"), stem.with_suffix(".log")
    lines.unlink(missing_ok=True)
    process = multiprocessing.get_context("fork").Process(
        target=_run, args=(part, chosen, lines, log)
    )
    began = time.monotonic()
    process.start()
    process.join(limit)
    problem = None
    if process.is_alive():
        problem = f"ended at its limit of {limit:.0f} s"
    elif process.exitcode:
        problem = f"exit status {process.exitcode}; {_last_line(log)} (see {log})"
    with suppress(ProcessLookupError):  # what it started, too
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()  # in case it had no group of its own yet
    process.join()
    written = lines.read_text().splitlines(keepends=True) if lines.exists() else []
    found = [json.loads(line) for line in written if line.endswith("\n")]
    return found, time.monotonic() - began, problem


def _run(part, chosen, lines: Path, log: Path) -> None:
    """In a process of its own: write each finding as soon as it is there."""
    os.setsid()
    sys.stdout = sys.stderr = log.open("w", buffering=1)
    for stream in (1, 2):
        os.dup2(sys.stdout.fileno(), stream)
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    try:
        with lines.open("w") as file:
            for finding in part(chosen):
                print(json.dumps(finding._asdict()), file=file, flush=True)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else "nothing on its log"


class Page:
    """The page and the JSON of what was found, rewritten after every part."""

    def __init__(self, folder: Path, about: dict[str, str]):
        self.folder, self.about, self.parts, self.failed = folder, about, {}, False
        self.text: list[str] = []
        self._say(", ".join(f"{key} {value}" for key, value in sorted(about.items())))

    def add(
        self, name: str, about: str, found: list[dict], seconds: float, problem: str | None
    ) -> None:
        failed = problem is not None or any(
            each["passed"] is False and not each["target"] for each in found
        )
        self.failed |= failed
        verdict = "FAILED" if failed else "ok"
        self.parts[name] = {
            "verdict": verdict,
            "seconds": seconds,
            "problem": problem,
            "found": found,
        }
        self._say(f"\n{name}: {verdict}, {seconds:.0f} s. {' '.join(about.split())}")
        self._say(*map(_line, found))
        if problem:
            self._say(f"  {problem}")
        self._write()

    def close(self, seconds: float) -> None:
        failed = [name for name, part in self.parts.items() if part["verdict"] == "FAILED"]
        self.about["seconds"] = f"{seconds:.0f}"
        self._say(f"\n{len(self.parts) - len(failed)} of {len(self.parts)} parts ok, in all")
        self._say(f"{seconds:.0f} s" + (f"; FAILED: {', '.join(failed)}" if failed else ""))
        self._write()

    def _say(self, *lines: str) -> None:
        self.text += lines
        if lines:
            print("\n".join(lines), flush=True)

    def _write(self) -> None:
        (self.folder / "page.txt").write_text("\n".join(self.text) + "\n")
        made = {"about": self.about, "parts": self.parts}
        (self.folder / "page.json").write_text(json.dumps(made, indent=2) + "\n")


def _line(finding: dict) -> str:
    value = finding["value"]
    shown = value if isinstance(value, str) else f"{value:,.4g}"
    marks = {None: "", True: "  ok", False: "  below" if finding["target"] else "  FAILED"}
    bound = f"  ({finding['bound']})" if finding["bound"] else ""
    return f"  {finding['name']:<46} {shown} {finding['unit']}{bound}{marks[finding['passed']]}"


if __name__ == "__main__":
    sys.exit(main())
