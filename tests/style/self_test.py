"""The style checks find what they are there to find: each rule is shown a breach and a clean neighbour."""

import tempfile

import check_docs
import check_layers
import check_limits
import check_text
import sources


def finds(check, path, text, word):
    found = check(path, text)
    if not any(word in complaint for complaint in found):
        return [f"{path}: expected a complaint with {word!r}, got {found}"]
    return []


def passes(check, path, text):
    return [f"unexpected: {complaint}" for complaint in check(path, text)]


def body(lines, opening="void f(int x) {"):
    return opening + "\n" + "  g();\n" * (lines - 2) + "}\n"


def broken_script(_, text):
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
        script.write(text)
        script.flush()
        return check_limits.check_shell(script.name, text)


LAYERS = check_layers.check
CASES = [
    ("a room below includes one above", finds(LAYERS, "base/a.hpp", '#include "mempool/pool.hpp"\n', "base may include")),
    ("mempool and vfio_glue do not meet", finds(LAYERS, "mempool/a.cpp", '#include "vfio_glue/sys.hpp"\n', "mempool may")),
    ("a driver includes a bus", finds(LAYERS, "pmd/virtio/a.cpp", '#include "pmd/bus/vfio/vfio_bus.hpp"\n', "alone")),
    ("a driver includes the bus seam", passes(LAYERS, "pmd/virtio/a.cpp", '#include "pmd/bus/pci_function.hpp"\n')),
    ("a bus includes vfio_glue", passes(LAYERS, "pmd/bus/vfio/a.cpp", '#include "vfio_glue/device.hpp"\n')),
    ("lcore includes apps", finds(LAYERS, "lcore/a.cpp", '#include "apps/testpmd/options.hpp"\n', "lcore may")),
    ("an include beside the file", finds(LAYERS, "pmd/a.cpp", '#include "port.hpp"\n', "from the root")),
    ("DPDK in the library", finds(LAYERS, "mempool/a.cpp", "#include <rte_mbuf.h>\n", "DPDK")),
    ("DPDK in bench", passes(LAYERS, "bench/a.cpp", "#include <rte_mbuf.h>\n")),
    ("VFIO's UAPI outside vfio_glue", finds(LAYERS, "pmd/a.cpp", "#include <linux/vfio.h>\n", "vfio_glue")),
    ("fmt in a header", finds(LAYERS, "pmd/a.hpp", "#include <fmt/format.h>\n", "fmt")),
    ("an include in a comment", passes(LAYERS, "base/a.hpp", '// #include "mempool/pool.hpp"\n')),
    ("/dev/vfio outside vfio_glue", finds(LAYERS, "pmd/a.cpp", 'open("/dev/vfio/7");\n', "/dev/vfio")),
    ("a library file prints", finds(LAYERS, "lcore/a.cpp", "void f() { std::printf(\"x\"); }\n", "print")),
    ("a library file formats into memory", passes(LAYERS, "lcore/a.cpp", "void f() { std::snprintf(b, 1, \"x\"); }\n")),
    ("a library file exits", finds(LAYERS, "pmd/a.cpp", "void f() { std::exit(1); }\n", "end the program")),
    ("a library file throws", finds(LAYERS, "base/a.cpp", "void f() { throw 1; }\n", "throws")),
    ("a file in no room", finds(LAYERS, "misc/a.cpp", "", "no room")),
    ("a line number is right", finds(LAYERS, "base/a.hpp", '/* a\nb */\n#include "pmd/port.hpp"\n', "base/a.hpp:3:")),
    ("a long file", finds(check_limits.check_size, "base/a.cpp", "\n" * 501, "501 lines")),
    ("a long function", finds(check_limits.check_size, "base/a.cpp", body(61), "61 lines")),
    ("a function of the limit", passes(check_limits.check_size, "base/a.cpp", body(60))),
    ("a long member function", finds(check_limits.check_size, "base/a.hpp",
                                     "namespace n {\nclass C : public B {\n public:\n" + body(70) + "};\n}\n", "70 lines")),
    ("a long constructor with initialisers", finds(check_limits.check_size, "base/a.cpp",
                                                   body(62, "C::C(int x) : a_{x}, b_{1} {"), "62 lines")),
    ("a long template with a default", finds(check_limits.check_size, "base/a.hpp",
                                             body(62, "template <class T = int>\nvoid f(T x) {"), "63 lines")),
    ("a hot loop may be longer", passes(check_limits.check_size, "pmd/virtio/rx.hpp", body(80))),
    ("a hot loop has a limit", finds(check_limits.check_size, "pmd/virtio/rx.hpp", body(81), "81 lines")),
    ("a long table is no function", passes(check_limits.check_size, "base/a.cpp",
                                           "constexpr T kTable[] = {\n" + "  {f(1)},\n" * 70 + "};\n")),
    ("a shell script that does not parse", finds(broken_script, "a.sh", "#!/bin/bash\nif true; then\n", "syntax error")),
    ("a python file that does not parse", finds(check_limits.check_python, "a.py", "def f(:\n", "a.py:1")),
    ("a machine's path", finds(check_text.check, "a.sh", "cd /" + "work/x\n", "one machine")),
    ("a registry's host", finds(check_text.check, "a.sh", "http://deb." + "debian.org\n", "registry")),
    ("work left undone", finds(check_text.check, "a.cpp", "// TO" + "DO: more\n", "undone")),
    ("a path that only ends alike", passes(check_text.check, "a.sh", 'cd "$tmp/work/x" net' + "work/y\n" + '"$tmp"/' + "work/\n")),
    ("a class without a comment", finds(check_docs.check, "base/a.hpp", "#pragma once\n\nclass A {\n};\n", "A has no")),
    ("a template without a comment", finds(check_docs.check, "base/a.hpp", "\ntemplate <class T>\nclass A {\n};\n", "A has")),
    ("a class with a comment", passes(check_docs.check, "base/a.hpp", "/// What it is.\ntemplate <class T>\nclass A {\n};\n")),
    ("a forward declaration", passes(check_docs.check, "base/a.hpp", "\nclass A;\n")),
]

if __name__ == "__main__":
    sources.report(CASES)
