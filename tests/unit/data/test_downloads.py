"""Published files: the errors a user meets, against a server that answers as the Hub does."""

import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from published import write_c4
from pydantic import ValidationError

from underspec.data.published_files import download, missing_shards
from underspec.errors import UserError
from underspec.schema import Source

SCRIPTS = Path(__file__).parents[3] / "scripts"
NAMES = [f"en/c4-train.0000{i}-of-01024.json.gz" for i in (0, 1)]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
JSON = {"Content_Type": "application/json"}


class Hub(BaseHTTPRequestHandler):
    """The dataset allenai/c4 at the revision `kept`, of two files, and nothing else.

    The server's `asked` are the file and the first byte of each download, in their order. Of its
    file `slow`, half comes before the connection waits for the event `go_on`, then breaks; this
    happens `breaks` times.
    """

    def answer(self, body=b"", status=200, **headers):
        self.send_response(status)
        for name, value in {"Content_Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self):
        resolved, _, name = self.path.partition(f"/datasets/allenai/c4/resolve/{COMMIT}/")
        if "/allenai/c4" not in self.path:
            self.answer(status=404, X_Error_Code="RepoNotFound")
        elif self.path.startswith("/api/datasets/allenai/c4/revision/kept"):
            files = [{"rfilename": name} for name in NAMES]
            listing = {"id": "allenai/c4", "sha": COMMIT, "siblings": files}
            self.answer(json.dumps(listing).encode(), **JSON)
        elif not resolved and name in NAMES:
            self.give(name)
        elif f"/{COMMIT}" in self.path:
            tree = [{"type": "file", "path": name, "size": 1, "oid": "a"} for name in NAMES]
            self.answer(json.dumps(tree).encode(), **JSON)
        else:
            self.answer(status=404, X_Error_Code="RevisionNotFound")

    do_HEAD = do_GET

    def give(self, name):
        content = (self.server.folder / name).read_bytes()
        about = {"ETag": f'"{NAMES.index(name)}"', "X_Repo_Commit": COMMIT}
        if self.command == "HEAD":
            return self.answer(content, **about)
        first = int(self.headers.get("Range", "bytes=0-")[len("bytes=") :].split("-")[0])
        self.server.asked.append((name, first))
        about["Content_Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        about["Content_Length"] = len(content) - first
        status = 206 if first else 200
        if name != self.server.slow or not self.server.breaks:
            return self.answer(content[first:], status, **about)
        self.server.breaks -= 1
        self.answer(content[first : len(content) // 2], status, **about)
        self.wfile.flush()
        self.server.go_on.wait()
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.folder = write_c4(tmp_path / "served", [["one page", "another"], ["a third page"]])
    server.asked, server.slow, server.breaks, server.go_on = [], None, 1, threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.go_on.set()
    server.shutdown()


def start(folder, hub, name="allenai/c4", revision="kept", files=1, offline="0", output="raw"):
    """The rule `fetch` of the world c4, with a Hub of its own. Its cache is in `folder`."""
    options = {"source": {"name": name, "revision": revision}, "files": files}
    endpoint = f"http://127.0.0.1:{hub.server_address[1]}" if hub else "http://127.0.0.1:9"
    return subprocess.Popen(
        [sys.executable, SCRIPTS / "fetch.py", "--world", "c4", "--options", json.dumps(options)]
        + ["--output", folder / output, "--log", folder / "fetch.log"],
        env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": "cache"}
        | {"HF_HUB_OFFLINE": offline, "NO_PROXY": "127.0.0.1"},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def fetch(*arguments, **keywords):
    job = start(*arguments, **keywords)
    return subprocess.CompletedProcess(job.args, stderr=job.communicate()[1], returncode=job.wait())


def is_fetched(folder, files=1, output="raw"):
    return all(
        (folder / output / "source" / name).read_bytes() == (folder / "served" / name).read_bytes()
        for name in NAMES[:files]
    )


def test_a_download_and_what_the_link_says(hub, tmp_path):
    done = fetch(tmp_path, hub)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "raw/source").resolve().name == COMMIT
    assert is_fetched(tmp_path)
    assert fetch(tmp_path, hub).returncode == 0  # again, into the same folder
    assert hub.asked == [(NAMES[0], 0)]


def test_what_has_been_downloaded_is_used_offline(hub, tmp_path):
    refused = fetch(tmp_path, hub, offline="1")
    said(refused, tmp_path, "allenai/c4: cannot be downloaded from the Hub (")
    assert fetch(tmp_path, hub).returncode == 0
    assert fetch(tmp_path, None, offline="1", output="other").returncode == 0
    assert is_fetched(tmp_path, output="other")
    refused = fetch(tmp_path, None, offline="1", files=2)
    said(refused, tmp_path, "allenai/c4: cannot be downloaded from the Hub (The cached snapshot")


def test_a_connection_that_breaks_goes_on_where_it_was(hub, tmp_path):
    (tmp_path / "served" / NAMES[0]).write_bytes(os.urandom(24 << 20))  # kept by 10 MiB
    hub.slow = NAMES[0]
    hub.go_on.set()
    done = fetch(tmp_path, hub)
    assert done.returncode == 0, done.stderr
    assert is_fetched(tmp_path)
    assert hub.asked == [(NAMES[0], 0), (NAMES[0], 10 << 20)]


def test_a_connection_that_breaks_again_and_again(hub, tmp_path):
    hub.slow, hub.breaks = NAMES[0], 100
    hub.go_on.set()
    said(fetch(tmp_path, hub), tmp_path, "allenai/c4: cannot be downloaded from the Hub (")
    assert not (tmp_path / "raw/source").exists()


def test_a_killed_download_goes_on_with_the_files_that_are_missing(hub, tmp_path):
    hub.slow = NAMES[1]
    job = start(tmp_path, hub, files=2)
    while not [*(tmp_path / "cache").rglob(NAMES[0])] or (NAMES[1], 0) not in hub.asked:
        assert job.poll() is None, job.communicate()
        time.sleep(0.1)
    job.kill()
    job.communicate()
    hub.slow, before = None, len(hub.asked)
    done = fetch(tmp_path, hub, files=2)
    assert done.returncode == 0, done.stderr
    assert is_fetched(tmp_path, files=2)
    assert hub.asked[before:] == [(NAMES[1], 0)]


def test_two_downloads_at_once_into_one_cache(hub, tmp_path):
    jobs = [start(tmp_path, hub, files=2, output=output) for output in ("raw", "other")]
    for job, output in zip(jobs, ("raw", "other"), strict=True):
        said = job.communicate()[1]
        assert job.returncode == 0, said
        assert is_fetched(tmp_path, files=2, output=output)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"revision": "gone"}, "allenai/c4: the Hub has no revision gone; name another"),
        ({"name": "allenai/c5"}, "allenai/c5: the Hub has no such dataset, or requires a login"),
        ({"name": "a/b/c"}, "a/b/c: the Hub has no such dataset"),
        ({"name": "./nowhere"}, "./nowhere: no such folder; correct its path in the config"),
    ],
)
def test_what_the_hub_does_not_have(hub, tmp_path, asked, message):
    said(fetch(tmp_path, hub, **asked), tmp_path, message)


