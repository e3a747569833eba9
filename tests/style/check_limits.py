"""Size limits: files of at most 500 lines, functions of at most 60 (hot loops 80); scripts parse."""

import ast
import re
import shutil
import subprocess

import sources

MAX_FILE = 500
MAX_FUNCTION = 60
MAX_HOT_LOOP = 80
# The files that hold a queue's receive and transmit loops.
HOT_FILES = re.compile(r"pmd/\w+/(\w+_)?(rx|tx|queue|burst)\w*\.hpp$")

_SCOPE = re.compile(r"\b(namespace|class|struct|union|enum|extern)\b")
_TEMPLATE = re.compile(r"^\s*template\s*<[^{}()]*>\s*", re.DOTALL)
_ACCESS = re.compile(r"(\s|(public|private|protected)\s*:(?!:))*")


def is_function(header):
    """Whether a brace after this text, at namespace or class scope, opens a function's body."""
    header = _TEMPLATE.sub("", header).strip()
    if "(" not in header:
        return False
    flat = re.sub(r"\([^()]*\)", "()", re.sub(r"\([^()]*\)", "()", header))
    flat = re.sub(r"operator\s*\S+?\s*\(\)|[=!<>]=", "f()", flat)
    return "=" not in flat and not re.match(r"(namespace|enum|extern)\b", flat)


def functions(text):
    """(name, first line, lines) of each outermost function body, by counting braces in formatted code."""
    code = sources.strip_comments(text, keep_strings=False)
    code = re.sub(r"^\s*#(.*\\\n)*.*$", lambda m: "\n" * m.group(0).count("\n"), code, flags=re.MULTILINE)
    found = []
    stack = []  # "scope", "function" or "other" for each open brace
    header_start = 0
    start = None
    for position, char in enumerate(code):
        if char == "{":
            header = code[header_start:position]
            initialiser = position > 0 and (code[position - 1].isalnum() or code[position - 1] in "_>")
            if "function" in stack or "other" in stack or initialiser:
                stack.append("inner")
            elif is_function(header):
                stack.append("function")
                lead = _ACCESS.match(header).end()
                start = (header[lead:], header_start + lead)
            else:
                stack.append("scope" if _SCOPE.search(header) else "other")
        elif char == "}":
            kind = stack.pop() if stack else "other"
            if kind == "function":
                first = code.count("\n", 0, start[1]) + 1
                last = code.count("\n", 0, position) + 1
                name = re.sub(r"\s+", " ", start[0].split("(")[0])[-60:]
                found.append((name, first, last - first + 1))
        if char == ";" or (char in "{}" and (not stack or stack[-1] != "inner") and "inner" not in stack):
            if char != "}" or kind != "inner":
                header_start = position + 1
    return found


def check_size(path, text):
    complaints = []
    lines = text.count("\n")
    if lines > MAX_FILE:
        complaints.append(f"{path}: {lines} lines; at most {MAX_FILE}")
    if path.endswith(sources.CPP_SUFFIXES):
        limit = MAX_HOT_LOOP if HOT_FILES.search(path) else MAX_FUNCTION
        complaints += [f"{path}:{first}: {name}: {length} lines; at most {limit}"
                       for name, first, length in functions(text) if length > limit]
    return complaints


def check_python(path, text):
    try:
        ast.parse(text, path)
    except SyntaxError as error:
        return [f"{path}:{error.lineno}: {error.msg}"]
    return []


def check_shell(path, text):
    """`bash -n` (or `sh -n`, as its first line says), and shellcheck."""
    shell = "bash" if "bash" in text.splitlines()[0] else "sh"
    commands = [[shell, "-n", path]]
    if shutil.which("shellcheck"):
        commands.append(["shellcheck", "--severity=warning", "--external-sources", "--exclude=SC2187", "--format=gcc",
                         path])
    complaints = []
    for command in commands:
        done = subprocess.run(command, cwd=sources.ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            complaints.append(done.stdout + done.stderr)
    return complaints


def is_shell(path, text):
    return path.endswith(".sh") or bool(re.match(r"#!.*\b(ba)?sh\b", text))


def check_file(path):
    text = sources.read(path)
    complaints = []
    if is_shell(path, text):
        complaints += check_shell(path, text)
    if path.endswith(".py"):
        complaints += check_python(path, text)
    if path.endswith((*sources.CPP_SUFFIXES, ".py", ".sh", "meson.build")):
        complaints += check_size(path, text)
    return path, complaints


def is_checked(path):
    return path.endswith((*sources.CPP_SUFFIXES, ".py", ".sh", "meson.build")) or (
        "." not in path.rsplit("/", 1)[-1] and is_shell(path, sources.read(path)))


if __name__ == "__main__":
    sources.report_files("files and functions are short, scripts parse",
                         sources.parallel(check_file, filter(is_checked, sources.files())))
