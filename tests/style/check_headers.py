"""Every header compiles alone, as the first and only include of a file. (clang++ meets them in its own build.)
And what no build makes unless it is asked to.

A header that its source of the same name includes first is compiled alone by the build: only the others are looked at here.
"""

import re
import subprocess

import sources

FLAGS = ["-std=c++20", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wnon-virtual-dtor",
         "-Wno-missing-field-initializers", "-Werror", "-fsyntax-only", "-I."]
COMPILERS = ["g++"]
# The loops without their checks (bench/vhost/meson.build): {source: the flag that it is compiled with}.
BUILT_ON_DEMAND = {"pmd/open.cpp": "-DSPINRING_MEASURE_WITHOUT_CHECKS"}


def pkg_config(package):
    done = subprocess.run(["pkg-config", "--cflags", package], capture_output=True, text=True, check=False)
    return done.stdout.split()


def dpdk_flags():
    # DPDK's headers do not hold to our warnings.
    return [flag.replace("-I", "-isystem", 1) for flag in pkg_config("libdpdk")]


def first_include(path):
    """What the file includes before anything else; empty if that is not a file of the tree."""
    first = re.search(r"^#include (.*)", sources.read(path), re.MULTILINE)
    return first.group(1).strip('"') if first else ""


def compiled_by_its_source(header):
    source = header.removesuffix(".hpp") + ".cpp"
    return (sources.ROOT / source).is_file() and first_include(source) == header


def check(job):
    compiler, version, path = job
    texts = sources.with_includes(path)
    extra = dpdk_flags() if any("<rte_" in text for text in texts.values()) else []
    extra += [BUILT_ON_DEMAND[path]] if path in BUILT_ON_DEMAND else []
    cache = sources.PassCache("headers")
    key = cache.key(version, *FLAGS, *extra, path, *texts.values())
    if cache.passed(key):
        return f"{path} ({compiler})", []
    done = subprocess.run([compiler, *FLAGS, *extra, "-x", "c++", "-"], input=f'#include "{path}"\n',
                          cwd=sources.ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        cache.store(key)
        return f"{path} ({compiler})", []
    return f"{path} ({compiler})", ["\n".join(done.stderr.splitlines()[:12])]


if __name__ == "__main__":
    versions = {name: subprocess.run([name, "--version"], capture_output=True, text=True, check=True).stdout
                for name in COMPILERS}
    jobs = [(name, versions[name], path) for name in COMPILERS for path in sources.files([".hpp"])
            if not compiled_by_its_source(path)]
    jobs += [(name, versions[name], path) for name in COMPILERS for path in BUILT_ON_DEMAND]
    sources.report_files("every header compiles alone", sources.parallel(check, jobs))
