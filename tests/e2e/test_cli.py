"""The command line: what it writes, what it says, and that it does no work twice."""

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from conftest import BINARY, FIXTURES, warmcell


def spec(folder, name="warmcell"):
    return json.loads((folder / "kernels" / name / "kernel.json").read_text())


def test_install_and_uninstall_below_a_prefix(tmp_path):
    installed = warmcell("install", "--prefix", tmp_path, "--name", "rust-test")
    assert installed.returncode == 0, installed.stderr
    found = spec(tmp_path / "share/jupyter", "rust-test")
    assert found["argv"] == [str(BINARY.resolve()), "kernel", "-f", "{connection_file}"]
    assert (found["language"], found["interrupt_mode"]) == ("rust", "message")
    assert "already installed" in warmcell("install", "--prefix", tmp_path, "--name", "rust-test").stdout
    assert warmcell("uninstall", "--prefix", tmp_path, "--name", "rust-test").returncode == 0
    assert not (tmp_path / "share/jupyter/kernels/rust-test").exists()
    assert "nothing to remove" in warmcell("uninstall", "--prefix", tmp_path, "--name", "rust-test").stdout


def test_install_for_the_user_goes_where_jupyter_looks(tmp_path):
    environment = os.environ | {"JUPYTER_DATA_DIR": str(tmp_path)}
    assert warmcell("install", "--user", env=environment).returncode == 0
    assert spec(tmp_path)["display_name"] == "Rust (Warmcell)"


def test_uninstall_leaves_other_kernels_alone(tmp_path):
    folder = tmp_path / "share/jupyter/kernels/warmcell"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps({"argv": ["python", "-m", "ipykernel"]}))
    refused = warmcell("uninstall", "--prefix", tmp_path)
    assert refused.returncode == 1 and "another program's kernel" in refused.stderr and "hint:" in refused.stderr
    assert folder.exists()


def test_a_name_cannot_leave_the_folder(tmp_path):
    assert warmcell("install", "--prefix", tmp_path, "--name", "../escape").returncode == 2
    assert not list(tmp_path.rglob("kernel.json"))


def test_doctor_has_a_line_for_each_check():
    doctor = warmcell("doctor")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    names = [line.split()[1] for line in doctor.stdout.splitlines()]
    expected = "rust rust-src linker python jupyter model cells kernel cuda hub sockets host"
    assert names == expected.split()


def test_doctor_names_what_is_missing(tmp_path):
    doctor = warmcell("doctor", env=os.environ | {"PATH": str(tmp_path)})
    assert doctor.returncode == 1
    missing = [line for line in doctor.stdout.splitlines() if line.startswith("!!")]
    assert any("python" in line for line in missing) and any("rustup.rs" in line for line in missing), doctor.stdout


def test_doctor_tells_the_cards_and_what_is_in_the_way(tmp_path):
    """A driver that the test compiles, and an `nvidia-smi` that knows one of its two cards."""
    library, program = tmp_path / "libcuda.so.1", tmp_path / "nvidia-smi"
    subprocess.run(["cc", "-shared", "-fPIC", "-DCARDS=2", "-o", library, FIXTURES / "driver.c"], check=True)
    program.write_text(
        "#!/bin/sh\n"
        "echo GPU-ab000000-0000-0000-0000-000000000001, Stand-in 1, 1024, 1024, 2048, 7, 33, 580.65.06\n"
    )
    program.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    doctor = warmcell("doctor", env=os.environ | {"LD_LIBRARY_PATH": str(tmp_path), "PATH": path})
    [line] = [line for line in doctor.stdout.splitlines() if line.split()[1] == "cuda"]
    assert line.startswith("--") and "models run on the CPU" in line, line
    assert "cuda:0 Stand-in 0 (compute capability 8.0, memory 1.1 GB)" in line, line
    known = "memory 2.1 GB, used 1.1 GB, free 1.1 GB, driver 580.65.06"
    assert f"cuda:1 Stand-in 1 (compute capability 8.0, {known})" in line, line
    assert "without the feature `cuda`" not in line or "kernel/cuda/build.sh" in line, line


def test_doctor_sees_a_folder_that_others_can_enter(tmp_path):
    folder = tmp_path / "warmcell"
    folder.mkdir()
    folder.chmod(0o755)
    doctor = warmcell("doctor", env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)})
    [line] = [line for line in doctor.stdout.splitlines() if " sockets " in line]
    assert line.startswith("!!") and "chmod 700" in line, doctor.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_name_the_commands(shell):
    script = warmcell("completions", shell).stdout
    assert all(name in script for name in ["doctor", "uninstall", "models"])


