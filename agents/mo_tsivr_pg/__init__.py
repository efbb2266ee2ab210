"""MO-TSIVR-PG: variance-reduced policy gradient for concave utilities of the expected return (Guidobene et al.)."""
