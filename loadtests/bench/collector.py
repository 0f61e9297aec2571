"""An OTLP collector that counts spans and keeps none: `python -m loadtests.bench.collector`.

It is a separate process, so that it takes no time of the measuring one.
"""

import argparse
import gzip
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bodies: list[bytes] = []  # noqa: RUF012 - of all connections

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        is_packed = self.headers["content-encoding"] == "gzip"
        self.bodies.append(gzip.decompress(body) if is_packed else body)
        self._answer(b"")

    def do_GET(self) -> None:
        """Answer with the number of spans. Decoding them only now saves CPU during the run."""
        requests = map(ExportTraceServiceRequest.FromString, self.bodies)
        spans = sum(
            len(scope.spans)
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
        )
        self._answer(str(spans).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench.collector")
    parser.add_argument("--port", type=int, required=True)
    server = ThreadingHTTPServer(("127.0.0.1", parser.parse_args().port), _Handler)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