def test_a_second_setup_does_no_work():
    """The first was the session's. Measured: 0.1 s; a pip that only checks takes seconds."""
    data = Path(os.environ.get("WARMCELL_DATA_DIR", Path.home() / ".local/share/warmcell"))
    before = {path: path.stat().st_mtime_ns for path in [data / "pip.log", data / "python/pyvenv.cfg"]}
    started = time.monotonic()
    again = warmcell("setup")
    seconds = time.monotonic() - started
    assert again.returncode == 0 and seconds < 3, f"{seconds} s: {again.stderr}"
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert again.stderr == "", "it announced work"


def test_a_notebook_that_is_not_there_is_named():
    failed = warmcell("run", "no/such.ipynb")
    assert failed.returncode == 1
    assert "no/such.ipynb" in failed.stderr and "hint:" in failed.stderr


CELL = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": "1"}


def notebook_of(*cells, **fields):
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4} | fields)


@pytest.mark.parametrize(
    "text, why",
    [
        ("", "it is empty"),
        (notebook_of(CELL)[:-30], "it is no JSON, or not all of it: "),
        ("[1]", "its JSON has no `nbformat`"),
        ('{"cells": []}', "its JSON has no `nbformat`"),
        (notebook_of(CELL, nbformat=9), "nbformat cannot read it: Unsupported nbformat version 9"),
        (notebook_of({"cell_type": "code"}), "metadata"),
        (notebook_of({key: CELL[key] for key in CELL if key != "source"}), "its cell 1 has no `source`"),
        (notebook_of(CELL, metadata={"kernelspec": 3}), "its `kernelspec` is no object"),
        (notebook_of(CELL, metadata={"kernelspec": {"name": 3}}), "its `kernelspec` has a `name` that is no text"),
        (b"\xff\xfe\x00", "it is no text of UTF-8"),
    ],
)
def test_what_is_no_notebook_is_told_without_a_traceback(text, why, tmp_path):
    path = tmp_path / "x.ipynb"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    failed = warmcell("run", path)
    assert failed.returncode == 1
    assert f"error: `{path}` is no notebook: " in failed.stderr and why in failed.stderr, failed.stderr
    assert "\nhint: " in failed.stderr and "Traceback" not in failed.stderr, failed.stderr


def test_a_folder_is_no_notebook(tmp_path):
    failed = warmcell("run", tmp_path)
    assert failed.returncode == 1
    assert "it is a folder" in failed.stderr and "hint:" in failed.stderr, failed.stderr


def cells(folder, *sources, **metadata):
    """A notebook of these cells in a file of its own."""
    path = folder / "x.ipynb"
    path.write_text(notebook_of(*[CELL | {"source": source} for source in sources], metadata=metadata))
    return path


def texts(notebook):
    """What the cells of a file have written, or the names of their errors."""
    cells = json.loads(notebook.read_text())["cells"]
    return [[output.get("ename") or "".join(output["text"]) for output in cell["outputs"]] for cell in cells]


