"""Every C++ file is as clang-format leaves it."""

import subprocess

import sources


def check(path):
    done = subprocess.run(["clang-format", "--dry-run", "--Werror", path], cwd=sources.ROOT,
                          capture_output=True, text=True, check=False)
    first = "\n".join(done.stderr.splitlines()[:3])
    return path, [f"{first}\nmend it with: clang-format -i {path}"] if done.returncode != 0 else []


if __name__ == "__main__":
    sources.report_files("clang-format", sources.parallel(check, sources.files(sources.CPP_SUFFIXES)))
