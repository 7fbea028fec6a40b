"""Real programs read through the mount."""

import hashlib
import os
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from harness import Embedded, Mount, generated

PACKAGE = {
    "pkg/__init__.py": "from .inner import answer\n",
    "pkg/inner/__init__.py": "from .deep import answer\n",
    "pkg/inner/deep.py": "answer = 42\n",
    "pkg/data.txt": "words and words\nneedle here\n",
}


def run(*command, **options) -> str:
    done = subprocess.run([str(item) for item in command], capture_output=True, text=True, timeout=60, **options)
    assert done.returncode == 0, f"{command}: {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A directory with what programs like to read."""
    root = tmp_path_factory.mktemp("source")
    for name, text in PACKAGE.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    with sqlite3.connect(root / "table.db") as database:
        database.execute("create table t (id integer primary key, value text)")
        database.executemany("insert into t values (?, ?)", [(index, f"value {index}" * 20) for index in range(20_000)])
    database.close()
    np.save(root / "array.npy", np.arange(2_000_000, dtype=np.float64).reshape(2000, 1000))
    for index in range(120):
        path = root / "files" / f"{index % 7}" / f"{index}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(generated(index * 977, index))
    work = root.parent / "work"
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
    run(*git, "init", "-q", work)
    for index in range(20):
        (work / f"file{index}").write_text(f"{index}\n" * 500)
        run(*git, "-C", work, "add", "-A")
        run(*git, "-C", work, "commit", "-qm", f"commit {index}")
    run(*git, "clone", "-q", "--bare", work, root / "repo.git")
    # S3 has no empty directories, and git wants these.
    for name in ("refs/heads/.keep", "refs/tags/.keep", "objects/info/.keep"):
        (root / "repo.git" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "repo.git" / name).touch()
    return root


@pytest.fixture(scope="module")
def mount(source):
    with Embedded(str(source)) as server, Mount("s3://data", server.endpoint) as mount:
        yield mount


def checksums(directory) -> dict[str, str]:
    return {os.path.relpath(os.path.join(folder, name), directory):
            hashlib.sha256(open(os.path.join(folder, name), "rb").read()).hexdigest()
            for folder, _, names in os.walk(directory) for name in names}


def test_sha256sum(mount, source):
    script = "find . -type f | sort | xargs -d '\\n' sha256sum"
    assert run("sh", "-c", script, cwd=mount.directory) == run("sh", "-c", script, cwd=source)


def test_cp(mount, source, tmp_path):
    run("cp", "-r", mount.directory, tmp_path / "copy")
    assert checksums(tmp_path / "copy") == checksums(source)


def test_tar(mount, source, tmp_path):
    run("tar", "-C", mount.directory, "-cf", tmp_path / "all.tar", ".")
    (tmp_path / "out").mkdir()
    run("tar", "-C", tmp_path / "out", "-xf", tmp_path / "all.tar")
    assert checksums(tmp_path / "out") == checksums(source)


def test_grep(mount):
    assert run("grep", "-rl", "needle", ".", cwd=mount.path("pkg")) == "./data.txt\n"


def test_git_clone(mount, tmp_path):
    run("git", "-c", "safe.directory=*", "clone", "-q", mount.path("repo.git"), tmp_path / "clone")
    assert len(run("git", "-C", tmp_path / "clone", "log", "--oneline").splitlines()) == 20
    run("git", "-C", tmp_path / "clone", "fsck", "--full")


def test_python_import(mount):
    code = "import pkg; print(pkg.answer)"
    assert run(sys.executable, "-B", "-c", code, env={**os.environ, "PYTHONPATH": str(mount.directory)}) == "42\n"


def test_sqlite(mount):
    database = sqlite3.connect(f"file:{mount.path('table.db')}?mode=ro&immutable=1", uri=True)
    assert database.execute("select count(*), sum(length(value)) from t").fetchone()[0] == 20_000
    assert database.execute("select value from t where id = 12345").fetchone()[0].startswith("value 12345")
    assert database.execute("pragma integrity_check").fetchone() == ("ok",)
    database.close()


def test_numpy_mmap(mount):
    array = np.load(mount.path("array.npy"), mmap_mode="r")
    assert array.shape == (2000, 1000)
    assert array[1234, 567] == 1234567
    assert float(array[::97].sum()) == float(np.arange(2_000_000, dtype=np.float64).reshape(2000, 1000)[::97].sum())
