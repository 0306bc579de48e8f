# SPDX-License-Identifier: Apache-2.0
"""Makes one archive of the objects of others, which may be thin.

usage: merge_archives.py OUTPUT ARCHIVE..."""

import pathlib
import subprocess
import sys


def main():
    output, *archives = sys.argv[1:]
    objects = []
    for archive in archives:
        objects += subprocess.run(["ar", "t", archive], check=True, capture_output=True, text=True).stdout.splitlines()
    pathlib.Path(output).unlink(missing_ok=True)
    subprocess.run(["ar", "qcs", output, *objects], check=True)  # q: two may have the same name


main()
