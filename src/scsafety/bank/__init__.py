"""The question bank: load and validate it, choose from it, look for what is near."""

from __future__ import annotations

from scsafety.bank.load import Bank, load_bank, read_bank_file
from scsafety.bank.select import select_items

__all__ = ["Bank", "load_bank", "read_bank_file", "select_items"]
