"""Tests mirror the rooms of the code; fakes and expected event lists, no mocks and no call counts."""
