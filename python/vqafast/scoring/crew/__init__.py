"""Processes that score, wherever they are: jobs in, one result out for each."""
