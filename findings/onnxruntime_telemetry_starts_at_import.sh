#!/usr/bin/env bash
# ONNX Runtime on Linux starts a telemetry client at import, and disable_telemetry_events() comes too late for it.
#
# Seen with ONNX Runtime 1.28.0, 1.29.0, 1.30.0 and 1.32.0 (wheels of the package index, Linux, x86-64, Python 3.11).
#
# Behaviour: from 1.29.0 on, `import onnxruntime` alone starts a thread, writes `.ses` with an identifier into the temporary
# folder and an event database below ~/.cache/Microsoft (XDG_CACHE_HOME). 1.29.0 and 1.30.0 also leave a log of debugging,
# `mat-debug-PID.log`, one a process. The function of the package that disables telemetry changes none of that, for it can be
# called only after the import. ORT_DISABLE_TELEMETRY=1 in the environment before the import leaves no thread and no file.
#
# Seen: 1.28.0: 0 threads, no file. 1.29.0, 1.30.0: 1 thread, .ses, log, database. 1.32.0: 1 thread, .ses, database. With the
# variable, 1.32.0: 0 threads, no file.
#
# Why it matters: networks are timed and deployed with these wheels. A device in the field that never had a network
# service in its inference process has one after an update of a package; a benchmark gets a thread that nobody started; a
# temporary folder in memory gets a file for each process.
#
# Exits with 1 when that has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet numpy==2.4.6
cat > "$place/look.py" <<'PYTHON'
import os, sys
from pathlib import Path

import numpy

def threads():
    return len(os.listdir("/proc/self/task"))

before = threads()
import onnxruntime

if "late" in sys.argv:
    onnxruntime.disable_telemetry_events()
names = sorted("mat-debug" if path.name.startswith("mat-debug") else path.name for path in Path(os.environ["TMPDIR"]).iterdir())
database = any(Path(os.environ["XDG_CACHE_HOME"]).rglob("*.db"))
print(onnxruntime.__version__, "threads", threads() - before, *names, "database" if database else "")
PYTHON
look() { # version, variable, word
  rm -rf "$place/tmp" "$place/cache"; mkdir "$place/tmp" "$place/cache"
  [ -d "$place/$1" ] || TMPDIR=/tmp "$place/venv/bin/pip" install --quiet --no-deps --target "$place/$1" "onnxruntime==$1"
  env -u ORT_DISABLE_TELEMETRY ${2:+$2} OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 TMPDIR="$place/tmp" XDG_CACHE_HOME="$place/cache" \
    PYTHONPATH="$place/$1" "$place/venv/bin/python" "$place/look.py" ${3:-} | sed 's/ *$//'
}
seen=$(look 1.28.0; look 1.29.0; look 1.30.0 "" late; look 1.32.0 "" late; look 1.32.0 ORT_DISABLE_TELEMETRY=1)
printf '%s\n' "$seen"
diff <(printf '%s\n' "$seen") - <<'EXPECTED'
1.28.0 threads 0
1.29.0 threads 1 .ses mat-debug database
1.30.0 threads 1 .ses mat-debug database
1.32.0 threads 1 .ses database
1.32.0 threads 0
EXPECTED
