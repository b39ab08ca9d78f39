#!/usr/bin/env python3
"""An OpenAI-compatible endpoint on loopback that fails on request, for tests/remote and tests/cli.

Usage: server.py FOLDER. Prints its port, and writes every request (path, authorization, body) as a line of JSON to
FOLDER/requests.jsonl. It ends when standard input is closed.

FOLDER/faults.json is read anew with every request: {"PROMPT": {...}} for the last message's text, "*" for all others. Faults
with a count happen to the first so many requests of that prompt:
  fail: [503, ..]   answer with these statuses first; status: N: always
  retry_after: TEXT a header of those answers; message: TEXT their error message ("{key}" is the bearer token), code: TEXT
  invalid: N        a body that is not JSON
  cut: N            the connection ends in the middle of the body
  stream: N         a chunked body without its end
  close: N          the connection ends without an answer
  stall: N          no answer for longer than anyone waits
  redirect: URL     answer with a redirect
  body: JSON        in place of the whole answer
  usage: JSON       in place of the true one (null: none)
  content, finish, refusal, model: in place of the usual ones; null content: none
  logprobs: JSON    the list "content" of the choice's "logprobs"
  wait: SECONDS     before the answer
"""
import http.server
import json
import pathlib
import sys
import threading
import time

FOLDER = pathlib.Path(sys.argv[1])
seen: dict[str, int] = {}
lock = threading.Lock()


def count(key: str) -> int:
    with lock:
        seen[key] = seen.get(key, 0) + 1
        return seen[key]


def answer_to(prompt: str, fault: dict) -> dict:
    message = {"role": "assistant", "content": fault.get("content", "Answer to: " + prompt)}
    if "refusal" in fault:
        message["refusal"] = fault["refusal"]
    choice = {"index": 0, "message": message, "finish_reason": fault.get("finish", "stop")}
    if "logprobs" in fault:
        choice["logprobs"] = {"content": fault["logprobs"]}
    body = {"id": "cmpl-1", "model": fault.get("model", "mock-1"), "choices": [choice]}
    usage = fault.get("usage", {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15})
    if usage is not None:
        body["usage"] = usage
    return body


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args):
        pass

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None, length: int | None = None):
        self.send_response(status)
        for name, value in ({"X-Request-Id": "req-1"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        with lock, open(FOLDER / "requests.jsonl", "a") as log:
            log.write(json.dumps({"path": self.path, "authorization": self.headers.get("Authorization"), "body": asked}) + "\n")
        prompt = asked["messages"][-1]["content"]
        faults_file = FOLDER / "faults.json"
        faults = json.loads(faults_file.read_text()) if faults_file.exists() else {}
        fault = faults.get(prompt, faults.get("*", {}))
        attempt = count(prompt)
        if self.path != "/v1/chat/completions":
            return self.answer(404, b'{"error": {"message": "no such path"}}')
        time.sleep(fault.get("wait", 0))
        failures = fault.get("fail", [])
        if attempt <= len(failures) or "status" in fault:
            status = failures[attempt - 1] if attempt <= len(failures) else fault["status"]
            key = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            error = {"message": fault.get("message", "no").replace("{key}", key), "code": fault.get("code")}
            headers = {"Retry-After": fault["retry_after"]} if "retry_after" in fault else {}
            return self.answer(status, json.dumps({"error": error}).encode(), headers)
        if "redirect" in fault:
            return self.answer(307, b"elsewhere", {"Location": fault["redirect"]})
        body = json.dumps(fault.get("body", answer_to(prompt, fault))).encode()
        if attempt <= fault.get("invalid", 0):
            return self.answer(200, b'{"choices": [{"message"')
        if attempt <= fault.get("stall", 0):
            threading.Event().wait(5)
            self.close_connection = True
            return None
        if attempt <= fault.get("close", 0):
            self.close_connection = True
            return None
        if attempt <= fault.get("cut", 0):
            self.answer(200, body[: len(body) // 2], length=len(body))
            self.close_connection = True
            return None
        if attempt <= fault.get("stream", 0):
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"10\r\n" + body[:16] + b"\r\n")
            self.close_connection = True
            return None
        return self.answer(200, body)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_args):
        pass  # the client went away


def main() -> None:
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
