"""Behind ``scripts/compare.py``: `servers` starts what is compared, `workloads` measures, `table` shows."""
