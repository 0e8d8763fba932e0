from __future__ import annotations

import pytest

from catalogue.cli.errors import UserError
from catalogue.cli.flags import refuse_unknown


def test_the_nearest_flag_is_named() -> None:
    with pytest.raises(UserError, match=r"unknown argument --epoch; did you mean --epochs\?"):
        refuse_unknown(["--epoch=3"], ["--epochs", "--seed"])
    refuse_unknown([], ["--epochs"])
