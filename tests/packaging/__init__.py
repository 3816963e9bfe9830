"""Tests of the installation, in copies of the source folder."""
