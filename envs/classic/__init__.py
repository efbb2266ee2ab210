"""Tabular and classic-control environments of mo-gymnasium: batch forms, known fronts, repairs."""
