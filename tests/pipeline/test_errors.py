from __future__ import annotations

from catalogue.cli.errors import Fault, UserError
from catalogue.model_dir import ModelDirError
from pipeline.errors import JobFailedError, StoppedEarlyError, cause, of_command


def test_the_error_a_workers_traceback_ends_with() -> None:
    text = (
        "Traceback (most recent call last):\n  File x\nOSError: first\n\nDuring handling ...\n"
        "catalogue.model_dir.info.ModelDirError: m: bad [while running 'Classify/X']\n"
    )
    assert cause(RuntimeError(text)) == ("ModelDirError", "m: bad")
    assert cause(ModelDirError("m: bad [while running 'Read']")) == ("ModelDirError", "m: bad")


def test_the_error_of_the_command() -> None:
    for error, expected, message in (
        (ModelDirError("m: bad"), UserError, "m: bad"),
        (
            RuntimeError("pipeline.errors.StoppedEarlyError: stopped early: why"),
            StoppedEarlyError,
            "stopped early: why",
        ),
        (KeyError("x"), Fault, "the run failed: KeyError: 'x'"),
        (JobFailedError("no resources"), Fault, "the run failed: no resources"),
        (
            JobFailedError(
                "Pipeline x failed in state FAILED: java.io.IOException: error=2, No such file or directory"
            ),
            UserError,
            "the engine cannot start its workers: the program that starts them is missing on the engine's machines or "
            "is not executable; for PROCESS install the command in --environment_config, for DOCKER install docker "
            "(error=2, No such file or directory)",
        ),
    ):
        found = of_command(error)
        assert (type(found), str(found)) == (expected, message)
