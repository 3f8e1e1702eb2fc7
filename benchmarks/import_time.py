"""What ``import ppl`` costs beyond numpy's own import, and what it loads: python benchmarks/import_time.py [--write]"""

import argparse
import json
import statistics
import subprocess
import sys

from common import machine, write

PROBE = """
import json, sys, time
start = time.perf_counter()
import numpy
between = time.perf_counter()
import ppl
end = time.perf_counter()
print(json.dumps([between - start, end - between, [name for name in ("torch", "jax", "scipy") if name in sys.modules]]))
"""


def main():
    parser = argparse.ArgumentParser(description="Import time of ppl beyond numpy's.")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--write", action="store_true", help="replace this benchmark's part of benchmarks/README.md")
    options = parser.parse_args()
    runs = []
    # The first import writes the byte code and warms the disk cache.
    for repeat in range(options.repeats + 1):
        done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
        if repeat:
            runs.append(json.loads(done.stdout))
    numpy_ms, ppl_ms = (sorted(1e3 * run[column] for run in runs) for column in (0, 1))
    loaded = sorted({name for run in runs for name in run[2]})
    text = "\n".join(
        [
            f"Import time over {len(runs)} fresh processes; {machine()}.",
            "",
            "| | median ms | least | most |",
            "|---|---:|---:|---:|",
            *(
                f"| {label} | {statistics.median(times):.0f} | {times[0]:.0f} | {times[-1]:.0f} |"
                for label, times in (("`import numpy`", numpy_ms), ("then `import ppl`", ppl_ms))
            ),
            "",
            f"Loaded besides: {', '.join(loaded) or 'neither torch, jax nor scipy'}.",
        ]
    )
    print(text)
    if options.write:
        write("import time", text)


if __name__ == "__main__":
    main()
