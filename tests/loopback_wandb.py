"""A W&B server on loopback that takes runs, or refuses, hangs, or fails; enough GraphQL for W&B's uploader."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMITTED = {
    "id": "QXJ0",
    "digest": "",
    "state": "COMMITTED",
    "createdAt": "2026-01-01T00:00:00Z",
    "artifactSequence": {"id": "U2Vx", "latestArtifact": {"id": "QXJ0", "versionIndex": 0}},
}


class Server:
    """What it is asked to do ("works", "hangs", "fails") and what it was given.

    Attributes:
        history: Lines of the run's history by their offset, as the last upload left them.
        system_metrics: Lines of the load of the machine.
        console: Lines that the command printed.
        calls: Names of the GraphQL operations, in order, with their variables.
        files: Names of uploaded files.
    """

    def __init__(self) -> None:
        self.behaviour = "works"
        self.history: dict[int, dict] = {}
        self.system_metrics: list[dict] = []
        self.console: list[str] = []
        self.calls: list[tuple[str, dict]] = []
        self.files: list[str] = []
        self.is_complete = False
        self._released = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def named(self, operation: str) -> list[dict]:
        """The variables of each call of an operation."""
        return [variables for name, variables in self.calls if name == operation]

    def behave(self, behaviour: str) -> None:
        """From now on: "works", "hangs", "fails" (answers 500), or "refuses" (nobody listens any more)."""
        if behaviour == "refuses":
            self.close()
        self.behaviour = behaviour

    def close(self) -> None:
        self._released.set()
        self._http.shutdown()
        self._http.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                if server.behaviour == "hangs":
                    server._released.wait()
                    return
                is_fine = server.behaviour == "works"
                content = json.dumps(server._answer(self.path, body) if is_fine else {}).encode()
                self.send_response(200 if is_fine else 500)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = answer  # noqa: N815

            def log_message(self, *args) -> None:
                pass

        return Handler

    def _answer(self, path: str, body: bytes) -> dict:
        if path.endswith("/file_stream"):
            self._take_stream(json.loads(body))
            return {}
        if not path.startswith("/graphql"):
            self.files.append(path.removeprefix("/upload/"))
            return {}
        request = json.loads(body)
        name = re.search(r"(?:query|mutation)\s+(\w+)", request["query"]).group(1)
        variables = request.get("variables") or {}
        self.calls.append((name, variables))
        return {"data": self._operation(name, variables)}

    def _take_stream(self, stream: dict) -> None:
        part = stream.get("files", {}).get("wandb-history.jsonl")
        if part:
            lines = enumerate(map(json.loads, part["content"]), start=part["offset"])
            self.history.update(lines)
        self.system_metrics += map(json.loads, stream.get("files", {}).get("wandb-events.jsonl", {}).get("content", []))
        self.console += stream.get("files", {}).get("output.log", {}).get("content", [])
        self.is_complete = self.is_complete or bool(stream.get("complete"))

    def _operation(self, name: str, variables: dict) -> dict:
        project = {"id": "UA", "name": variables.get("project"), "entity": {"id": "RQ", "name": "someone"}}
        bucket = {"id": "UQ", "name": variables.get("name"), "displayName": variables.get("displayName")}
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in variables.get("files", [])]
        return {
            "Viewer": {"viewer": {"entity": "someone"}},
            "UpsertBucket": {
                "upsertBucket": {
                    "inserted": True,
                    "bucket": {**bucket, "config": "{}", "historyLineCount": 0, "project": project},
                }
            },
            "CreateRunFiles": {"createRunFiles": {"runID": "UQ", "uploadHeaders": [], "files": files}},
            "CreateArtifact": {"createArtifact": {"artifact": COMMITTED}},
            "UseArtifact": {"useArtifact": {"artifact": COMMITTED}},
            "NotifyScriptableRunAlert": {"notifyScriptableRunAlert": {"success": True}},
        }.get(name, {})


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    try:
        yield server
    finally:
        if server.behaviour != "refuses":
            server.close()
