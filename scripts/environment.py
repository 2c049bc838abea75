"""Makes the project's virtual environment from the lock file, with nothing but Python's standard library.

    python3 scripts/environment.py FOLDER LOCKFILE

Some systems split ``venv``'s installer (ensurepip) or pip itself off into packages of their own; then pip is
borrowed from the system or fetched from the package index. What is installed is exactly the lock file, by
hash; the project itself is installed so that edits act at once.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import venv
from pathlib import Path

OLDEST = (3, 11)


def main() -> None:
    """Make or refresh the environment; safe to repeat."""
    if sys.version_info < OLDEST:
        sys.exit(
            f"Redrive needs Python {'.'.join(map(str, OLDEST))} or newer; this is {sys.version.split()[0]}"
        )
    folder, lock = Path(sys.argv[1]), Path(sys.argv[2])
    python = folder / "bin" / "python"
    if not python.exists():
        venv.EnvBuilder(symlinks=True).create(folder)
    if subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode:
        install_pip(python)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    # Several packages come as sources: built with what the lock file has, in its second part.
    run([*pip, "--require-hashes", "-r", str(lock)])
    run([*pip, "--no-deps", "--no-build-isolation", "-e", "."])


def install_pip(python: Path) -> None:
    """Put pip into the environment: Python's own copy, the system's, or the index's."""
    if not subprocess.run(
        [python, "-m", "ensurepip", "--default-pip"], capture_output=True, check=False
    ).returncode:
        return
    borrowed = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "pip"]
    if not subprocess.run(borrowed, capture_output=True, check=False).returncode:
        return
    with tempfile.TemporaryDirectory() as folder:
        wheel = download_pip(Path(folder))
        run([str(python), str(wheel / "pip"), "install", "--quiet", "--no-index", str(wheel)])


def download_pip(folder: Path) -> Path:
    """Return the newest pip wheel of the package index (a wheel of pip can run itself)."""
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + "/pip/"
    print(f"this Python has no pip: taking it from {index}", flush=True)
    with urllib.request.urlopen(index, timeout=60) as answer:  # noqa: S310 - the user's own index
        page = answer.read().decode()
    links = re.findall(r'href="([^"]+/pip-([0-9.]+)-py3-none-any\.whl[^"]*)"', page)
    if not links:
        sys.exit("no pip wheel found there; install your system's pip or venv package (Debian: python3-venv)")
    link, version = max(links, key=lambda found: [int(part) for part in found[1].split(".")])
    target = folder / f"pip-{version}-py3-none-any.whl"
    with urllib.request.urlopen(urllib.parse.urljoin(index, link), timeout=60) as answer:  # noqa: S310
        content = answer.read()
    wanted = re.search(r"sha256=([0-9a-f]{64})", link)
    if wanted and hashlib.sha256(content).hexdigest() != wanted[1]:
        sys.exit(f"{link} is not what the index promises")
    target.write_bytes(content)
    return target


def run(command: list[str]) -> None:
    """Run it in sight; end with its code where it fails."""
    code = subprocess.run(command, check=False).returncode
    if code:
        sys.exit(f"failed ({code}): {' '.join(command)}")


if __name__ == "__main__":
    main()
