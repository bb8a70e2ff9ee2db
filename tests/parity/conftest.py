# SPDX-License-Identifier: MIT
import logging
import warnings

import measured
import torch


def pytest_configure(config):
    torch.set_num_threads(1)  # tiny models: more threads only wait for each other
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning)


def pytest_terminal_summary(terminalreporter):
    if measured.ROWS:
        terminalreporter.section("largest deviations")
        for line in measured.table():
            terminalreporter.write_line(line)