@pytest.mark.parametrize("name, status", [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_a_run_and_keeps_what_there_is(name, status, tmp_path):
    """All that had run was lost, with a traceback; the client outlived a SIGTERM. SIGTERM goes to the process that was
    started, Ctrl-C to all of its group."""
    path = cells(tmp_path, 'println!("first");', "std::thread::sleep(std::time::Duration::from_secs(600));", "3")
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    run = subprocess.Popen([BINARY, "run", path], stdin=subprocess.DEVNULL, start_new_session=True, **output)
    limit = threading.Timer(120, run.kill)
    limit.start()
    for line in run.stdout:
        if "cell 2" in line:
            break
    time.sleep(1)
    if name == "SIGINT":
        os.killpg(run.pid, signal.SIGINT)
    else:
        run.terminate()
    stdout, stderr = run.communicate(timeout=60)
    limit.cancel()
    assert run.returncode == status, stderr
    assert f"error: stopped by {name} at cell 2" in stderr and "Traceback" not in stderr, stderr
    executed = tmp_path / ".warmcell/x.executed.ipynb"
    assert str(executed) in stdout and executed.with_suffix(".html").exists()
    assert texts(executed) == [["first\n"], ["KeyboardInterrupt"], []]
    with pytest.raises(ProcessLookupError):
        os.killpg(run.pid, 0)


def test_a_reader_that_goes_leaves_the_notebook_to_be_written(tmp_path):
    path = cells(tmp_path, 'println!("a");', 'println!("b");')
    run = f'"{BINARY}" run "{path}" | head -2 > /dev/null; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", run], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 and "Traceback" not in done.stderr and "Broken" not in done.stderr, done.stderr
    assert texts(tmp_path / ".warmcell/x.executed.ipynb") == [["a\n"], ["b\n"]]


def test_a_notebook_for_another_kernel_is_told(tmp_path):
    failed = warmcell("run", cells(tmp_path, "import x", kernelspec={"name": "no-such-kernel"}))
    assert failed.returncode == 1
    assert "for the kernel `no-such-kernel`" in failed.stderr and "Rust (Warmcell)" in failed.stderr, failed.stderr
    assert "\nhint: " in failed.stderr and "Traceback" not in failed.stderr, failed.stderr


@pytest.mark.parametrize(
    "output, why",
    [
        ("folder", "it is a folder"),
        ("out.html", "its HTML page goes there"),
        ("x.ipynb/out.ipynb", "cannot write"),
    ],
)
def test_a_place_that_results_cannot_have_is_told_before_cells_run(output, why, tmp_path):
    """A folder was found out in a traceback when all had run, and a page was written over the notebook."""
    (tmp_path / "folder").mkdir()
    path = cells(tmp_path, 'println!("ran");')
    failed = warmcell("run", path, "--output", tmp_path / output)
    assert failed.returncode == 1 and "ran" not in failed.stdout
    assert why in failed.stderr and "hint: " in failed.stderr and "Traceback" not in failed.stderr, failed.stderr
    assert not (tmp_path / "out.html").exists()


def test_results_that_cannot_be_written_are_told_without_a_traceback(tmp_path):
    """As where a disk has filled up meanwhile: here the folder goes."""
    place = tmp_path / "results"
    path = cells(tmp_path, f'std::fs::remove_dir_all("{place}")?;')
    failed = warmcell("run", path, "--output", place / "out.ipynb")
    assert failed.returncode == 1
    assert f"error: cannot write `{place}/out.ipynb`: No such file" in failed.stderr, failed.stderr
    assert "hint: " in failed.stderr and "Traceback" not in failed.stderr, failed.stderr
    assert "1 code cell in" in failed.stdout and "notebook:" not in failed.stdout, failed.stdout


def test_a_notebook_whose_name_is_no_text_is_told_what_to_do(tmp_path):
    path = os.fsencode(tmp_path) + b"/bad\xff.ipynb"
    Path(os.fsdecode(path)).write_text(notebook_of(CELL))
    failed = warmcell("run", path)
    assert failed.returncode == 1
    assert "its name is no text of UTF-8" in failed.stderr and "hint: " in failed.stderr, failed.stderr


@pytest.mark.parametrize("target, status", [("| true", 0), ("> /dev/full", 1)])
def test_completions_that_cannot_be_written_end_quietly(target, status):
    """They panicked."""
    run = f'"{BINARY}" completions bash {target}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", run], capture_output=True, text=True, timeout=60)
    assert done.returncode == status and "panicked" not in done.stderr, done.stderr


def test_a_cause_is_told_once():
    failed = warmcell("kernel", "-f", "/nonexistent/kernel.json")
    assert failed.returncode == 1 and failed.stderr.count("No such file or directory") == 1, failed.stderr


def test_what_is_not_in_memory_cannot_be_freed():
    failed = warmcell("models", "--unload", "acme/none")
    assert failed.returncode == 1
    assert "nothing to free: `acme/none` is not in memory" in failed.stderr and "hint:" in failed.stderr, failed.stderr
    assert warmcell("models", "--unload", "all").returncode == 0


def test_the_host_starts_once_and_stops():
    warmcell("host", "stop")
    assert warmcell("host", "status").returncode == 1
    first, second = warmcell("host", "start"), warmcell("host", "start")
    assert first.returncode == 0 and first.stdout == second.stdout
    assert warmcell("host", "status").returncode == 0
    assert warmcell("host", "stop").stdout == "stopped\n"
    assert warmcell("host", "stop").stdout == "no model host runs\n"
