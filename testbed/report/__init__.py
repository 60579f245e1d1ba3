"""The report of an experiment: tables and plots of its results on one page."""

from testbed import plotting

plotting.prepare()
