"""A clone named ``oarseg`` does not hide the package from programs in the folder that holds it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = (
    "import oarseg, oarseg.cli, oarseg.errors, oarseg.inference.engines as engines\n"
    "from oarseg import segment\n"
    "print(oarseg.__version__, engines.__file__, sep='\\n')"
)


def test_the_package_is_imported_from_beside_a_clone_of_its_name(tmp_path: Path):
    (tmp_path / "oarseg").symlink_to(ROOT, target_is_directory=True)
    done = subprocess.run([sys.executable, "-c", CODE], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    version, place = done.stdout.split()
    assert version in (ROOT / "core" / "_version.py").read_text(encoding="utf-8")
    assert Path(place).resolve() == ROOT / "inference" / "engines" / "__init__.py"