def test_a_hub_out_of_reach(tmp_path):
    done = fetch(tmp_path, None)
    said(done, tmp_path, "allenai/c4: cannot be downloaded from the Hub (")
    said(done, tmp_path, "or name a local folder that has the files")


def said(done, folder, message):
    log = (folder / "fetch.log").read_text()
    errors = [line for line in log.splitlines() if " ERROR " in line]
    assert done.returncode == 1
    assert len(errors) == 1 and message in errors[0]
    assert "Traceback" not in log


@pytest.mark.parametrize("name", ["./here", "../here", "~/here", "/here"])
def test_which_names_are_folders(name):
    assert Source(name=name, revision="main").is_folder
    assert not Source(name=f"somebody{name[-5:]}", revision="main").is_folder


def test_a_folder_is_used_where_it_is(tmp_path, monkeypatch):
    write_c4(tmp_path / "c4", [["one"]])
    monkeypatch.chdir(tmp_path)
    found = download(Source(name="./c4", revision="unused"), NAMES[:1], "dataset")
    assert found == tmp_path / "c4"
    with pytest.raises(UserError, match=r"\./c4: no file en/\*\.parquet there"):
        download(Source(name="./c4", revision="unused"), ["en/*.parquet"], "dataset")


SHARDS = {
    "whole": (["a-00000-of-00002.parquet", "a-00001-of-00002.parquet"], []),
    "with digests": (["a-00000-of-00002-0a1b.parquet", "a-00001-of-00002-99ff.parquet"], []),
    "numbered from 1": (
        ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
        [],
    ),
    "of one": (["test-00000-of-00001.parquet"], []),
    "not numbered": (["0000.parquet", "b.parquet", "a-of-b.parquet"], []),
    "the first alone": (["data-00000-of-00003.x"], ["data-00001-of-00003", "data-00002-of-00003"]),
    "the last from 1": (["m-00002-of-00002.x"], ["m-00001-of-00002"]),
    "two sets": (
        ["a-00000-of-00001.x", "b-00001-of-00002-ff.x"],
        ["b-00000-of-00002"],
    ),
}


@pytest.mark.parametrize(("names", "missing"), SHARDS.values(), ids=SHARDS)
def test_which_shards_are_missing(names, missing):
    assert missing_shards(Path("folder") / name for name in names) == missing


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_part_of_the_shards_is_refused_by_name(tmp_path, lost):
    names = [f"train-{i:05d}-of-00003-ab{i}.parquet" for i in range(3)]
    for name in names:
        (tmp_path / name).touch()
    source = Source(name=str(tmp_path), revision="unused")
    assert download(source, ["train-*.parquet"], "dataset") == tmp_path
    (tmp_path / names[lost]).unlink()
    (tmp_path / names[lost]).symlink_to(tmp_path / "gone")  # as in a cache that was cleared
    line = rf"only a part of train-\*.parquet is there: train-0000{lost}-of-00003 missing; get the"
    with pytest.raises(UserError, match=line):
        download(source, ["train-*.parquet"], "dataset")
    rest = [name for name in names if name != names[lost]]
    assert download(source, rest, "dataset") == tmp_path  # these alone were asked for


@pytest.mark.parametrize("wrong", [{"revision": ""}, {"name": ""}, {"branch": "main"}])
def test_a_source_has_a_name_and_a_revision(wrong):
    with pytest.raises(ValidationError):
        Source(**{"name": "a/b", "revision": "main", **wrong})
