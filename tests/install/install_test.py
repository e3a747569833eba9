"""The installed library is all that a program needs: install, build examples/reflector by pkg-config alone, run it.

Argument: a build folder in which everything is built.
"""

import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "style"))

import sources  # noqa: E402

# To the reflector, from a sender: an Ethernet frame of the local experimental type 0x88b5.
REFLECTOR_MAC = bytes.fromhex("525400000001")
SENDER_MAC = bytes.fromhex("02000000aa01")


def run(command, **options):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)


def complaint(done):
    return [] if done.returncode == 0 else [f"{' '.join(map(str, done.args))}: exit {done.returncode}",
                                            *(done.stdout + done.stderr).splitlines()[-20:]]


class Installed:
    """The library in a folder of its own, seen through pkg-config."""

    def __init__(self, build, folder):
        self.install = run(["meson", "install", "-C", build, "--no-rebuild", "--destdir", folder])
        pc_files = list(folder.rglob("spinring.pc"))
        self.folder = pc_files[0].parents[3] if pc_files else folder
        self.environment = {**os.environ, "PKG_CONFIG_PATH": str(pc_files[0].parent) if pc_files else ""}

    def flags(self, *options):
        return run(["pkg-config", *options, "spinring"], env=self.environment)

    def headers(self):
        root = pathlib.Path(self.flags("--variable=includedir").stdout.strip()) / "spinring"
        return sorted(str(path.relative_to(root)) for path in root.rglob("*.hpp"))


def check_pkg_config(installed):
    done = installed.flags("--cflags", "--libs")
    wrong = complaint(done)
    # Nothing may come from the source tree: the program is built as by someone who does not have it.
    if str(sources.ROOT) + "/" in done.stdout.replace(str(installed.folder), ""):
        wrong.append(f"names the source tree: {done.stdout}")
    for wanted in ("-lspinring", "-lfmt"):
        if wanted not in done.stdout:
            wrong.append(f"{wanted} is missing in: {done.stdout}")
    # Loaded when hugepages are asked for: linked in, it would print and replace shmget() in every program.
    if "hugetlbfs" in done.stdout:
        wrong.append(f"links libhugetlbfs: {done.stdout}")
    return wrong


def check_headers(installed, folder):
    """Each installed header finds every header that it includes."""
    headers = installed.headers()
    if not any(header == "pmd/open.hpp" for header in headers):
        return [f"pmd/open.hpp is not installed; there are: {' '.join(headers)}"]
    everything = folder / "everything.cpp"
    everything.write_text("".join(f'#include "{header}"\n' for header in headers) + "int main() {}\n")
    flags = installed.flags("--cflags").stdout.split()
    return complaint(run(["g++", "-std=c++20", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", *flags, everything],
                         cwd=folder))


def build_reflector(installed, folder):
    # Copied away, so that no include is found beside it.
    source = folder / "reflector.cpp"
    source.write_text(sources.read("examples/reflector.cpp"))
    flags = installed.flags("--cflags", "--libs").stdout.split()
    return complaint(run(["g++", "-std=c++20", "-O2", "-Wall", "-Wextra", "-Werror", source, "-o", folder / "reflector",
                          *flags], cwd=folder, env=installed.environment))


def check_help(folder):
    done = run([folder / "reflector", "--help"], timeout=10)
    return complaint(done) or ([] if "usage: reflector" in done.stdout else [f"no usage in: {done.stdout}"])


def check_refusal(folder):
    """A device that is not there: an error that names it, exit status 1, and no crash."""
    done = run([folder / "reflector", "--no-huge", "ffff:ff:1f.7"], timeout=10)
    if done.returncode == 1 and done.stderr.startswith("reflector: "):
        return []
    return [f"exit {done.returncode}: {done.stderr}"]


def receive(connection, count):
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise OSError("the reflector closed the connection")
        data += part
    return data


def reflect_frames(connection):
    """Sends frames of many sizes and compares what comes back. QEMU's stream: a 4-byte length before each frame."""
    for number, size in enumerate([60, 61, 128, 512, 1514] * 20):
        payload = bytes((number + index) % 251 for index in range(size - 14))
        frame = REFLECTOR_MAC + SENDER_MAC + b"\x88\xb5" + payload
        connection.sendall(struct.pack(">I", size) + frame)
        length, = struct.unpack(">I", receive(connection, 4))
        back = receive(connection, length)
        if back != SENDER_MAC + REFLECTOR_MAC + b"\x88\xb5" + payload:
            return [f"frame {number} of {size} bytes came back as {length} bytes: {back[:32].hex()}"]
    return []


def check_reflection(folder):
    """The real thing, on QEMU's virtio-net: no root, no hugepages, no guest."""
    path = folder / "wire"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.settimeout(20)
        listener.bind(str(path))
        listener.listen(1)
        device = f"qtest0,model=virtio-net-pci,netdev=stream:{path},mac={REFLECTOR_MAC.hex(':')}"
        with subprocess.Popen([str(folder / "reflector"), "--no-huge", device], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as reflector:
            try:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(20)
                    if "reflecting on qtest0" not in reflector.stdout.readline():
                        return [f"did not start: {reflector.stderr.read()}"]
                    wrong = reflect_frames(connection)
                reflector.send_signal(signal.SIGINT)
                out, err = reflector.communicate(timeout=20)
            except (OSError, subprocess.TimeoutExpired) as error:
                reflector.kill()
                return [f"{error}: {reflector.stderr.read()}"]
    if reflector.returncode != 0:
        wrong.append(f"exit {reflector.returncode}: {err}")
    if "100 packets came, 100 went back" not in out:
        wrong.append(f"wrong count: {out}")
    return wrong


def main():
    build = pathlib.Path(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="spinring-install-") as name:
        folder = pathlib.Path(name)
        installed = Installed(build, folder / "root")
        steps = [
            ("meson install", lambda: complaint(installed.install)),
            ("pkg-config names all that is needed", lambda: check_pkg_config(installed)),
            ("every installed header compiles", lambda: check_headers(installed, folder)),
            ("examples/reflector builds by pkg-config alone", lambda: build_reflector(installed, folder)),
            ("reflector --help", lambda: check_help(folder)),
            ("reflector refuses a device that is not there", lambda: check_refusal(folder)),
            ("reflector reflects 100 frames of QEMU's virtio-net", lambda: check_reflection(folder)),
        ]
        cases = []
        for name, step in steps:
            # Each step needs the ones before it.
            broken = next((case for case, complaints in cases if complaints), None)
            cases.append((name, [f"not run: '{broken}' failed"] if broken else step()))
        sources.report(cases)


if __name__ == "__main__":
    main()
