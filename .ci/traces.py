"""A write as an OpenTelemetry collector sees it: three nodes export to a server here, which reads what comes with the
messages that the OpenTelemetry project publishes (opentelemetry-proto), and shows the tree that docs/tracing.md draws.
"""

import collections
import http.server
import os
import re
import subprocess
import sys
import tempfile
import threading
import time

TOOLS = "target/trace-tools"
if not sys.prefix.endswith(TOOLS):
    if not os.path.exists(f"{TOOLS}/bin/python"):
        if subprocess.run([sys.executable, "-m", "venv", TOOLS], capture_output=True).returncode:
            subprocess.run(["apt-get", "install", "-y", "-qq", "python3-venv"], check=True, stdout=subprocess.DEVNULL)
            subprocess.run([sys.executable, "-m", "venv", TOOLS], check=True)
        subprocess.run([f"{TOOLS}/bin/pip", "install", "--quiet", "opentelemetry-proto==1.*"], check=True)
    os.execv(f"{TOOLS}/bin/python", [f"{TOOLS}/bin/python", *sys.argv])

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: E402
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

HEZONG = os.environ.get("HEZONG", "target/release/hezong")
PATIENCE = 120
PORT = 20000 + os.getpid() % 10000
ENDPOINTS = f"127.0.0.1:{PORT}"
STEPS = ["hezong.apply", "hezong.commit", "hezong.disk", "hezong.queue", "hezong.replicate", "hezong.replicate"]
seen = collections.defaultdict(list)


class Collector(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        for of_process in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = {one.key: one.value.string_value for one in of_process.resource.attributes}
            assert resource["service.name"] == "hezong", resource
            for scope in of_process.scope_spans:
                for span in scope.spans:
                    seen[span.trace_id.hex()].append((resource["service.instance.id"], span))
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def tree(trace):
    """Name, node and children of every span, the earliest first."""
    spans = sorted(seen[trace], key=lambda pair: pair[1].start_time_unix_nano)
    ids = {span.span_id for _, span in spans}

    def below(parent):
        return [(span.name, node, below(span.span_id)) for node, span in spans if span.parent_span_id == parent]

    return [one for parent in {span.parent_span_id for _, span in spans} - ids for one in below(parent)]


def lines(nodes, depth=0):
    for name, node, children in nodes:
        yield f"{'  ' * depth + name:<26}{node}"
        yield from lines(children, depth + 1)


def what_is_wrong(trace):
    """Why this is not one write over three nodes, each step once; None if it is."""
    writes = [one for one in tree(trace) if any(kind == "hezong.apply" for kind, _, _ in one[2])]
    if len(writes) != 1:
        return f"{len(writes)} writes"
    [(_, leader, steps)] = writes
    names = sorted(name for name, _, _ in steps)
    if names != STEPS:
        return names
    nodes = {leader}
    for _, _, children in (step for step in steps if step[0] == "hezong.replicate"):
        if len(children) != 1:
            return f"{len(children)} followed: {children}"
        [(follow, node, disks)] = children
        if (follow, disks) != ("hezong.follow", [("hezong.disk", node, [])]):
            return children
        nodes.add(node)
    return None if len(nodes) == 3 else nodes


def hezong(*arguments):
    return subprocess.run([HEZONG, *arguments, "-e", ENDPOINTS], capture_output=True, text=True)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
threading.Thread(target=server.serve_forever, daemon=True).start()
environment = os.environ | {"HEZONG_TRACE_ENDPOINT": "http://127.0.0.1:%d" % server.server_port}
with tempfile.TemporaryDirectory() as folder:
    up = [HEZONG, "up", "--data", os.path.join(folder, "data"), "--http-port", str(PORT), "--peer-port", str(PORT + 10)]
    cluster = subprocess.Popen(up, env=environment, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        limit = time.monotonic() + PATIENCE
        while hezong("members").stdout.count("voter") < 2:
            assert time.monotonic() < limit and cluster.poll() is None, hezong("members")
            time.sleep(0.1)
        # Once more if a follower was not fed yet when the others were done, the leader changed, or a frame was sent again.
        while True:
            put = hezong("put", "--timeout", "60", "--traceparent", "new", "foo", "bar")
            trace = re.fullmatch(r"trace ([0-9a-f]{32})\n", put.stderr)
            assert trace, put.stderr
            trace, soon = trace.group(1), time.monotonic() + 10
            while (wrong := what_is_wrong(trace)) and time.monotonic() < soon:
                time.sleep(0.1)
            # What comes late would be too much.
            time.sleep(1)
            wrong = what_is_wrong(trace)
            if not wrong:
                break
            assert time.monotonic() < limit, (wrong, list(lines(tree(trace))))
    finally:
        cluster.terminate()
        cluster.communicate(timeout=PATIENCE)

print("trace", trace)
print("\n".join(lines(tree(trace))))
print("ok   one write is one trace over three nodes, as OpenTelemetry's own messages read it")
