"""Who may ask, how often and how much, and what those who are refused are told.

`keys` has the hashes of the settings, `sessions` who is signed in, `login` the page of signing in, `gate` lets in and
closes web sockets when their session is over, `limits` counts, `middleware` is what every request passes, `problems`
the answers that refuse, and `clients` who asks.
"""

from emotion.access.clients import Client, client_of
from emotion.access.problems import Problem, problem_of, problem_of_status

__all__ = ["Client", "Problem", "client_of", "problem_of", "problem_of_status"]
