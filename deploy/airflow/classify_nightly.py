"""Airflow 3 DAG that classifies the catalogue every night and reuses the results of previous nights.

Set these Airflow variables: ``classify_python``, the Python executable of an environment with this package;
``classify_catalogue``, the input; ``classify_model_dir``, the model directory; and ``classify_runs``, the folder of the
run directories.
"""

from __future__ import annotations

import pendulum
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    "classify_nightly",
    schedule="0 2 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    # A retry continues the interrupted run.
    default_args={"retries": 3, "retry_delay": pendulum.duration(minutes=5)},
    tags=["catalogue"],
):
    BashOperator(
        task_id="classify",
        bash_command=(
            "{{ var.value.classify_python }} -m pipeline classify"
            " --input {{ var.value.classify_catalogue }}"
            " --model-dir {{ var.value.classify_model_dir }}"
            " --output {{ var.value.classify_runs }}/{{ ds }}"
            " --previous {{ var.value.classify_runs }} --overwrite"
        ),
    )
