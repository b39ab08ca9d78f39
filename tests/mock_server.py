#!/usr/bin/env python3
"""A server on loopback that misbehaves on request: a model hub (GET) and an OpenAI-compatible endpoint (POST).

Usage: mock_server.py FOLDER [CERTIFICATE.pem]. With a certificate (and its key) it speaks TLS. Prints its port, and writes
every request as a line of JSON to FOLDER/requests.jsonl (GET: path, range, if_range, authorization, host; POST: path,
authorization, body). It ends when standard input is closed. Files of the hub are FOLDER/files/OWNER/NAME/PATH.

FOLDER/faults.json is read anew with every request: {"NAME": {...}}.

The hub's NAME is the last part of a path, "api" for lists:
  cut: N            close the connection after N bytes of the body, once
  fail: [503, ..]   answer with these statuses first; retry_after: header of those answers
  no_range: true    ignore Range; other_range: true answers with a range that was not asked for
  wrong_bytes: N    flip a byte, the first N times
  longer: N         claim N bytes more than there are in the list of files
  redirect: URL     answer with a redirect; "{}" stands for the path
  status: N         always this status
  etag: TEXT        in place of the usual one
  html: true        as a web page
  stall: true       send the head and nothing else, once
  token: TEXT       401 without that bearer token

The endpoint's NAME is the last message's text, "*" for all others. Faults with a count happen to the first so many requests
of that prompt:
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
import hashlib
import http.server
import json
import pathlib
import re
import ssl
import sys
import threading
import time
import urllib.parse

FOLDER = pathlib.Path(sys.argv[1])
seen: dict[str, int] = {}  # how often a fault happened, or a prompt was asked
lock = threading.Lock()


def count(key: str) -> int:
    with lock:
        seen[key] = seen.get(key, 0) + 1
        return seen[key]


def write_down(request: dict) -> None:
    with lock, open(FOLDER / "requests.jsonl", "a") as log:
        log.write(json.dumps(request) + "\n")


def read_faults() -> dict:
    file = FOLDER / "faults.json"
    return json.loads(file.read_text()) if file.exists() else {}


def listing(repository: str, faults: dict) -> dict:
    folder = FOLDER / "files" / repository
    siblings = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name, data = path.relative_to(folder).as_posix(), path.read_bytes()
        size = len(data) + faults.get(path.name, {}).get("longer", 0)
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        entry = {"rfilename": name, "size": size, "blobId": blob}
        if name.endswith((".safetensors", ".gguf")):
            entry["blobId"] = "0" * 40  # of a pointer
            entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": size, "pointerSize": 130}
        siblings.append(entry)
    for name in faults.get("api", {}).get("extra_names", []):
        siblings.append({"rfilename": name, "size": 1, "blobId": "0" * 40})
    return {"id": repository, "sha": "0123456789abcdef0123456789abcdef01234567", "siblings": siblings}


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
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def answer_chat(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None,
                    length: int | None = None):
        self.answer(status, body, {"X-Request-Id": "req-1"} | (headers or {}), length)

    def do_GET(self):
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        names = {"range": "Range", "if_range": "If-Range", "authorization": "Authorization", "host": "Host"}
        write_down({"path": path} | {k: self.headers.get(h) for k, h in names.items()})
        faults = read_faults()
        is_list = path.startswith("/api/models/")
        name = "api" if is_list else path.rsplit("/", 1)[-1]
        fault = faults.get(name, {})
        if "token" in fault and self.headers.get("Authorization") != "Bearer " + fault["token"]:
            return self.answer(401)
        if "fail" in fault and (n := count("fail " + name)) <= len(fault["fail"]):
            return self.answer(fault["fail"][n - 1], b"later", {"Retry-After": fault.get("retry_after", "")})
        if "status" in fault:
            return self.answer(fault["status"], b"no", {"X-Error-Message": fault.get("message", "")})
        if is_list:
            repository = re.sub(r"/revision/.*", "", path.removeprefix("/api/models/"))
            if not (FOLDER / "files" / repository).is_dir():
                return self.answer(404)
            return self.answer(200, json.dumps(listing(repository, faults)).encode())
        if "redirect" in fault:
            headers = {"Location": fault["redirect"].replace("{}", path)}
            if "linked_etag" in fault:
                headers["X-Linked-Etag"] = fault["linked_etag"]
            return self.answer(302, b"elsewhere", headers)
        self.send_file(re.sub(r"/resolve/[^/]*/", "/", path), name, fault)

    def send_file(self, path: str, name: str, fault: dict):
        file = FOLDER / "files" / path.lstrip("/")
        if not file.is_file():
            return self.answer(404)
        data = bytearray(file.read_bytes())
        etag = fault.get("etag", '"%s"' % hashlib.md5(data).hexdigest())
        if fault.get("wrong_bytes", 0) >= count("bytes " + name):
            data[len(data) // 2] ^= 1
        headers = {"ETag": etag, "Content-Type": "text/html" if fault.get("html") else "application/octet-stream"}
        begin, status = 0, 200
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if asked and not fault.get("no_range") and self.headers.get("If-Range", etag) == etag:
            begin, status = int(asked[1]), 206
            if begin >= len(data):
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            first = 0 if fault.get("other_range") and count("range " + name) == 1 else begin
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        body = bytes(data[begin:])
        if "cut" in fault and count("cut " + name) == 1:
            self.answer(status, body[: fault["cut"]], headers, length=len(body))
            self.close_connection = True
            return None
        if fault.get("stall") and count("stall " + name) == 1:
            self.answer(status, body[:10], headers, length=len(body))
            self.wfile.flush()
            threading.Event().wait(3)
            self.close_connection = True
            return None
        return self.answer(status, body, headers)

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        write_down({"path": self.path, "authorization": self.headers.get("Authorization"), "body": asked})
        prompt = asked["messages"][-1]["content"]
        faults = read_faults()
        fault = faults.get(prompt, faults.get("*", {}))
        attempt = count(prompt)
        if self.path != "/v1/chat/completions":
            return self.answer_chat(404, b'{"error": {"message": "no such path"}}')
        time.sleep(fault.get("wait", 0))
        failures = fault.get("fail", [])
        if attempt <= len(failures) or "status" in fault:
            status = failures[attempt - 1] if attempt <= len(failures) else fault["status"]
            key = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            error = {"message": fault.get("message", "no").replace("{key}", key), "code": fault.get("code")}
            headers = {"Retry-After": fault["retry_after"]} if "retry_after" in fault else {}
            return self.answer_chat(status, json.dumps({"error": error}).encode(), headers)
        if "redirect" in fault:
            return self.answer_chat(307, b"elsewhere", {"Location": fault["redirect"]})
        body = json.dumps(fault.get("body", answer_to(prompt, fault))).encode()
        if attempt <= fault.get("invalid", 0):
            return self.answer_chat(200, b'{"choices": [{"message"')
        if attempt <= fault.get("stall", 0):
            threading.Event().wait(5)
            self.close_connection = True
            return None
        if attempt <= fault.get("close", 0):
            self.close_connection = True
            return None
        if attempt <= fault.get("cut", 0):
            self.answer_chat(200, body[: len(body) // 2], length=len(body))
            self.close_connection = True
            return None
        if attempt <= fault.get("stream", 0):
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"10\r\n" + body[:16] + b"\r\n")
            self.close_connection = True
            return None
        return self.answer_chat(200, body)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_args):
        pass  # the client went away


def main() -> None:
    server = Server(("127.0.0.1", 0), Handler)
    if len(sys.argv) > 2:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
