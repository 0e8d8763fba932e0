from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from catalogue.cli.errors import UserError
from pipeline.runner import flink_rest
from tests.servers import free_port

JOBS = [
    {"jid": "1", "name": "mine", "state": "RUNNING", "start-time": 1},
    {"jid": "2", "name": "mine", "state": "RUNNING", "start-time": 3},
    {"jid": "3", "name": "another", "state": "RUNNING", "start-time": 4},
    {"jid": "4", "name": "done", "state": "CANCELED", "start-time": 2},
]


class JobManager(http.server.BaseHTTPRequestHandler):
    canceled: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self._answer({"taskmanagers": 3, "slots-total": 6} if self.path == "/overview" else {"jobs": JOBS})

    def do_PATCH(self) -> None:
        self.canceled.append(self.path)
        self._answer({})

    def _answer(self, content: object) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def master() -> Iterator[str]:
    JobManager.canceled.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), JobManager) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_what_flink_says_of_its_jobs(master: str) -> None:
    assert flink_rest.task_managers(f"http://{master}/") == 3
    assert flink_rest.slots(master) == 6
    assert flink_rest.state(master, "mine") == "RUNNING"
    assert flink_rest.state(master, "done") == "CANCELED"
    assert flink_rest.state(master, "unknown") is None


def test_the_newest_job_of_a_name_is_canceled_and_no_other(master: str) -> None:
    flink_rest.cancel(master, "mine")
    flink_rest.cancel(master, "done")  # has already ended
    assert JobManager.canceled == ["/jobs/2?mode=cancel"]
    with pytest.raises(OSError, match="has no job unknown"):
        flink_rest.cancel(master, "unknown")


def test_a_flink_that_does_not_answer(master: str) -> None:
    for nobody in (f"127.0.0.1:{free_port()}", "flink:port"):
        assert flink_rest.task_managers(nobody) == 0
        assert flink_rest.state(nobody, "mine") is None
        with pytest.raises(OSError, match=f"Flink at {nobody}: "):
            flink_rest.cancel(nobody, "mine")


def test_a_flink_that_does_not_answer_is_reported() -> None:
    with pytest.raises(UserError, match=r"^--flink_master 127\.0\.0\.1:1 does not answer: Connection refused$"):
        flink_rest.check("127.0.0.1:1")
