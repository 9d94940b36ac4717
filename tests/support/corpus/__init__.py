"""Inputs modelled on public reports of wrong scores, a file for each class; every bad one has a sound twin."""
