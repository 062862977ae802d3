"""How good a result is: on what was held out, beside peers, in benchmarks."""
