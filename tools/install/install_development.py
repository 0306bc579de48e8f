# SPDX-License-Identifier: Apache-2.0
"""Installs the headers that policies and simulations need, CAF's headers and library, and perigee.pc. Called by `meson install`.

usage: install_development.py SOURCE CAF_PREFIX LIBDIR INCLUDEDIR VERSION

The headers are those of ROOTS and all that these include; they keep their paths, below INCLUDEDIR/perigee. What is installed
refers to itself by relative paths only: the folder can be moved."""

import os
import pathlib
import re
import shutil
import sys

ROOTS = ["actors/policy/*.hpp", "actors/sim/replay/simulation.hpp", "actors/sim/trace/*.hpp",
         "tests/actors/policy/policy_fixture.hpp"]

PC = """\
prefix=${{pcfiledir}}/{to_prefix}
libdir=${{pcfiledir}}/..
includedir=${{pcfiledir}}/{to_include}

Name: perigee
Description: routing policies for perigee, and the simulator that proves them
Version: {version}
Requires: libcrypto fmt libpcre2-8 libutf8proc
Cflags: -I${{includedir}}/perigee -isystem ${{includedir}}/perigee/caf -ffp-contract=off -pthread
Libs: -L${{libdir}} -lperigee ${{libdir}}/perigee/libcaf_core.a -pthread -ldl
"""


def closure(source):
    """All headers that ROOTS reach, as paths from the source folder."""
    todo = sorted(path.relative_to(source) for pattern in ROOTS for path in source.glob(pattern))
    found = set(todo)
    while todo:
        text = (source / todo.pop()).read_text()
        for name in re.findall(r'^#include "([^"]+)"', text, re.MULTILINE):
            path = pathlib.Path(name)
            if path not in found:
                found.add(path)
                todo.append(path)
    return sorted(found)


def main():
    source, caf, libdir, includedir, version = sys.argv[1:]
    source, caf = pathlib.Path(source), pathlib.Path(caf)
    prefix = pathlib.Path(os.environ["MESON_INSTALL_DESTDIR_PREFIX"])
    headers = prefix / includedir / "perigee"
    shutil.rmtree(headers, ignore_errors=True)  # what an older version left
    for path in closure(source):
        (headers / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, headers / path)
    shutil.copytree(caf / "include" / "caf", headers / "caf" / "caf",
                    ignore=lambda folder, names: [name for name in names if name in ("io", "openssl")])
    library = prefix / libdir
    (library / "perigee").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(caf / "lib" / "libcaf_core.a", library / "perigee" / "libcaf_core.a")
    pkgconfig = library / "pkgconfig"
    pkgconfig.mkdir(parents=True, exist_ok=True)
    (pkgconfig / "perigee.pc").write_text(PC.format(
        to_prefix=os.path.relpath(prefix, pkgconfig), to_include=os.path.relpath(prefix / includedir, pkgconfig), version=version))


if __name__ == "__main__":
    main()
