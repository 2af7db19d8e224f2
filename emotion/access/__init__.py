"""Who may ask, how often and how much: keys, sign-in, limits, and what those who are refused are told."""

from emotion.access.clients import Client, client_of
from emotion.access.problems import Problem, problem_of, problem_of_status

__all__ = ["Client", "Problem", "client_of", "problem_of", "problem_of_status"]
