"""Every header compiles alone, as the first and only include of a file. (clang++ meets them in its own build.)"""

import subprocess

import sources

FLAGS = ["-std=c++20", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wnon-virtual-dtor",
         "-Wno-missing-field-initializers", "-Werror", "-fsyntax-only", "-I."]
COMPILERS = ["g++"]


def pkg_config(package):
    done = subprocess.run(["pkg-config", "--cflags", package], capture_output=True, text=True, check=False)
    return done.stdout.split()


def dpdk_flags():
    # DPDK's headers do not hold to our warnings.
    return [flag.replace("-I", "-isystem", 1) for flag in pkg_config("libdpdk")]


def check(job):
    compiler, version, path = job
    texts = sources.with_includes(path)
    extra = dpdk_flags() if any("<rte_" in text for text in texts.values()) else []
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
    jobs = [(name, versions[name], path) for name in COMPILERS for path in sources.files([".hpp"])]
    sources.report_files("every header compiles alone", sources.parallel(check, jobs))
