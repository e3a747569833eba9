"""What no file may say: a developer machine's paths, package registries' hosts, work left undone."""

import re

import sources

RULES = [
    # Split so that this file does not break its own rule.
    (re.compile(r"(?<![\w.$}*-])(?<![\w}]\")/(" + "work|root|home" + r")/"), "a path of one machine"),
    (re.compile(r"\b(deb|security|archive|ftp|cdn-fastly)\." + r"(debian|ubuntu)\.(org|com)|\bpypi\." + r"org|"
                r"files\.python" + r"hosted|registry\.npm" + r"js|\bproxy\.go" + r"lang\.org|static\.crates\." + r"io"),
     "a package registry's host: derive it from the machine's own sources"),
    (re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b"), "work left undone"),
]


def check(path, text):
    return [f"{path}:{number}: {match.group(0)}: {why}"
            for number, line in enumerate(text.splitlines(), 1)
            for pattern, why in RULES
            for match in [pattern.search(line)] if match]


if __name__ == "__main__":
    texts = ((path, sources.read(path)) for path in sources.files())
    sources.report_files("no machine paths, no registry hosts, nothing left undone",
                         ((path, check(path, text)) for path, text in texts if "\0" not in text))
