"""Types what a page (README.md, or the one named) tells its reader to type, and compares what comes back with what it shows.

The binary built for release is found as `hezong`. Only blocks fenced as ```console are run. A line that starts with `$ ` is a command; the lines below it are its output, in
which `…` stands for anything. `hezong up` runs in the background until the last block is done; the test command is left to
the rung that runs it anyway.
"""

import fnmatch
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

ELSEWHERE = {"cargo test --workspace"}


def blocks(page):
    for block in re.findall(r"^```console\n(.*?)^```", page, re.S | re.M):
        commands = []
        for line in block.splitlines():
            if line.startswith("$ "):
                commands.append((line[2:].split("   #")[0].strip(), []))
            elif commands:
                commands[-1][1].append(line)
        yield from commands


def ready(port, seconds):
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=1):
                return True
        except OSError:
            time.sleep(0.1)
    return False


def matches(shown, printed):
    pattern = "\n".join(line.rstrip() for line in shown).strip()
    pattern = pattern.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]").replace("…", "*")
    return fnmatch.fnmatchcase("\n".join(line.rstrip() for line in printed.splitlines()).strip(), pattern)


def typed(command):
    """Once more where there is no leader for the moment, as on a slow disk at any time, and as a reader would."""
    limit = time.monotonic() + 60
    while True:
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=300)
        if '"code":"no_leader"' not in done.stdout or time.monotonic() > limit:
            return done
        time.sleep(0.5)


def main():
    page = sys.argv[1] if len(sys.argv) > 1 else "README.md"
    os.environ["PATH"] = os.path.abspath("target/release") + ":" + os.environ["PATH"]
    with open(page, encoding="utf-8") as file:
        commands = list(blocks(file.read()))
    if len(commands) < 5:
        sys.exit(f"{page}: found hardly a command to run; the blocks are fenced as ```console")
    up, failures = None, 0
    try:
        for command, shown in commands:
            if command in ELSEWHERE:
                continue
            if command.endswith(" up"):
                up = subprocess.Popen(command.split(), stdout=subprocess.DEVNULL, start_new_session=True)
                if not all(ready(port, 180) for port in (8091, 8092, 8093)):
                    sys.exit(f"{page}: the three nodes were not ready within 180 s")
                continue
            done = typed(command)
            good = done.returncode == 0 and (not shown or matches(shown, done.stdout))
            print(f"{'ok  ' if good else 'FAIL'} {command}", flush=True)
            if not good:
                failures += 1
                print(f"exit code {done.returncode}, printed:\n{done.stdout}{done.stderr}", flush=True)
    finally:
        if up:
            os.killpg(up.pid, signal.SIGINT)
            if up.wait(120) != 0:
                failures += 1
                print("FAIL `up` did not stop cleanly")
    print(f"{len(commands) - failures} passed, {failures} failed")
    sys.exit(1 if failures else 0)


main()
