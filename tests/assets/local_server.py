# SPDX-License-Identifier: Apache-2.0
"""A server on this machine that serves files, and misbehaves on request."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What a server serves, how it misbehaves, and what was asked of it."""

    files: dict[str, bytes]
    cut_after: list[int] = field(default_factory=list)  # bytes of each coming answer before its connection is cut
    knows_ranges: bool = True
    tells_length: bool = True
    status: int | None = None  # answer everything with this
    shift: int = 0  # of the range that is really sent
    url: str = ""
    asked: list[str | None] = field(default_factory=list)  # Range header of each request


@contextmanager
def served(site: Site) -> Iterator[Site]:
    """The site on a free port, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            site.asked.append(asked)
            content = site.files.get(self.path)
            if content is None or site.status is not None:
                self.send_error(site.status or 404)
                return
            first = 0
            if asked and site.knows_ranges and (match := re.fullmatch(r"bytes=(\d+)-", asked)):
                first = int(match[1]) + site.shift
                if first >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
                if self.path.endswith("/"):  # a page of a package index: pip reads no other kind
                    self.send_header("Content-Type", "text/html")
            body = content[first:]
            if site.tells_length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: site.cut_after.pop(0)] if site.cut_after else body)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
