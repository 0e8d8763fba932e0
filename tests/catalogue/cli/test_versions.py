from __future__ import annotations

import numpy as np

from catalogue.cli.versions import versions


def test_versions_of_what_is_installed() -> None:
    assert versions(["numpy", "no-such-package"]) == {"numpy": np.__version__}
