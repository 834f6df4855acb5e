"""Experts that understand nothing and are real in every other way: to see faults, deaths and budgets at work."""
