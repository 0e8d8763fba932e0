"""The choice of an engine: the fastest one, in the fastest precision, that is right on the worker.

==========  ============================================================================================================
tensorflow  always there; runs on the machine's GPUs if it has any
openvino    extra ``openvino``; for processors; reads the SavedModel itself, so that a worker never imports TensorFlow
==========  ============================================================================================================

A candidate is taken only if it reproduces the golden images on this very machine: the same first labels, and no
probability further off than `TOLERANCES` says.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterator
from typing import Any

from catalogue.cli.errors import UserError
from catalogue.cli.text import one_line
from catalogue.model_dir import GOLDEN_MARGIN, GOLDEN_TOLERANCE, REPAIR, ModelDir, ModelDirError
from pipeline import machine
from pipeline.inference.engine import Engine, Threads, Unsupported
from pipeline.records import AUTO, BFLOAT16, FLOAT32, OPENVINO, TENSORFLOW

TOLERANCES = {FLOAT32: GOLDEN_TOLERANCE, BFLOAT16: GOLDEN_MARGIN / 2}
_ADVICE = {FLOAT32: REPAIR, BFLOAT16: "leave --precision to itself, or give --precision float32"}
_FIRST_CHOICE = {  # by whether the engine and whether the precision was asked for
    (False, False): "the fastest; reproduces the golden images",
    (False, True): "the fastest in this precision",
    (True, False): "asked for, in its fastest precision",
    (True, True): "asked for",
}


def choose(model: ModelDir, threads: Threads, *, engine: str = AUTO, precision: str = AUTO) -> Engine:
    """The fastest engine that the machine supports and that reproduces the golden images.

    Args:
        model: what is to be run.
        threads: what it is to be run on.
        engine: one of `pipeline.records.ENGINES`.
        precision: one of `pipeline.records.PRECISIONS`.

    Raises:
        UserError: what is asked for by name is not to be had on this machine.
        ModelDirError: the golden images are not reproduced.
    """
    why_not: dict[str, UserError] = {}
    for name, wanted in _candidates(engine, precision):
        made = _tried(model, threads, name, wanted)
        if isinstance(made, ModelDirError):
            why_not[f"{name} in {wanted} does not reproduce the golden images"] = made
            continue
        if isinstance(made, Unsupported):
            why_not.setdefault(str(made), UserError(f"--engine {name} --precision {wanted}: {made}"))
            continue
        why = "; ".join(why_not) or _FIRST_CHOICE[engine != AUTO, precision != AUTO]
        made.choice = dataclasses.replace(made.choice, reason=why)
        logging.getLogger(__name__).info("engine: %s", made.choice.in_words())
        return made
    failures = list(why_not.values())
    wrong = [error for error in failures if isinstance(error, ModelDirError)]
    raise wrong[-1] if wrong else failures[0]  # the last one is of the highest precision


def _tried(model: ModelDir, threads: Threads, name: str, precision: str) -> Engine | ModelDirError | Unsupported:
    """An engine, or why it cannot be used."""
    try:
        made: Engine = _build(name, model, precision, threads)
        model.check_golden(made, tolerance=TOLERANCES[precision], advice=_ADVICE[precision])
    except (ModelDirError, Unsupported) as error:
        return error
    except Exception as error:  # whatever a library raises that does not work on this machine
        logging.getLogger(__name__).warning("%s in %s cannot be used", name, precision, exc_info=True)
        return Unsupported(f"{name} cannot be used: {one_line(f'{type(error).__name__}: {error}', 200)}")
    return made


def check(engine: str) -> None:
    """Refuses an engine whose extra is not installed in this process. Raises UserError."""
    if engine == OPENVINO and not _has_openvino():
        raise UserError("--engine openvino needs the extra openvino: pip install -e '.[openvino]'")


def _candidates(engine: str, precision: str) -> Iterator[tuple[str, str]]:
    """Engines and precisions, the fastest first, GPUs before all."""
    engines = [OPENVINO, TENSORFLOW] if engine == AUTO else [engine]
    if engine == AUTO and _has_gpu():
        engines.reverse()
    for name in engines:
        for wanted in (BFLOAT16, FLOAT32) if precision == AUTO else (precision,):
            yield name, wanted


def _has_openvino() -> bool:
    return importlib.util.find_spec("openvino") is not None


def _has_gpu() -> bool:
    """Whether TensorFlow can use a GPU; it is not imported where there is none."""
    return machine.has_gpu() and _tensorflow_engine().has_gpu()


def _tensorflow_engine() -> Any:
    """The module of that engine: it imports TensorFlow, which a worker with OpenVINO does without."""
    return importlib.import_module("pipeline.inference.tensorflow_engine")


def _build(name: str, model: ModelDir, precision: str, threads: Threads) -> Engine:
    if name == TENSORFLOW:
        return _tensorflow_engine().TensorFlowEngine(model, precision, threads)
    if not _has_openvino():
        raise Unsupported("the extra openvino is not installed")
    # Without this package OpenVINO sends nothing to Google Analytics, and writes nothing into the user's home.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return importlib.import_module("pipeline.inference.openvino_engine").OpenVinoEngine(model, precision, threads)
