"""Upgrades and downgrades a cluster of three processes, one node at a time and under writes, with two programs: this one,
and the same built with the feature `next-version`, which is one version ahead and has one command more (`hezong rename`).
Shows what docs/upgrades.md promises, and that every acknowledged write is there in the end.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

PATIENCE = 120
GIVEN = set()
VERSION_NEEDED = "this needs cluster version 2, and the cluster is at 1; upgrade "


def build(root):
    """Both programs, in the profile that the tests were built in. Features are told apart by cargo, so neither is built twice."""
    programs = []
    for name, features in [("old", []), ("new", ["--features", "next-version"])]:
        subprocess.run(["cargo", "build", "--quiet", "-p", "hezong", *features], check=True)
        programs.append(shutil.copy("target/debug/hezong", os.path.join(root, name)))
    return programs


def free_address():
    """Below the ports that the system gives to outgoing connections, one of which could take it while its node is down."""
    while True:
        port = random.randrange(10_000, 12_000)
        with socket.socket() as probe:
            if port not in GIVEN and probe.connect_ex(("127.0.0.1", port)) != 0:
                GIVEN.add(port)
                return f"127.0.0.1:{port}"


def until(what, condition):
    limit = time.monotonic() + PATIENCE
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > limit:
            raise SystemExit(f"FAIL within {PATIENCE} s: {what}")
        time.sleep(0.1)


def check(what, holds, detail=""):
    if not holds:
        raise SystemExit(f"FAIL {what}: {detail}")
    print(f"ok   {what}", flush=True)


class Node:
    def __init__(self, root, label):
        self.label = label
        self.http, self.peer = free_address(), free_address()
        self.folder, self.log = os.path.join(root, label), os.path.join(root, label + ".log")
        self.process = None

    def start(self, program, *args):
        log = open(self.log, "ab")
        command = [program, "node", "--id", self.label, "--http", self.http, "--peer", self.peer, *args, self.folder]
        self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(PATIENCE) != 0:
            raise SystemExit(f"FAIL {self.label} did not stop cleanly; see {self.log}")

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def ask(self, path):
        try:
            with urllib.request.urlopen(f"http://{self.http}{path}", timeout=10) as reply:
                return json.load(reply)
        except (OSError, urllib.error.HTTPError):
            return None

    def wait_ready(self):
        until(f"{self.label} is ready", lambda: self.ask("/ready"))

    def restart(self, program):
        self.stop()
        self.start(program)
        self.wait_ready()

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def digest(self):
        """Of every file of its folder."""
        whole = hashlib.sha256()
        for folder, folders, files in os.walk(self.folder):
            folders.sort()
            for name in sorted(files):
                with open(os.path.join(folder, name), "rb") as file:
                    whole.update(f"{folder}/{name}\n".encode() + file.read())
        return whole.hexdigest()


class Writer(threading.Thread):
    """Writes numbered keys, one after the other, and keeps which were acknowledged."""

    def __init__(self, program, nodes):
        super().__init__(daemon=True)
        self.command = [program, "put", "-e", ",".join(node.http for node in nodes), "--timeout", "60"]
        self.acknowledged, self.failed, self.over = [], [], False

    def run(self):
        number = 0
        while not self.over:
            number += 1
            done = subprocess.run([*self.command, f"n/{number:06}", str(number)], capture_output=True, text=True)
            (self.acknowledged if done.returncode == 0 else self.failed).append((number, done.stderr))


def run(program, *args):
    return subprocess.run([program, *args], capture_output=True, text=True, timeout=PATIENCE)


def voters(node):
    return [member["suffrage"] for member in (node.ask("/members") or {"members": []})["members"]].count("voter")


def wait_version(nodes, name, version):
    until(f"{name} is {version} on all", lambda: all((node.ask("/status") or {}).get(name) == version for node in nodes))
    check(f"{name} {version} on {', '.join(node.label for node in nodes)}", True)


def rename_refused(new, node, older):
    wanted = VERSION_NEEDED + ", ".join(f"{other.label} (version 1)" for other in older)

    def named():
        done = run(new, "rename", "-e", node.http, "before", "after")
        if done.returncode != 1 or VERSION_NEEDED not in done.stderr:
            raise SystemExit(f"FAIL rename at {node.label}: exit code {done.returncode}, {done.stderr}")
        return wanted in done.stderr

    # Whoever leads hears of the new program only once it is connected to it.
    until(f"rename refused at {node.label}: {wanted}", named)
    check(f"rename refused at {node.label}: {wanted}", True)


def upgrade(nodes, old, new):
    """One at a time; what only the new program knows is refused until the last."""
    for done, node in enumerate(nodes, 1):
        node.restart(new)
        if done < len(nodes):
            rename_refused(new, node, nodes[done:])
    wait_version(nodes, "clusterVersion", 2)


def downgrade(nodes, old):
    for node in nodes:
        node.restart(old)
        wait_version(nodes, "clusterVersion", 1)


def use(nodes, old, new):
    """First while a node is away, that then comes back with the older program."""
    away, rest = nodes[2], nodes[:2]
    away.stop()
    done = run(new, "rename", "-e", rest[0].http, "before", "after")
    check("rename done", done.returncode == 0, done.stderr)
    wait_version(rest, "usedVersion", 2)
    found = run(new, "get", "-e", rest[0].http, "after")
    check("the value has moved", found.stdout == "value\n", found.stdout + found.stderr)

    away.start(old)
    until("the older node is told", lambda: "it speaks versions 2 to 2 of the peer protocol" in away.said())
    until("the others tell", lambda: all("speaking versions 1 to 1" in node.said() for node in rest))
    check("the node that was away and comes back older gets nothing", (away.ask("/status") or {}).get("usedVersion") == 1)
    away.restart(new)
    wait_version(nodes, "usedVersion", 2)


def refused_from_then_on(root, nodes, old, new):
    node = nodes[1]
    node.stop()
    before = node.digest()
    node.start(old)
    check("the older program refuses the folder", node.process.wait(PATIENCE) == 1, node.process.returncode)
    said = f"{node.folder}/identity has format 2: cluster version 2 was used in this folder, and this program knows up to 1"
    check(f"it says: {said}", said in node.said(), node.said()[-500:])
    check("and has touched nothing", node.digest() == before)
    node.start(new)
    node.wait_ready()

    late = Node(root, "node04")
    late.start(old, "--join", nodes[0].http)
    check("the older program cannot join", late.process.wait(PATIENCE) == 1, late.process.returncode)
    said = "node04 knows versions up to 1, and cluster version 2 is in use here"
    check(f"it is told: {said}", said in late.said(), late.said())
    check("and its folder is as it was", not os.path.exists(late.folder))
    late.start(new, "--join", nodes[0].http)
    late.wait_ready()
    check("the newer program joins", late.ask("/status")["usedVersion"] == 2)
    return late


def backup_carries_it(root, nodes, old, new):
    file, folder = os.path.join(root, "backup"), os.path.join(root, "restored")
    taken = run(new, "backup", "-e", nodes[0].http, file)
    check("backup taken", taken.returncode == 0, taken.stderr)
    restore = ["restore", file, folder, "--id", "again01", "--http", free_address(), "--peer", free_address()]
    done = run(old, *restore)
    said = "it is of version 2, and this program reads from version 1 to version 1"
    check(f"the older program cannot restore it: {said}", done.returncode == 1 and said in done.stderr, done.stderr)
    done = run(new, *restore)
    with open(os.path.join(folder, "identity"), encoding="utf-8") as identity:
        first = identity.readline()
    check("what the newer one restores is refused by the older", (done.returncode, first) == (0, "hezong identity 2\n"), first)


def all_there(program, node, writer):
    until("many writes are acknowledged", lambda: len(writer.acknowledged) > 100)
    writer.over = True
    writer.join()
    lines = run(program, "scan", "-e", node.http, "n/").stdout.splitlines()
    found = dict(line.split("\t") for line in lines)
    lost = [number for number, _ in writer.acknowledged if found.get(f"n/{number:06}") != str(number)]
    check(f"all {len(writer.acknowledged)} acknowledged writes are there", not lost, lost[:10])
    check("and none failed", not writer.failed, writer.failed[:3])


def main():
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    root = tempfile.mkdtemp(prefix="hezong-upgrade-")
    old, new = build(root)
    nodes = [Node(root, f"node{number:02}") for number in (1, 2, 3)]
    everybody = list(nodes)
    try:
        nodes[0].start(old, "--bootstrap")
        nodes[0].wait_ready()
        for node in nodes[1:]:
            node.start(old, "--join", nodes[0].http)
            node.wait_ready()
        until("all vote", lambda: voters(nodes[0]) == 3)
        check("a key set", run(old, "put", "-e", nodes[0].http, "before", "value").returncode == 0)
        writer = Writer(old, nodes)
        writer.start()
        upgrade(nodes, old, new)
        downgrade(nodes, old)
        upgrade(nodes, old, new)
        use(nodes, old, new)
        everybody.append(refused_from_then_on(root, nodes, old, new))
        backup_carries_it(root, nodes, old, new)
        all_there(new, nodes[0], writer)
        for node in everybody:
            node.stop()
    except BaseException:
        print(f"logs are kept in {root}", file=sys.stderr)
        root = None
        raise
    finally:
        for node in everybody:
            node.kill()
        if root:
            shutil.rmtree(root)


if __name__ == "__main__":
    main()
