"""A hub on the loopback that serves repositories from memory."""

import base64
import hashlib
import http.server
import json
import urllib.parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.ThreadingHTTPServer):
    """Repositories under /org/<name>; what was asked for is kept in `asked`."""

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Answer)
        self.files = files
        self.asked = []

    @property
    def address(self):
        """Where a client finds it."""
        return f"http://127.0.0.1:{self.server_port}"


class Answer(http.server.BaseHTTPRequestHandler):
    """The few answers of a hub that a download needs."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """Answer with headers and body."""
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        self.server.asked.append(path)
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self.describe(parts[3], parts[4:])
        elif parts[0] == "datasets":
            found = self.server.files.get(parts[2])
            no_repository = {"X-Error-Code": "RepoNotFound"}
            self.reply(401, {}, no_repository) if found is None else self.give(found.get("/".join(parts[5:])))
        else:
            self.give(self.server.files.get(parts[1], {}).get("/".join(parts[4:])))

    do_HEAD = do_GET  # noqa: N815  # the server's own spelling

    def do_POST(self):
        """Take a commit to a data set, whose files all go into the repository itself."""
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        parts = self.path.strip("/").split("/")
        files = self.server.files.get(parts[3])
        if files is None or self.headers["Authorization"] != "Bearer hf_writer":
            return self.reply(403, {"error": "no right to write"})
        if parts[4] == "preupload":
            paths = [file["path"] for file in json.loads(sent)["files"]]
            answers = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]
            return self.reply(200, {"files": answers})
        operations = [json.loads(line) for line in sent.splitlines()]
        added = {one["value"]["path"]: one["value"]["content"] for one in operations if one["key"] == "file"}
        files.update({path: base64.b64decode(content) for path, content in added.items()})
        return self.reply(200, {"commitUrl": f"{self.server.address}/datasets/org/x/commit/0", "commitOid": COMMIT})

    def describe(self, name, rest):
        """A repository's description, the list of its files, or whether one has access to it."""
        if name == "down":
            return self.reply(503, {})
        if name == "missing":
            return self.reply(401, {}, {"X-Error-Code": "RepoNotFound"})
        if rest == ["auth-check"]:
            return self.reply(403, {}, {"X-Error-Code": "GatedRepo"})
        if rest[:1] == ["revision"] and rest[1] not in ("main", COMMIT):
            return self.reply(404, {}, {"X-Error-Code": "RevisionNotFound"})
        files = self.server.files.get(name, {})
        size = 2**60 if name == "huge" else None
        if rest[:1] == ["tree"]:
            return self.reply(
                200, [{"type": "file", "path": path, "size": len(data), "oid": "0"} for path, data in files.items()]
            )
        siblings = [{"rfilename": path, "size": size or len(data), "blobId": "0"} for path, data in files.items()]
        gated = "manual" if name == "gated" else False
        return self.reply(200, {"id": f"org/{name}", "sha": COMMIT, "gated": gated, "siblings": siblings, "tags": []})

    def give(self, data):
        """A file's bytes under its digest."""
        if data is None:
            return self.reply(404, {}, {"X-Error-Code": "EntryNotFound"})
        etag = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": COMMIT}
        return self.reply(200, data, etag)

    def reply(self, status, body, headers=None):
        """Status, headers and, but for HEAD, the body."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_):
        """Say nothing."""
