"""Published files: the errors a user meets, against a server that answers as the Hub does."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from published import write_c4
from pydantic import ValidationError

from underspec.data.published_files import download, missing_shards
from underspec.errors import UserError
from underspec.schema import Source

SCRIPTS = Path(__file__).parents[3] / "scripts"
NAME = "en/c4-train.00000-of-01024.json.gz"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """The dataset allenai/c4 at the revision `kept`, of one file, and nothing else."""

    def answer(self, status=200, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self):
        content = self.server.file.read_bytes()
        if "/allenai/c4" not in self.path:
            self.answer(404, X_Error_Code="RepoNotFound")
        elif self.path.startswith("/api/datasets/allenai/c4/revision/kept"):
            listing = {"id": "allenai/c4", "sha": COMMIT, "siblings": [{"rfilename": NAME}]}
            self.answer(body=json.dumps(listing).encode(), Content_Type="application/json")
        elif self.path.startswith(f"/datasets/allenai/c4/resolve/{COMMIT}/{NAME}"):
            self.answer(body=content, ETag='"etag"', X_Repo_Commit=COMMIT)
        elif f"/{COMMIT}" in self.path:
            self.answer(
                body=json.dumps([{"type": "file", "path": NAME, "size": 1, "oid": "a"}]).encode(),
                Content_Type="application/json",
            )
        else:
            self.answer(404, X_Error_Code="RevisionNotFound")

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.file = write_c4(tmp_path / "served", [["one page", "another"]]) / NAME
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def fetch(folder, endpoint, name="allenai/c4", revision="kept"):
    """The rule `fetch` of the world c4, with a Hub of its own and an empty cache."""
    options = {"source": {"name": name, "revision": revision}, "files": 1}
    return subprocess.run(
        [sys.executable, SCRIPTS / "fetch.py", "--world", "c4", "--options", json.dumps(options)]
        + ["--output", folder / "raw", "--log", folder / "fetch.log"],
        env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "cache")}
        | {"HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
    )


def test_a_download_and_what_the_link_says(hub, tmp_path):
    done = fetch(tmp_path, hub)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "raw/source").resolve().name == COMMIT
    served = tmp_path / "served" / NAME
    assert (tmp_path / "raw/source" / NAME).read_bytes() == served.read_bytes()
    assert fetch(tmp_path, hub).returncode == 0  # again, into the same folder


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
    done = fetch(tmp_path, "http://127.0.0.1:9")  # nobody listens there
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
    found = download(Source(name="./c4", revision="unused"), [NAME], "dataset")
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
