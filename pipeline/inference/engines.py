"""Selection of the fastest engine and precision that give correct predictions on the worker.

==========  ============================================================================================================
tensorflow  always available; runs on the GPU if there is one
openvino    extra ``openvino``; CPU only; reads the SavedModel directly, so that workers never import TensorFlow
==========  ============================================================================================================

A candidate is accepted only if it reproduces the golden images on this machine: it must predict the expected top
labels, and probabilities within `TOLERANCES` of the expected probabilities.
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
_ADVICE = {FLOAT32: REPAIR, BFLOAT16: "omit --precision, or set --precision float32"}
_FIRST_CHOICE = {  # (engine requested, precision requested) -> reason
    (False, False): "fastest that reproduces the golden images",
    (False, True): "fastest in this precision",
    (True, False): "requested, in its fastest precision",
    (True, True): "requested",
}


def choose(model: ModelDir, threads: Threads, *, engine: str = AUTO, precision: str = AUTO) -> Engine:
    """Return the fastest engine that runs on this machine and reproduces the golden images.

    Args:
        model: model to run.
        threads: division of the cores among batches.
        engine: one of `pipeline.records.ENGINES`.
        precision: one of `pipeline.records.PRECISIONS`.

    Raises:
        UserError: the requested engine or precision is not available on this machine.
        ModelDirError: no usable engine reproduces the golden images.
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
    raise wrong[-1] if wrong else failures[0]  # the last candidate has the highest precision


def _tried(model: ModelDir, threads: Threads, name: str, precision: str) -> Engine | ModelDirError | Unsupported:
    """Return the engine, or the error that rules it out."""
    try:
        made: Engine = _build(name, model, precision, threads)
        model.check_golden(made, tolerance=TOLERANCES[precision], advice=_ADVICE[precision])
    except (ModelDirError, Unsupported) as error:
        return error
    except Exception as error:  # a library that does not work on this machine may raise anything
        logging.getLogger(__name__).warning("%s in %s cannot be used", name, precision, exc_info=True)
        return Unsupported(f"{name} cannot be used: {one_line(f'{type(error).__name__}: {error}', 200)}")
    return made


def check(engine: str) -> None:
    """Reject an engine whose extra is not installed in this process. Raises UserError."""
    if engine == OPENVINO and not _has_openvino():
        raise UserError("--engine openvino needs the extra openvino: pip install -e '.[openvino]'")


def _candidates(engine: str, precision: str) -> Iterator[tuple[str, str]]:
    """Yield engines and precisions, the fastest first; TensorFlow comes first if there is a GPU."""
    engines = [OPENVINO, TENSORFLOW] if engine == AUTO else [engine]
    if engine == AUTO and _has_gpu():
        engines.reverse()
    for name in engines:
        for wanted in (BFLOAT16, FLOAT32) if precision == AUTO else (precision,):
            yield name, wanted


def _has_openvino() -> bool:
    return importlib.util.find_spec("openvino") is not None


def _has_gpu() -> bool:
    """Return whether TensorFlow can use a GPU. Imports TensorFlow only if the machine has one."""
    return machine.has_gpu() and _tensorflow_engine().has_gpu()


def _tensorflow_engine() -> Any:
    """Import the TensorFlow engine lazily: workers that use OpenVINO never need TensorFlow."""
    return importlib.import_module("pipeline.inference.tensorflow_engine")


def _build(name: str, model: ModelDir, precision: str, threads: Threads) -> Engine:
    if name == TENSORFLOW:
        return _tensorflow_engine().TensorFlowEngine(model, precision, threads)
    if not _has_openvino():
        raise Unsupported("the extra openvino is not installed")
    # Hiding this package keeps OpenVINO from reporting to Google Analytics and from writing to the home folder.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return importlib.import_module("pipeline.inference.openvino_engine").OpenVinoEngine(model, precision, threads)
