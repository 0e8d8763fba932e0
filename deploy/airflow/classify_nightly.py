"""Every night: classifies the catalogue, and reuses the results of the nights before. For Airflow 3.

The variables of Airflow that it reads: ``classify_python``, the Python of an environment that has this package;
``classify_catalogue``, ``classify_model_dir``, and ``classify_runs``, the folder of the run directories.
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
    # A try that follows an interrupted one continues its run.
    default_args={"retries": 3, "retry_delay": pendulum.duration(minutes=5)},
    tags=["catalogue"],
):
    # Airflow fails the task at once, without another try, where a command exits with 99. Exit code 2 is an error of the
    # flags, the model or the catalogue, which would only come again.
    BashOperator(
        task_id="classify",
        bash_command=(
            "{{ var.value.classify_python }} -m pipeline classify"
            " --input {{ var.value.classify_catalogue }}"
            " --model-dir {{ var.value.classify_model_dir }}"
            " --output {{ var.value.classify_runs }}/{{ ds }}"
            " --previous {{ var.value.classify_runs }} --overwrite"
            " || { code=$?; [ $code -eq 2 ] && echo 'not tried again' && exit 99; exit $code; }"
        ),
    )
