#!/usr/bin/env python3
"""`hezong check` judges the 102 logs that Jepsen left of etcd 0.4 ("Jepsen: etcd and Consul", 2014), whose verdicts others
have published. Logs and verdicts come with the crate todc-utils (MIT), which is fetched and not kept.

    python3 .ci/jepsen.py [HEZONG]        (built by cargo build --release)
"""

import hashlib
import io
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from pathlib import Path

CRATE = "todc-utils-0.1.1"
URL = f"https://static.crates.io/crates/todc-utils/{CRATE}.crate"
SHA256 = "31623b62ec5aef52e867b3515907222e709571a5228180b3a543b5e03de25a9d"
# What the program's exit code says (docs/checking.md).
VERDICTS = {0: "true", 1: "false"}

hezong = sys.argv[1] if len(sys.argv) > 1 else "target/release/hezong"
crate = urllib.request.urlopen(URL, timeout=60).read()
assert hashlib.sha256(crate).hexdigest() == SHA256, f"{URL} is not what it was"
with tempfile.TemporaryDirectory() as folder:
    tarfile.open(fileobj=io.BytesIO(crate)).extractall(folder, filter="data")
    tests = Path(folder, CRATE, "tests/linearizability")
    known = re.findall(r'"(\d{3})", (true|false)', tests.joinpath("etcd.rs").read_text())
    assert len(known) == 102, f"{len(known)} verdicts, not 102"
    wrong, took = [], 0.0
    for number, verdict in known:
        began = time.monotonic()
        checked = subprocess.run([hezong, "check", tests / f"etcd/etcd_{number}.log"], capture_output=True, text=True, timeout=60)
        took += time.monotonic() - began
        if VERDICTS.get(checked.returncode) != verdict:
            wrong.append(f"etcd_{number}.log: linearizable: {verdict}; hezong ended with {checked.returncode}: {checked.stderr or checked.stdout}")
print("\n".join(wrong))
broken = sum(verdict == "false" for _, verdict in known)
print(f"{len(known)} logs, {broken} of them not linearizable; {len(wrong)} judged otherwise than known; {took:.1f} s")
sys.exit(1 if wrong else 0)
