"""Nothing that is loaded can execute code: no file of the package calls what could."""

import ast
import pickle
from pathlib import Path

import pytest

from mibench.errors import MibenchError
from mibench.results.store import Store

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for part in ("mibench", "plugins") for path in (ROOT / part).rglob("*.py"))
MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "yaml",
    "jsonpickle",
    "pty",
}
CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "np.loadtxt",
    "np.genfromtxt",
    "np.fromregex",
}
METHODS = {"extract", "extractall", "unpack_archive", "read_pickle", "recv"}
ALLOWED = {
    ("mibench/metrics/inception.py", "imports pickle"): "the error that torch.load raises",
    ("mibench/plugins.py", "exec_module"): "loose plugins, which are code",
    ("mibench/auditing/opened.py", "exec_module"): "a model that the user gives as code, in a process of its own",
}


def name_of(node):
    """``a.b.c`` of a chain of attributes."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def findings(tree):
    """What in a file could execute what it loads."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"imports {name}" for name in names if name.partition(".")[0] in MODULES)
        if not isinstance(node, ast.Call):
            continue
        called = name_of(node.func)
        given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
        last = called.rpartition(".")[2]
        if called in CALLS or last in METHODS or last == "exec_module":
            yield last if last == "exec_module" else called
        if called == "torch.load" and given.get("weights_only") is not True:
            yield "torch.load without weights_only=True"
        if called in ("np.load", "numpy.load") and given.get("allow_pickle") is not False:
            yield "np.load without allow_pickle=False"
        if given.get("shell"):
            yield "a shell"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_calls_what_could_execute_what_it_loads(path):
    where = path.relative_to(ROOT).as_posix()
    found = {what for what in findings(ast.parse(path.read_text(encoding="utf-8"))) if (where, what) not in ALLOWED}
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "eval('1')",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "tar.extractall(where)",
        "pipe.recv()",
        "subprocess.run(x, shell=True)",
    ],
)
def test_the_audit_sees_it(source):
    assert list(findings(ast.parse(source)))


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def test_a_pickle_in_the_store_is_corrupt(tmp_path):
    import json

    from mibench.results.store import seal

    store = Store(tmp_path)
    raw = pickle.dumps(_Bomb())
    folder = store.folder("models", "a" * 64)
    folder.mkdir()
    (folder / "tensors.safetensors").write_bytes(raw)
    import hashlib

    meta = {"digest": hashlib.sha256(raw).hexdigest()}
    (folder / "meta.json").write_text(json.dumps(meta | {"seal": seal(meta)}))
    with pytest.raises(MibenchError, match="was corrupt"):
        store.load("models", "a" * 64)
