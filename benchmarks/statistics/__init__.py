"""How good the statistics are: size, coverage and width of what decides, by enumeration and simulation."""
