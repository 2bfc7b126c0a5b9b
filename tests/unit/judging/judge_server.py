"""A real HTTP server on loopback that speaks the protocol of a judge, and misbehaves on purpose."""

import contextlib
import email.utils
import hashlib
import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = "test-judge"
SLOW_SECONDS = 0.6  # longer than the time-out of those tests


def completion(content, model=MODEL, finish_reason="stop", **message):
    choice = {"index": 0, "finish_reason": finish_reason}
    choice["message"] = {"role": "assistant", "content": content, **message}
    usage = {"prompt_tokens": 50, "completion_tokens": 7, "total_tokens": 57}
    return {"object": "chat.completion", "model": model, "choices": [choice], "usage": usage}


# What a fault answers: status, body (text or JSON) and headers.
FAULTS = {
    "rate limit": (429, {"error": "slow down"}, {"Retry-After": "0.01"}),
    "rate limit, to a date": (429, "", {"Retry-After": "date"}),
    "rate limit, no header": (429, "", {}),
    "server error": (500, "oops", {}),
    "overloaded": (503, "", {"Retry-After": "soon"}),
    "slow": (200, completion("Verdict: A"), {}),
    "hangs up": None,
    "truncated JSON": (200, json.dumps(completion("Verdict: A"))[:80], {}),
    "no JSON": (200, "<html>a proxy</html>", {}),
    "no choices": (200, {"model": MODEL, "choices": []}, {}),
    "another shape": (200, {"model": MODEL, "choices": [{"message": "Verdict: A"}]}, {}),
    "another model": (200, completion("Verdict: A", model="cheaper-judge"), {}),
    "refused": (200, completion(None, refusal="I cannot help with that."), {}),
    "filtered": (200, completion("Verdict: A", finish_reason="content_filter"), {}),
    "empty": (200, completion("  \n"), {}),
    "truncated": (200, completion("Verdict: A", finish_reason="length"), {}),
    "unparsed": (200, completion("Both are fine. Verdict: A or B"), {}),
    "rejected": (400, {"error": {"message": "too long"}}, {}),
    "echoes the key": (500, "key", {}),
}


class JudgeServer:
    """answer: from the request's JSON to the words of the judge; fault: from the JSON and how often
    this question has been asked to a name in FAULTS, or None.

    asked: how often each question was asked, by its prompt and seed; answered: those whose answer
    was sent without a fault; keys: the Authorization headers.
    """

    def __init__(self, answer, fault):
        self.answer, self.fault = answer, fault
        self.asked, self.faults, self.keys = Counter(), Counter(), set()
        self.bodies, self.answered = [], Counter()
        self.lock = threading.Lock()

    def respond(self, handler, body):
        question = body["messages"][0]["content"]
        with self.lock:
            self.asked[question] += 1
            self.bodies.append(body)
            self.keys.add(handler.headers["Authorization"])
            kind = self.fault(body, self.asked[question])
            if kind:
                self.faults[kind] += 1
        if kind is None:
            with self.lock:
                self.answered[question] += 1
            return 200, completion(self.answer(body)), {}
        if kind == "slow":
            time.sleep(SLOW_SECONDS)
        if kind == "echoes the key":
            return 500, f"wrong key: {handler.headers['Authorization']}", {}
        return FAULTS[kind]


@contextlib.contextmanager
def judge_server(answer=lambda body: "Verdict: A", fault=lambda body, asked: None):
    """Yields a JudgeServer and its URL."""
    judge = JudgeServer(answer, fault)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            content = self.rfile.read(int(self.headers["Content-Length"]))
            found = judge.respond(self, json.loads(content))
            if found is None or self.path != "/v1/chat/completions":
                self.close_connection = True
                return
            status, body, headers = found
            sent = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(sent)))
            for name, value in headers.items():
                date = email.utils.formatdate(time.time(), usegmt=True)
                self.send_header(name, date if value == "date" else value)
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *args):
            pass

        def handle(self):
            with contextlib.suppress(OSError):  # the client has gone
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    try:
        yield judge, f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


def share_of(body, salt=""):
    """A number from 0 to 1 that depends on the question alone."""
    digest = hashlib.sha256((salt + body["messages"][0]["content"]).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
